#include "tests/client/fake_broker.h"

#include <grpcpp/server_builder.h>

#include <chrono>

#include "common/names.h"
#include "common/rpc_status.h"

namespace joinq::test {

FakeBroker::FakeBroker(int port, std::vector<grpc::Service*> more) : port_(port) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:" + std::to_string(port), grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(static_cast<v1::TaskService::Service*>(this));
  builder.RegisterService(static_cast<v1::QueueService::Service*>(this));
  builder.RegisterService(static_cast<v1::AdminService::Service*>(this));
  for (grpc::Service* service : more) builder.RegisterService(service);
  builder.SetMaxReceiveMessageSize(kMessageBytesMax + 65'536);
  server_ = builder.BuildAndStart();
}

FakeBroker::~FakeBroker() {
  Stop();
}

void FakeBroker::Stop() {
  if (server_) server_->Shutdown(std::chrono::system_clock::now());
  if (server_) server_->Wait();
  server_.reset();
}

bool FakeBroker::Echo(int, const v1::ProduceRequest& request, Stream* out) {
  v1::ProduceResponse response;
  for (const auto& group : request.groups()) {
    for (const auto& task : group.tasks()) {
      auto* ack = response.add_acks();
      ack->set_first_tag(task.tag());
      ack->set_first_task_id(task.tag() + kIdOffset);
      ack->set_count(1);
      if (!group.watch()) continue;
      auto* result = response.add_results();
      result->set_tag(task.tag());
      result->set_task_id(task.tag() + kIdOffset);
      result->set_outcome(v1::OUTCOME_SUCCEEDED);
      result->set_payload(task.payload());
      result->set_attempts(1);
    }
  }
  if (response.acks_size() > 0) out->Write(response);
  return true;
}

void FakeBroker::set_on_request(OnRequest on_request) {
  std::lock_guard lock(mutex_);
  on_request_ = std::move(on_request);
}

std::vector<v1::ProduceRequest> FakeBroker::requests(int stream) {
  std::lock_guard lock(mutex_);
  return stream < static_cast<int>(requests_.size()) ? requests_[stream] : std::vector<v1::ProduceRequest>();
}

int FakeBroker::streams() {
  std::lock_guard lock(mutex_);
  return static_cast<int>(requests_.size());
}

bool FakeBroker::WaitFor(const std::function<bool(FakeBroker&)>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!condition(*this)) {
    std::unique_lock lock(mutex_);
    if (changed_.wait_until(
            lock, std::min(deadline, std::chrono::steady_clock::now() + std::chrono::milliseconds(20))) ==
            std::cv_status::timeout &&
        std::chrono::steady_clock::now() >= deadline) {
      return false;
    }
  }
  return true;
}

grpc::Status FakeBroker::Produce(grpc::ServerContext*, Stream* stream) {
  int number;
  {
    std::lock_guard lock(mutex_);
    number = static_cast<int>(requests_.size());
    requests_.emplace_back();
  }
  v1::ProduceRequest request;
  while (stream->Read(&request)) {
    OnRequest on_request;
    {
      std::lock_guard lock(mutex_);
      requests_[number].push_back(request);
      on_request = on_request_;
    }
    changed_.notify_all();
    if (request.has_hello()) {
      v1::ProduceResponse welcome;
      welcome.mutable_welcome()->set_epoch(1);
      welcome.mutable_welcome()->set_max_payload_bytes(kPayloadBytesMaxDefault);
      welcome.mutable_welcome()->set_max_message_bytes(kMessageBytesMax);
      stream->Write(welcome);
    }
    if (!on_request(number, request, stream)) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "stopping");
  }
  return grpc::Status::OK;
}

grpc::Status FakeBroker::GetResult(grpc::ServerContext*, const v1::GetResultRequest* request,
                                   v1::TaskResult* result) {
  return on_result ? on_result(*request, result)
                   : grpc::Status(grpc::StatusCode::NOT_FOUND, "no such result");
}

grpc::Status FakeBroker::Play(const Message& request, Message* response) {
  std::function<grpc::Status(const Message&, Message*)> answer;
  {
    std::lock_guard lock(mutex_);
    auto& copy = sent_[typeid(request)].emplace_back(request.New());
    copy->CopyFrom(request);
    auto found = answers_.find(typeid(request));
    if (found != answers_.end()) answer = found->second;
  }
  changed_.notify_all();
  return answer ? answer(request, response) : grpc::Status::OK;
}

grpc::Status FakeBroker::GetQueue(grpc::ServerContext*, const v1::GetQueueRequest* request,
                                  v1::QueueInfo* info) {
  if (request->name() == "nowhere") {
    return ToGrpc(FieldError(absl::StatusCode::kNotFound, "queue", "no queue \"nowhere\""));
  }
  info->set_name(request->name());
  info->mutable_stats()->set_ready(3);
  info->set_durability("memory");
  return Play(*request, info);
}

grpc::Status FakeBroker::ListQueues(grpc::ServerContext*, const v1::ListQueuesRequest* request,
                                    v1::ListQueuesResponse* response) {
  // Two pages.
  const bool first = request->after().empty();
  response->add_queues()->set_name(first ? "a" : "b");
  response->set_more(first);
  return grpc::Status::OK;
}

grpc::Status FakeBroker::Get(grpc::ServerContext*, const v1::GetRequest* request, v1::GetResponse* response) {
  Play(*request, response);
  return on_get ? on_get(*request, response) : grpc::Status(grpc::StatusCode::DEADLINE_EXCEEDED, "empty");
}

grpc::Status FakeBroker::Done(grpc::ServerContext*, const v1::DoneRequest* request,
                              v1::DoneResponse* response) {
  const grpc::Status played = Play(*request, response);
  return on_done ? on_done(*request) : played;
}

grpc::Status FakeBroker::Join(grpc::ServerContext*, const v1::JoinRequest* request, v1::JoinResponse*) {
  return on_join ? on_join(*request) : grpc::Status::OK;
}

std::vector<v1::NewTask> TasksOf(const v1::ProduceRequest& request) {
  std::vector<v1::NewTask> tasks;
  for (const auto& group : request.groups())
    tasks.insert(tasks.end(), group.tasks().begin(), group.tasks().end());
  return tasks;
}

std::vector<v1::NewTask> TasksOf(const std::vector<v1::ProduceRequest>& requests) {
  std::vector<v1::NewTask> tasks;
  for (const auto& request : requests) {
    for (auto& task : TasksOf(request)) tasks.push_back(std::move(task));
  }
  return tasks;
}

}  // namespace joinq::test
