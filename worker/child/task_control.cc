#include "worker/child/task_control.h"

#include "absl/strings/str_cat.h"
#include "common/names.h"
#include "worker/text.h"

namespace joinq {
namespace {

constexpr size_t kFollowUpsMax = 1000;
constexpr size_t kFollowUpBytesMax = 1 << 20;

[[noreturn]] void Refuse(absl::string_view why) {
  throw HandlerError(absl::StrCat("put: ", why), "", true);
}

void CheckNamed(std::string_view field, std::string_view name) {
  if (auto status = CheckName(field, name); !status.ok()) Refuse(status.message());
}

void CheckText(std::string_view field, std::string_view text) {
  if (CleanUtf8(text) != text) Refuse(absl::StrCat(std::string(field), " is not UTF-8"));
}

uint32_t Ms(std::string_view field, std::chrono::milliseconds time) {
  if (time.count() < 0 || time.count() > kDurationMsMax)
    Refuse(absl::StrCat(std::string(field), " must lie in 0 .. ", kDurationMsMax, " ms"));
  return static_cast<uint32_t>(time.count());
}

}  // namespace

std::string ChildTaskControl::TakeFollowUps() {
  if (count_ == 0) return {};
  std::string bytes = put_.SerializeAsString();
  put_.Clear();
  count_ = bytes_ = 0;
  return bytes;
}

void ChildTaskControl::Progress(std::string_view text) {
  const std::lock_guard lock(sender_.mutex());
  if (!WriteProgress(page_, index_, number_, text)) return;
  ResultFrame frame{};
  frame.header.type = FrameType::kProgress;
  if (sender_.Add(frame, 0)) sender_.Flush();  // if not, the daemon is gone, which Run will see
}

void ChildTaskControl::Put(std::string_view queue, std::string_view handler, std::string_view payload,
                           const FollowUpOptions& options) {
  CheckNamed("queue", queue);
  if (!handler.empty()) CheckNamed("handler", handler);
  CheckText("content_type", options.content_type);
  CheckText("unique_key", options.unique_key);
  v1::FollowUp follow_up;
  follow_up.set_queue(queue.data(), queue.size());
  follow_up.set_handler(handler.data(), handler.size());
  follow_up.set_content_type(options.content_type);
  auto& wanted = *follow_up.mutable_options();
  wanted.set_delay_ms(Ms("delay", options.delay));
  wanted.set_ttl_ms(Ms("ttl", options.ttl));
  wanted.set_result_ttl_ms(Ms("result_ttl", options.result_ttl));
  wanted.set_retry_delay_ms(Ms("retry_delay", options.retry_delay));
  wanted.set_max_attempts(options.max_attempts);
  wanted.set_max_crashes(options.max_crashes);
  wanted.set_priority(options.priority);
  auto& task = *follow_up.add_tasks();
  task.set_payload(payload.data(), payload.size());
  task.set_unique_key(options.unique_key);
  for (const auto& [name, value] : options.headers) {
    CheckText("a header", absl::StrCat(name, value));
    auto& header = *task.add_headers();
    header.set_name(name);
    header.set_value(value);
  }
  const size_t bytes = follow_up.ByteSizeLong();
  const std::lock_guard lock(mutex_);
  if (count_ + 1 > kFollowUpsMax) Refuse(absl::StrCat("a task may put ", kFollowUpsMax, " tasks at most"));
  if (bytes_ + bytes > kFollowUpBytesMax)
    Refuse(absl::StrCat("what a task puts may have ", kFollowUpBytesMax, " bytes at most, all together"));
  ++count_;
  bytes_ += bytes;
  *put_.add_follow_ups() = std::move(follow_up);
}

}  // namespace joinq
