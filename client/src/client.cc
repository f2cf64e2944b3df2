#include <joinq/client.h>

#include "absl/strings/str_cat.h"
#include "client/src/connection.h"
#include "client/src/control_calls.h"
#include "client/src/throwing.h"
#include "common/names.h"

namespace joinq {
namespace {

using internal::Quoted;
using internal::ThrowIfError;
using internal::Verb;

NetAddress RequireAddress(const std::string& url) {
  auto address = ParseNetAddress("url", url, kGrpcPort);
  if (!address.ok()) throw InvalidArgument(std::string(address.status().message()), "url");
  if (!address->is_unix() && address->port == 0) throw InvalidArgument("url: port 0 names no broker", "url");
  return *address;
}

WorkerInfo ToWorkerInfo(const v1::WorkerInfo& wire) {
  WorkerInfo info;
  info.id = wire.worker_id();
  info.name = wire.name();
  info.host = wire.host();
  info.pid = wire.pid();
  const uint32_t now = wire.status().concurrency();
  info.concurrency = now != 0 ? now : wire.concurrency();
  info.concurrency_min = wire.status().concurrency_min();
  info.queues.assign(wire.queues().begin(), wire.queues().end());
  info.handlers.assign(wire.handlers().begin(), wire.handlers().end());
  info.state = wire.state();
  info.trouble = wire.status().trouble();
  info.busy = wire.status().busy();
  info.children = wire.status().children();
  info.processes = wire.status().processes();
  info.buffered = wire.status().buffered();
  info.leases = wire.leases();
  info.done_total = wire.status().done_total();
  info.failed_total = wire.status().failed_total();
  info.child_deaths_total = wire.status().child_deaths_total();
  info.silent = Millis(wire.silent_ms());
  info.connected = Millis(wire.connected_ms());
  return info;
}

}  // namespace

Client::Client(const std::string& url, ClientOptions options) {
  const NetAddress address = RequireAddress(url);
  internal::ToMs("timeout", options.timeout);
  internal::ToMs("unavailable_after", options.unavailable_after);
  url_ = address.ToString();
  connection_ = std::make_shared<internal::Connection>(address, std::move(options));
}

Client::~Client() = default;

Queue Client::queue(const std::string& name, const QueueOptions& options) {
  internal::CreateQueue(*connection_, name, options, true);
  return open_queue(name);
}

JoinableQueue Client::joinable_queue(const std::string& name, const QueueOptions& options) {
  internal::CreateQueue(*connection_, name, options, true);
  return open_joinable_queue(name);
}

Queue Client::open_queue(const std::string& name) {
  internal::RequireName("queue", name);
  return Queue(connection_, name);
}

JoinableQueue Client::open_joinable_queue(const std::string& name) {
  internal::RequireName("queue", name);
  return JoinableQueue(connection_, name);
}

QueueInfo Client::create_queue(const std::string& name, const QueueOptions& options) {
  return internal::CreateQueue(*connection_, name, options, false);
}

QueueInfo Client::queue_info(const std::string& name) {
  return internal::GetQueueInfo(*connection_, name);
}

std::vector<QueueInfo> Client::list_queues(const std::string& prefix) {
  std::vector<QueueInfo> queues;
  v1::ListQueuesRequest request;
  request.set_prefix(prefix);
  v1::ListQueuesResponse response;
  do {
    ThrowIfError(Verb::kControl, "queues", connection_->Control([&](grpc::ClientContext* context) {
      return connection_->queues().ListQueues(context, request, &response);
    }));
    for (const auto& queue : response.queues()) queues.push_back(internal::ToQueueInfo(queue));
    if (!queues.empty()) request.set_after(queues.back().name);
  } while (response.more() && response.queues_size() > 0);
  return queues;
}

uint64_t Client::purge_queue(const std::string& name) {
  return internal::QueueCall(*connection_, name, &v1::QueueService::Stub::Purge).cancelled();
}

void Client::delete_queue(const std::string& name, bool force) {
  v1::DeleteQueueRequest request;
  request.set_queue(name);
  request.set_force(force);
  v1::DeleteQueueResponse response;
  int tries = 0;
  const absl::Status status = connection_->Control([&](grpc::ClientContext* context) {
    ++tries;
    return connection_->queues().DeleteQueue(context, request, &response);
  });
  // A first try whose answer was lost has deleted it.
  if (tries > 1 && absl::IsNotFound(status)) return;
  ThrowIfError(Verb::kControl, Quoted("queue", name), status);
}

Outcome Client::result(uint64_t task_id, Millis wait) {
  v1::GetResultRequest request;
  request.set_task_id(task_id);
  v1::TaskResult response;
  const absl::Status status = connection_->Parked(wait, [&](grpc::ClientContext* context, uint32_t slice_ms) {
    request.set_wait_ms(slice_ms);
    return connection_->parked_tasks().GetResult(context, request, &response);
  });
  const std::string what = absl::StrCat("task ", task_id);
  if (absl::IsDeadlineExceeded(status)) throw Timeout(what + " is not finished yet");
  ThrowIfError(Verb::kWait, what, status);
  v1::ProducedResult produced;
  produced.set_task_id(response.task_id());
  produced.set_outcome(response.outcome());
  produced.mutable_payload()->swap(*response.mutable_payload());
  produced.set_content_type(response.content_type());
  produced.mutable_error()->Swap(response.mutable_error());
  produced.set_attempts(response.attempts());
  if (response.has_process()) produced.mutable_process()->Swap(response.mutable_process());
  Outcome outcome;
  internal::FillOutcome(produced, &outcome);
  outcome.queue = response.queue();
  outcome.handler = response.handler();
  return outcome;
}

Task Client::get_any(const std::vector<WeightedQueue>& queues, Millis timeout) {
  return connection_->Get(queues, 1, {.timeout = timeout})[0];
}

std::vector<Task> Client::get_any_batch(const std::vector<WeightedQueue>& queues, uint32_t count,
                                        const GetOptions& options) {
  return connection_->Get(queues, count, options);
}

Task Client::leased_task(const std::string& queue, const Lease& lease) {
  internal::RequireName("queue", queue);
  return connection_->MakeTask(queue, lease);
}

std::vector<WorkerInfo> Client::workers() {
  v1::ListWorkersResponse response;
  ThrowIfError(Verb::kControl, "workers", connection_->Control([&](grpc::ClientContext* context) {
    return connection_->workers().ListWorkers(context, {}, &response);
  }));
  std::vector<WorkerInfo> workers;
  for (const auto& worker : response.workers()) workers.push_back(ToWorkerInfo(worker));
  return workers;
}

std::vector<WorkerInfo> Client::control_worker(const std::string& worker, WorkerAction action,
                                               uint32_t children) {
  v1::ControlWorkerRequest request;
  request.set_worker(worker);
  request.set_action(action == WorkerAction::drain    ? v1::WORKER_ACTION_DRAIN
                     : action == WorkerAction::pause  ? v1::WORKER_ACTION_PAUSE
                     : action == WorkerAction::resize ? v1::WORKER_ACTION_RESIZE
                                                      : v1::WORKER_ACTION_RESUME);
  request.set_children(children);
  const auto response =
      internal::ControlCall(*connection_, connection_->workers(), &v1::WorkerService::Stub::ControlWorker,
                            request, Quoted("worker", worker));
  std::vector<WorkerInfo> workers;
  for (const auto& told : response.workers()) workers.push_back(ToWorkerInfo(told));
  return workers;
}

void Client::ping(Millis timeout) {
  v1::ListQueuesRequest request;
  request.set_page_size(1);
  v1::ListQueuesResponse response;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + timeout);
  const grpc::Status status = connection_->queues().ListQueues(&context, request, &response);
  if (status.ok()) return;
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
    throw Unavailable(absl::StrCat("broker at ", url_, ": no answer within ", timeout.count(), " ms"));
  }
  ThrowIfError(Verb::kControl, absl::StrCat("no broker at ", url_, ", is joinqd running there?"),
               absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message()));
}

}  // namespace joinq
