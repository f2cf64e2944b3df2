// A broker of a few lines for the client's tests: it answers as each test says, on
// a free loopback port, and remembers what it was sent. Thread-safe.
#pragma once

#include <grpcpp/server.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <typeindex>
#include <unordered_map>
#include <vector>

#include "joinq/v1/admin.grpc.pb.h"
#include "joinq/v1/queue.grpc.pb.h"
#include "joinq/v1/task.grpc.pb.h"
#include "joinq/v1/worker.grpc.pb.h"

namespace joinq::test {

constexpr uint64_t kIdOffset = 1000;  // a task's id is its tag and this

class FakeBroker : public v1::TaskService::Service,
                   public v1::QueueService::Service,
                   public v1::AdminService::Service {
 public:
  using Stream = grpc::ServerReaderWriter<v1::ProduceResponse, v1::ProduceRequest>;
  // Answers one request of the stream-th stream (from 0); false breaks the stream.
  using OnRequest = std::function<bool(int stream, const v1::ProduceRequest&, Stream*)>;

  // Port 0: any free one. `more` are services to offer beside its own.
  explicit FakeBroker(int port = 0, std::vector<grpc::Service*> more = {});
  ~FakeBroker() override;

  int port() const { return port_; }
  std::string url() const { return "127.0.0.1:" + std::to_string(port_); }
  void Stop();

  // Acknowledges each task; those watched succeed with their payload as the result.
  static bool Echo(int stream, const v1::ProduceRequest& request, Stream* out);

  void set_on_request(OnRequest on_request);
  std::vector<v1::ProduceRequest> requests(int stream);
  int streams();
  // False after 10 s.
  bool WaitFor(const std::function<bool(FakeBroker&)>& condition);

  // Answers the unary calls of that request type; OK and empty otherwise.
  template <typename Request, typename Response>
  void Answer(std::function<grpc::Status(const Request&, Response*)> answer) {
    std::lock_guard lock(mutex_);
    answers_[typeid(Request)] = [answer](const Message& request, Message* response) {
      return answer(static_cast<const Request&>(request), static_cast<Response*>(response));
    };
  }
  // The requests of that type so far.
  template <typename Request>
  std::vector<Request> Sent() {
    std::lock_guard lock(mutex_);
    std::vector<Request> sent;
    for (const auto& request : sent_[typeid(Request)]) sent.push_back(static_cast<const Request&>(*request));
    return sent;
  }
  // The newest of them; an empty one if there is none.
  template <typename Request>
  Request Last() {
    const auto sent = Sent<Request>();
    return sent.empty() ? Request() : sent.back();
  }

  std::function<grpc::Status(const v1::GetRequest&, v1::GetResponse*)> on_get;
  std::function<grpc::Status(const v1::JoinRequest&)> on_join;
  std::function<grpc::Status(const v1::DoneRequest&)> on_done;
  std::function<grpc::Status(const v1::GetResultRequest&, v1::TaskResult*)> on_result;

 private:
  grpc::Status Produce(grpc::ServerContext* context, Stream* stream) override;
  grpc::Status GetResult(grpc::ServerContext*, const v1::GetResultRequest*, v1::TaskResult*) override;
  grpc::Status GetQueue(grpc::ServerContext*, const v1::GetQueueRequest*, v1::QueueInfo*) override;
  grpc::Status ListQueues(grpc::ServerContext*, const v1::ListQueuesRequest*,
                          v1::ListQueuesResponse*) override;
  grpc::Status Get(grpc::ServerContext*, const v1::GetRequest*, v1::GetResponse*) override;
  grpc::Status Done(grpc::ServerContext*, const v1::DoneRequest*, v1::DoneResponse*) override;
  grpc::Status Join(grpc::ServerContext*, const v1::JoinRequest*, v1::JoinResponse*) override;

  using Message = google::protobuf::Message;
  // Remembers the request and answers as Answer says.
  grpc::Status Play(const Message& request, Message* response);

#define JOINQ_FAKE_CALL(Method, Response)                                                               \
  grpc::Status Method(grpc::ServerContext*, const v1::Method##Request* request, v1::Response* response) \
      override {                                                                                        \
    return Play(*request, response);                                                                    \
  }
  JOINQ_FAKE_CALL(CreateQueue, QueueInfo)
  JOINQ_FAKE_CALL(UpdateQueue, QueueInfo)
  JOINQ_FAKE_CALL(Fail, FailResponse)
  JOINQ_FAKE_CALL(Release, ReleaseResponse)
  JOINQ_FAKE_CALL(Extend, ExtendResponse)
  JOINQ_FAKE_CALL(ReportProgress, ReportProgressResponse)
  JOINQ_FAKE_CALL(Close, CloseResponse)
  JOINQ_FAKE_CALL(Pause, PauseResponse)
  JOINQ_FAKE_CALL(Resume, ResumeResponse)
  JOINQ_FAKE_CALL(Peek, PeekResponse)
  JOINQ_FAKE_CALL(Purge, PurgeResponse)
  JOINQ_FAKE_CALL(RetryDead, RetryDeadResponse)
  JOINQ_FAKE_CALL(PurgeDead, PurgeDeadResponse)
  JOINQ_FAKE_CALL(DeleteQueue, DeleteQueueResponse)
  JOINQ_FAKE_CALL(GetTask, TaskInfo)
  JOINQ_FAKE_CALL(ListTasks, ListTasksResponse)
  JOINQ_FAKE_CALL(CancelTask, TaskInfo)
  JOINQ_FAKE_CALL(GetTaskLog, TaskLog)
  JOINQ_FAKE_CALL(RetryTask, TaskInfo)
  JOINQ_FAKE_CALL(WhyTask, WhyTaskResponse)
  JOINQ_FAKE_CALL(Backup, BackupResponse)
  JOINQ_FAKE_CALL(GetBroker, BrokerInfo)
#undef JOINQ_FAKE_CALL

  std::mutex mutex_;
  std::condition_variable changed_;
  OnRequest on_request_ = Echo;
  std::vector<std::vector<v1::ProduceRequest>> requests_;
  std::unordered_map<std::type_index, std::function<grpc::Status(const Message&, Message*)>> answers_;
  std::unordered_map<std::type_index, std::vector<std::unique_ptr<Message>>> sent_;
  int port_;
  std::unique_ptr<grpc::Server> server_;
};

// All tasks of a request in order.
std::vector<v1::NewTask> TasksOf(const v1::ProduceRequest& request);
std::vector<v1::NewTask> TasksOf(const std::vector<v1::ProduceRequest>& requests);

}  // namespace joinq::test
