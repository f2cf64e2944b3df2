#include <joinq/task.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/src/connection.h"
#include "client/src/lease_calls.h"
#include "client/src/throwing.h"

namespace joinq {
namespace {

constexpr size_t kErrorMessageMax = 4096;
constexpr size_t kErrorDetailMax = 16'384;
constexpr size_t kFollowUpsMax = 1000;
constexpr size_t kProgressMax = 4096;

// Ends a task with a call: its lease is the session's no longer, also if it was stale. In
// that case the broker is told so, since it may have come to think otherwise meanwhile.
template <typename Request, typename Response>
Response Finish(const internal::TaskData& data, Request* request,
                grpc::Status (v1::QueueService::Stub::*method)(grpc::ClientContext*, const Request&,
                                                               Response*)) {
  if (!data.held)
    return internal::CallWithLeases(*data.connection, data.queue, {data.lease}, request, method);
  try {
    auto response = internal::CallWithHeldLeases(*data.connection, data.queue, {data.lease}, request, method);
    data.connection->session().Drop(data.lease);
    return response;
  } catch (const StaleLease&) {
    data.connection->session().Abandon(data.lease);
    throw;
  }
}

void AddFollowUps(internal::Connection& connection, const std::vector<FollowUp>& follow_ups,
                  v1::DoneRequest* request) {
  if (follow_ups.size() > kFollowUpsMax) {
    throw InvalidArgument(absl::StrCat("follow_ups: at most 1000 are allowed, not ", follow_ups.size()),
                          "follow_ups");
  }
  for (const FollowUp& follow_up : follow_ups) {
    const auto spec = internal::MakePutSpec(follow_up.queue, follow_up.content_type, follow_up.options);
    connection.Tie(spec.get());
    auto* wire = request->add_follow_ups();
    wire->set_queue(spec->queue);
    wire->set_handler(spec->handler);
    wire->set_content_type(spec->content_type);
    internal::FillOptions(*spec, wire->mutable_options());
    auto* task = wire->add_tasks();
    task->set_payload(follow_up.payload);
    internal::FillTask(*spec, task);
  }
}

}  // namespace

std::string Lease::to_string() const {
  return absl::StrCat(task_id, "-", epoch, "-", sequence);
}

std::optional<Lease> Lease::parse(std::string_view text) {
  const std::vector<absl::string_view> parts =
      absl::StrSplit(absl::string_view(text.data(), text.size()), '-');
  Lease lease;
  if (parts.size() != 3) return std::nullopt;
  uint64_t* const numbers[] = {&lease.task_id, &lease.epoch, &lease.sequence};
  for (int i = 0; i < 3; ++i) {
    if (parts[i].empty() || parts[i].find_first_not_of("0123456789") != absl::string_view::npos)
      return std::nullopt;
    if (!absl::SimpleAtoi(parts[i], numbers[i])) return std::nullopt;
  }
  if (lease.task_id == 0) return std::nullopt;
  return lease;
}

uint64_t Task::id() const {
  return data_->id;
}
const std::string& Task::queue() const {
  return data_->queue;
}
const std::string& Task::handler() const {
  return data_->handler;
}
const std::string& Task::payload() const {
  return data_->payload;
}
const std::string& Task::content_type() const {
  return data_->content_type;
}
const Headers& Task::headers() const {
  return data_->headers;
}
uint32_t Task::attempt() const {
  return data_->attempt;
}
const Lease& Task::lease() const {
  return data_->lease;
}
Millis Task::lease_time() const {
  return data_->lease_time;
}

bool Task::cancelled() const {
  return data_->held && data_->held->cancelled.load();
}

void Task::done_raw(std::string_view result, std::string_view content_type) const {
  done_raw(result, content_type, {});
}

std::vector<uint64_t> Task::done_raw(std::string_view result, std::string_view content_type,
                                     const std::vector<FollowUp>& follow_ups) const {
  v1::DoneRequest request;
  request.set_result(result.data(), result.size());
  request.set_content_type(content_type.data(), content_type.size());
  AddFollowUps(*data_->connection, follow_ups, &request);
  const auto response = Finish(*data_, &request, &v1::QueueService::Stub::Done);
  return {response.follow_up_ids().begin(), response.follow_up_ids().end()};
}

void Task::fail(std::string_view message, bool final, std::string_view detail) const {
  v1::FailRequest request;
  auto* error = request.mutable_error();
  message = message.substr(0, kErrorMessageMax);
  if (detail.size() > kErrorDetailMax) detail.remove_prefix(detail.size() - kErrorDetailMax);
  error->set_kind(v1::FAILURE_KIND_HANDLER_ERROR);
  error->set_message(internal::ValidUtf8(message));
  error->set_detail(internal::ValidUtf8(detail));
  error->set_final(final);
  Finish(*data_, &request, &v1::QueueService::Stub::Fail);
}

void Task::release(Millis delay) const {
  v1::ReleaseRequest request;
  request.set_delay_ms(internal::ToMs("delay", delay));
  Finish(*data_, &request, &v1::QueueService::Stub::Release);
}

void Task::progress(std::string_view text) const {
  if (text.size() > kProgressMax) {
    throw InvalidArgument(absl::StrCat("progress: has ", text.size(), " bytes; at most 4096 are allowed"),
                          "progress");
  }
  v1::ReportProgressRequest request;
  request.set_progress(internal::RequireUtf8("progress", std::string(text)));
  internal::CallWithLeases(*data_->connection, data_->queue, {data_->lease}, &request,
                           &v1::QueueService::Stub::ReportProgress);
}

void Task::extend(Millis lease) const {
  v1::ExtendRequest request;
  request.set_lease_ms(internal::ToMs("lease", lease));
  internal::CallWithLeases(*data_->connection, data_->queue, {data_->lease}, &request,
                           &v1::QueueService::Stub::Extend);
}

}  // namespace joinq
