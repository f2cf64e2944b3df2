#include "client/src/put_spec.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "client/src/control_calls.h"
#include "client/src/throwing.h"
#include "client/src/wire_types.h"
#include "common/names.h"

namespace joinq::internal {
namespace {

constexpr int kPriorityMax = 1000;
constexpr size_t kKeyBytesMax = 200;

// An instant as the broker takes it, in which 0 means none.
uint64_t ToUnixMs(TimePoint eta) {
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(eta.time_since_epoch()).count();
  const auto now = std::chrono::duration_cast<std::chrono::milliseconds>(
                       std::chrono::system_clock::now().time_since_epoch())
                       .count();
  if (ms - now > int64_t{kDurationMsMax})
    throw InvalidArgument(
        "eta: must be at most 24 days from now, not " + std::to_string((ms - now) / 86'400'000), "eta");
  return static_cast<uint64_t>(std::max<int64_t>(ms, 1));
}

void RequireKey(const char* field, const std::string& key) {
  if (key.size() > kKeyBytesMax) {
    throw InvalidArgument(absl::StrCat(field, ": has ", key.size(), " bytes; at most 200 are allowed"),
                          field);
  }
  RequireUtf8(field, key);
}

uint32_t ToUniqueMs(const PutOptions& options) {
  const uint32_t ms = ToMs("unique_window", options.unique_window);
  if ((options.unique_scope == UniqueScope::window) != (ms > 0)) {
    throw InvalidArgument(ms > 0 ? "unique_window: is for UniqueScope::window only"
                                 : "unique_window: must be 1 ms or more with UniqueScope::window",
                          "unique_window");
  }
  return ms;
}

}  // namespace

namespace {

// How it is to be run, and until when.
void FillRun(const PutOptions& options, PutSpec* spec) {
  spec->time_limit_ms = ToMs("time_limit", options.time_limit);
  spec->soft_time_limit_ms = ToMs("soft_time_limit", options.soft_time_limit);
  if (spec->time_limit_ms > 0 && spec->soft_time_limit_ms >= spec->time_limit_ms) {
    throw InvalidArgument(absl::StrCat("soft_time_limit: must be less than time_limit, ", spec->time_limit_ms,
                                       " ms, not ", spec->soft_time_limit_ms, " ms"),
                          "soft_time_limit");
  }
  spec->deadline_ms = ToMs("deadline", options.deadline);
  if (spec->deadline_ms > 0 && spec->ttl_ms > 0)
    throw InvalidArgument("deadline: excludes ttl; give one of them", "deadline");
  if (options.fresh_process && options.handler.empty())
    throw InvalidArgument("fresh_process: is for tasks with a handler; name one", "fresh_process");
  spec->fresh_process = options.fresh_process;
  spec->daemon = options.daemon;
}

}  // namespace

std::shared_ptr<PutSpec> MakePutSpec(const std::string& queue, std::string_view content_type,
                                     const PutOptions& options) {
  RequireName("queue", queue);
  if (!options.handler.empty()) RequireName("handler", options.handler);
  if (options.eta && options.delay.count() != 0)
    throw InvalidArgument("eta: excludes delay; give one of them", "eta");
  if (options.priority < -kPriorityMax || options.priority > kPriorityMax) {
    throw InvalidArgument(absl::StrCat("priority: must be -1000 to 1000, not ", options.priority),
                          "priority");
  }
  RequireKey("unique_key", options.unique_key);
  RequireKey("request_id", options.request_id);
  auto spec = std::make_shared<PutSpec>();
  spec->queue = queue;
  spec->handler = options.handler;
  spec->content_type = std::string(content_type);
  spec->delay_ms = ToMs("delay", options.delay);
  spec->max_attempts = options.max_attempts;
  spec->max_crashes = options.max_crashes;
  spec->retry_delay_ms = ToMs("retry_delay", options.retry_delay);
  spec->result_ttl_ms = ToMs("result_ttl", options.result_ttl);
  if (options.eta) spec->eta_unix_ms = ToUnixMs(*options.eta);
  spec->ttl_ms = ToMs("ttl", options.ttl);
  spec->priority = options.priority;
  spec->unique_key = options.unique_key;
  spec->unique_scope = options.unique_scope;
  spec->unique_ms = ToUniqueMs(options);
  spec->request_id = options.request_id;
  FillRun(options, spec.get());
  spec->headers = options.headers;
  if (!options.traceparent.empty()) spec->headers.emplace_back("traceparent", options.traceparent);
  RequireHeaders(spec->headers);
  return spec;
}

void FillOptions(const PutSpec& spec, v1::TaskOptions* options) {
  options->set_delay_ms(spec.delay_ms);
  options->set_max_attempts(spec.max_attempts);
  options->set_max_crashes(spec.max_crashes);
  options->set_retry_delay_ms(spec.retry_delay_ms);
  options->set_result_ttl_ms(spec.result_ttl_ms);
  options->set_eta_unix_ms(spec.eta_unix_ms);
  options->set_ttl_ms(spec.ttl_ms);
  options->set_priority(spec.priority);
  options->set_time_limit_ms(spec.time_limit_ms);
  options->set_soft_time_limit_ms(spec.soft_time_limit_ms);
  options->set_deadline_ms(spec.deadline_ms);
  options->set_fresh_process(spec.fresh_process);
  options->set_session_id(spec.session_id);
  if (spec.unique_key.empty()) return;
  options->set_unique_scope(ToWire(spec.unique_scope));
  options->set_unique_ms(spec.unique_ms);
}

void FillTask(const PutSpec& spec, v1::NewTask* task) {
  for (const auto& [name, value] : spec.headers) {
    auto* header = task->add_headers();
    header->set_name(name);
    header->set_value(value);
  }
  if (!spec.unique_key.empty()) task->set_unique_key(spec.unique_key);
  if (!spec.request_id.empty()) task->set_request_id(spec.request_id);
}

size_t TaskBytes(const PutSpec& spec) {
  size_t bytes = spec.unique_key.size() + spec.request_id.size();
  for (const auto& [name, value] : spec.headers) bytes += name.size() + value.size() + 8;
  return bytes;
}

void FillGroup(const PutSpec& spec, v1::PutGroup* group) {
  group->set_queue(spec.queue);
  group->set_handler(spec.handler);
  group->set_content_type(spec.content_type);
  FillOptions(spec, group->mutable_options());
  group->set_watch(spec.watch);
  group->set_timeout_ms(spec.timeout_ms);
  group->set_no_wait(spec.no_wait);
}

}  // namespace joinq::internal
