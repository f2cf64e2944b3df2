// A broker of a few lines for the client's tests: it answers as each test says, on
// a free loopback port, and remembers what it was sent. Thread-safe.
#pragma once

#include <grpcpp/server.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "joinq/v1/queue.grpc.pb.h"
#include "joinq/v1/task.grpc.pb.h"
#include "joinq/v1/worker.grpc.pb.h"

namespace joinq::test {

constexpr uint64_t kIdOffset = 1000;  // a task's id is its tag and this

class FakeBroker : public v1::TaskService::Service, public v1::QueueService::Service {
 public:
  using Stream = grpc::ServerReaderWriter<v1::ProduceResponse, v1::ProduceRequest>;
  // Answers one request of the stream-th stream (from 0); false breaks the stream.
  using OnRequest = std::function<bool(int stream, const v1::ProduceRequest&, Stream*)>;

  // Port 0: any free one.
  explicit FakeBroker(int port = 0);
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

  std::function<grpc::Status(const v1::GetRequest&, v1::GetResponse*)> on_get;
  std::function<grpc::Status(const v1::JoinRequest&)> on_join;
  std::function<grpc::Status(const v1::DoneRequest&)> on_done;
  std::function<grpc::Status(const v1::GetResultRequest&, v1::TaskResult*)> on_result;

 private:
  grpc::Status Produce(grpc::ServerContext* context, Stream* stream) override;
  grpc::Status GetResult(grpc::ServerContext*, const v1::GetResultRequest*, v1::TaskResult*) override;
  grpc::Status CreateQueue(grpc::ServerContext*, const v1::CreateQueueRequest*, v1::QueueInfo*) override;
  grpc::Status GetQueue(grpc::ServerContext*, const v1::GetQueueRequest*, v1::QueueInfo*) override;
  grpc::Status ListQueues(grpc::ServerContext*, const v1::ListQueuesRequest*,
                          v1::ListQueuesResponse*) override;
  grpc::Status Get(grpc::ServerContext*, const v1::GetRequest*, v1::GetResponse*) override;
  grpc::Status Done(grpc::ServerContext*, const v1::DoneRequest*, v1::DoneResponse*) override;
  grpc::Status Join(grpc::ServerContext*, const v1::JoinRequest*, v1::JoinResponse*) override;

  std::mutex mutex_;
  std::condition_variable changed_;
  OnRequest on_request_ = Echo;
  std::vector<std::vector<v1::ProduceRequest>> requests_;
  int port_;
  std::unique_ptr<grpc::Server> server_;
};

// All tasks of a request in order.
std::vector<v1::NewTask> TasksOf(const v1::ProduceRequest& request);
std::vector<v1::NewTask> TasksOf(const std::vector<v1::ProduceRequest>& requests);

}  // namespace joinq::test
