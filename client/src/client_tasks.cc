// Client's calls about tasks and about the broker itself.
#include <joinq/client.h>

#include "absl/strings/str_cat.h"
#include "client/src/connection.h"
#include "client/src/control_calls.h"
#include "client/src/throwing.h"
#include "client/src/wire_types.h"
#include "common/rpc_status.h"

namespace joinq {
namespace {

using internal::ControlCall;
using internal::ThrowIfError;
using internal::ToTaskInfo;
using internal::Verb;

constexpr uint32_t kPageMax = 1000;
constexpr uint32_t kRangePage = 500;

std::string TaskName(uint64_t task_id) {
  return absl::StrCat("task ", task_id);
}

TaskPage GetPage(internal::Connection& connection, const TaskFilter& filter, uint64_t after, uint32_t count) {
  if (!filter.queue.empty()) internal::RequireName("queue", filter.queue);
  v1::ListTasksRequest request;
  request.set_queue(filter.queue);
  if (filter.state) request.set_state(internal::ToWire(*filter.state));
  request.set_after(after);
  request.set_page_size(count);
  request.set_newest_first(filter.newest_first);
  auto response =
      ControlCall(connection, connection.tasks(), &v1::TaskService::Stub::ListTasks, request,
                  filter.queue.empty() ? std::string("tasks") : internal::Quoted("queue", filter.queue));
  TaskPage page;
  page.next = response.next();
  page.tasks.reserve(response.tasks_size());
  for (auto& task : *response.mutable_tasks()) page.tasks.push_back(ToTaskInfo(&task));
  return page;
}

// A call about one task, which its request names.
template <typename Request, typename Response>
Response TaskCall(internal::Connection& connection, uint64_t task_id,
                  grpc::Status (v1::TaskService::Stub::*method)(grpc::ClientContext*, const Request&,
                                                                Response*),
                  Request request = {}) {
  request.set_task_id(task_id);
  return ControlCall(connection, connection.tasks(), method, request, TaskName(task_id));
}

}  // namespace

TaskInfo Client::task_info(uint64_t task_id, bool with_payload) {
  v1::GetTaskRequest request;
  request.set_with_payload(with_payload);
  auto response = TaskCall(*connection_, task_id, &v1::TaskService::Stub::GetTask, request);
  return ToTaskInfo(&response);
}

TaskRange Client::list_tasks(TaskFilter filter) {
  return TaskRange(connection_, std::move(filter));
}

TaskPage Client::task_page(const TaskFilter& filter, uint64_t after, uint32_t count) {
  if (count < 1 || count > kPageMax)
    throw InvalidArgument(absl::StrCat("count: must be 1 to 1000, not ", count), "count");
  return GetPage(*connection_, filter, after, count);
}

TaskInfo Client::cancel(uint64_t task_id, const CancelOptions& options) {
  using Clock = internal::Connection::Clock;
  v1::CancelTaskRequest request;
  request.set_task_id(task_id);
  request.set_terminate(options.terminate);
  v1::TaskInfo response;
  bool cancelled = false;
  const absl::Status status =
      connection_->Parked(options.wait, [&](grpc::ClientContext* context, uint32_t slice_ms) {
        request.set_wait_ms(slice_ms);
        const auto until = Clock::now() + Millis(slice_ms);
        const grpc::Status answer = connection_->parked_tasks().CancelTask(context, request, &response);
        cancelled |= answer.ok();
        // Before its time it means that nobody will ever say.
        const bool wait_on = answer.ok() && slice_ms > 0 && response.work_end() == v1::WORK_END_UNSPECIFIED &&
                             Clock::now() >= until;
        return wait_on ? grpc::Status(grpc::StatusCode::DEADLINE_EXCEEDED, "its work goes on") : answer;
      });
  if (!cancelled || !absl::IsDeadlineExceeded(status))
    ThrowIfError(Verb::kControl, TaskName(task_id), status);
  return ToTaskInfo(&response);
}

TaskLog Client::task_log(uint64_t task_id) {
  v1::GetTaskLogRequest request;
  request.set_task_id(task_id);
  v1::TaskLog response;
  // Not a short call: the broker asks workers, and tells of the silent ones itself.
  const absl::Status status = connection_->Parked(Millis(0), [&](grpc::ClientContext* context, uint32_t) {
    return connection_->parked_tasks().GetTaskLog(context, request, &response);
  });
  ThrowIfError(Verb::kControl, TaskName(task_id), status);
  return {.text = std::move(*response.mutable_text()),
          .cut = response.cut(),
          .worker = response.worker(),
          .running = response.running()};
}

TaskInfo Client::retry(uint64_t task_id) {
  auto response = TaskCall(*connection_, task_id, &v1::TaskService::Stub::RetryTask);
  return ToTaskInfo(&response);
}

Why Client::why(uint64_t task_id) {
  return internal::ToWhy(TaskCall(*connection_, task_id, &v1::TaskService::Stub::WhyTask));
}

TaskRange::iterator TaskRange::begin() {
  page_ = {};
  NextPage();
  return iterator(this);
}

void TaskRange::Advance() {
  if (++at_ == page_.tasks.size() && page_.next != 0) NextPage();
}

// Pages may be empty and yet have a next one.
void TaskRange::NextPage() {
  do {
    page_ = GetPage(*connection_, filter_, page_.next, kRangePage);
    at_ = 0;
  } while (page_.tasks.empty() && page_.next != 0);
}

BrokerInfo Client::broker_info() {
  const auto wire = ControlCall(*connection_, connection_->admin(), &v1::AdminService::Stub::GetBroker,
                                v1::GetBrokerRequest(), absl::StrCat("broker at ", url_));
  return {.version = wire.version(),
          .epoch = wire.epoch(),
          .durability = wire.durability(),
          .tasks = wire.tasks(),
          .queues = wire.queues(),
          .memory_bytes = wire.memory_bytes(),
          .resident_bytes = wire.resident_bytes(),
          .payload_bytes = wire.payload_bytes(),
          .journal_bytes = wire.journal_bytes(),
          .records_set_aside = wire.records_set_aside(),
          .disk = wire.disk(),
          .disk_free_bytes = wire.disk_free_bytes()};
}

BackupInfo Client::backup(const std::string& directory, Millis timeout) {
  internal::ToTimeoutMs("timeout", timeout);
  if (!directory.starts_with('/'))
    throw InvalidArgument("directory: must be absolute, not \"" + directory + "\"", "directory");
  broker_info();  // reaches the broker, so that the one try is not lost to a connection
  v1::BackupRequest request;
  request.set_directory(internal::RequireUtf8("directory", directory));
  v1::BackupResponse response;
  grpc::ClientContext context;
  if (timeout < std::chrono::hours(24 * 365))
    context.set_deadline(std::chrono::system_clock::now() + timeout);
  const grpc::Status status = connection_->admin().Backup(&context, request, &response);
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED)
    throw Timeout("backup: not made in time; the broker may go on with it");
  ThrowIfError(Verb::kControl, "backup", FromGrpc(status));
  return {.bytes = response.bytes(), .journal_entry = response.journal_entry()};
}

}  // namespace joinq
