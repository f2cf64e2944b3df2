// Connection's gets: of one queue or several, with a lease of their own or the session's.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "client/src/connection.h"
#include "client/src/throwing.h"
#include "common/names.h"
#include "common/rpc_status.h"

namespace joinq::internal {
namespace {

constexpr uint32_t kCountMax = 1000;
constexpr size_t kQueuesMax = 100;
constexpr uint32_t kWeightMax = 1000;

}  // namespace

grpc::Status SessionError(const absl::Status& error) {
  if (absl::IsUnauthenticated(error) || absl::IsPermissionDenied(error)) return ToGrpc(error);
  return grpc::Status(grpc::StatusCode::UNAVAILABLE, std::string(error.message()));
}

TaskData::~TaskData() {
  if (held) connection->session().Abandon(lease);
}

std::vector<Task> Connection::Get(const std::string& queue, uint32_t count, const GetOptions& options) {
  v1::GetRequest request;
  request.set_queue(queue);
  request.set_max_tasks(count);
  return Get(&request, Quoted("queue", queue), options);
}

std::vector<Task> Connection::Get(const std::vector<WeightedQueue>& queues, uint32_t count,
                                  const GetOptions& options) {
  if (queues.empty() || queues.size() > kQueuesMax)
    throw InvalidArgument(absl::StrCat("queues: must be 1 to 100, not ", queues.size()), "queues");
  v1::GetRequest request;
  std::string what = queues.size() == 1 ? "queue" : "each of the queues";
  for (const auto& [name, weight] : queues) {
    RequireName("queues", name);
    if (weight < 1 || weight > kWeightMax) {
      throw InvalidArgument(
          absl::StrCat("queues: the weight of \"", name, "\" must be 1 to 1000, not ", weight), "queues");
    }
    auto* wire = request.add_queues();
    wire->set_queue(name);
    wire->set_weight(weight);
    absl::StrAppend(&what, &name == &queues[0].name ? " " : ", ", "\"", name, "\"");
  }
  request.set_max_tasks(count);
  return Get(&request, what, options);
}

std::vector<Task> Connection::Get(v1::GetRequest* request, const std::string& what,
                                  const GetOptions& options) {
  if (request->max_tasks() < 1 || request->max_tasks() > kCountMax) {
    throw InvalidArgument(absl::StrCat("count: must be 1 to 1000, not ", request->max_tasks()), "count");
  }
  const bool of_session = !options.ack && !options.lease;
  request->set_lease_ms(ToMs("lease", options.lease.value_or(Millis(0))));
  request->set_ack(options.ack);
  v1::GetResponse response;
  const absl::Status status = Parked(options.timeout, [&](Context* context, uint32_t slice_ms) {
    request->set_timeout_ms(slice_ms);
    request->set_no_wait(slice_ms == 0);
    return of_session ? GetOfSession(context, request, &response)
                      : parked_queues_->Get(context, *request, &response);
  });
  ThrowIfError(Verb::kGet, what, status);
  std::vector<Task> tasks;
  tasks.reserve(response.tasks_size());
  for (auto& delivered : *response.mutable_tasks()) tasks.push_back(MakeTask(*request, &delivered));
  if (tasks.empty()) throw Empty(what + " is empty");
  return tasks;
}

// Answers kUnavailable, so that it is tried again, where the session is at fault.
grpc::Status Connection::GetOfSession(Context* context, v1::GetRequest* request, v1::GetResponse* response) {
  const auto ticket = session_->Ready(Clock::now() + kReadyWait);
  if (!ticket.ok()) return SessionError(ticket.status());
  request->set_session_id(ticket->session_id);
  const grpc::Status status = parked_queues_->Get(context, *request, response);
  if (status.ok() || ticket->session_id == 0 || FieldOf(FromGrpc(status)) != "session_id") return status;
  session_->Doubt(*ticket);
  return grpc::Status(grpc::StatusCode::UNAVAILABLE, status.error_message());
}

Task Connection::MakeTask(const v1::GetRequest& request, v1::DeliveredTask* delivered) {
  auto data = std::make_shared<TaskData>();
  data->connection = shared_from_this();
  data->id = delivered->task_id();
  // Older brokers leave the name out.
  data->queue = delivered->queue().empty() ? request.queue() : std::move(*delivered->mutable_queue());
  data->handler = std::move(*delivered->mutable_handler());
  data->payload = std::move(*delivered->mutable_payload());
  data->content_type = std::move(*delivered->mutable_content_type());
  for (auto& header : *delivered->mutable_headers()) {
    data->headers.emplace_back(std::move(*header.mutable_name()), std::move(*header.mutable_value()));
  }
  data->attempt = delivered->attempt();
  data->lease_time = Millis(delivered->lease_ms());
  if (delivered->has_lease()) {
    data->lease = {delivered->lease().task_id(), delivered->lease().epoch(), delivered->lease().sequence()};
    if (request.session_id() != 0) data->held = session_->Hold(data->lease);
  }
  return Task(std::move(data));
}

Task Connection::MakeTask(const std::string& queue, const Lease& lease) {
  auto data = std::make_shared<TaskData>();
  data->connection = shared_from_this();
  data->id = lease.task_id;
  data->queue = queue;
  data->lease = lease;
  return Task(std::move(data));
}

}  // namespace joinq::internal
