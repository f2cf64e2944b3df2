// What Client, Queue, Pool and Task share: the address, the channels and the
// producer of one broker.
//
// Three channels, so that what parks cannot starve what must move: one for the
// producer's stream, one for short calls, one for gets and joins that wait.
// Thread-safe. Calls throw the exceptions of joinq/errors.h.
#pragma once

#include <joinq/client.h>

#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "client/src/producer.h"
#include "common/net_address.h"
#include "joinq/v1/admin.grpc.pb.h"
#include "joinq/v1/queue.grpc.pb.h"
#include "joinq/v1/task.grpc.pb.h"
#include "joinq/v1/worker.grpc.pb.h"

namespace joinq::internal {

struct TaskData {
  std::shared_ptr<Connection> connection;
  uint64_t id = 0;
  std::string queue;
  std::string handler;
  std::string payload;
  std::string content_type;
  Headers headers;
  uint32_t attempt = 0;
  Lease lease;
  Millis lease_time{0};
};

std::vector<uint64_t> IdsOf(const std::vector<PutReceipt>& receipts);

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  using Clock = std::chrono::steady_clock;
  using Context = grpc::ClientContext;

  // Does not connect yet.
  Connection(NetAddress address, ClientOptions options);

  v1::QueueService::Stub& queues() { return *queues_; }
  v1::QueueService::Stub& parked_queues() { return *parked_queues_; }
  v1::TaskService::Stub& parked_tasks() { return *parked_tasks_; }
  v1::TaskService::Stub& tasks() { return *tasks_; }
  v1::WorkerService::Stub& workers() { return *workers_; }
  v1::AdminService::Stub& admin() { return *admin_; }
  Producer& producer() { return *producer_; }
  const ClientOptions& options() const { return options_; }

  // A short call: repeated while the broker is unavailable, until
  // unavailable_after or the control timeout.
  absl::Status Control(absl::FunctionRef<grpc::Status(Context*)> call);
  // A call that waits at the broker: done in slices until it answers with anything
  // but kDeadlineExceeded or `timeout` is over. The call sets timeout_ms to `slice_ms`,
  // or asks not to wait when it is 0.
  absl::Status Parked(Millis timeout, absl::FunctionRef<grpc::Status(Context*, uint32_t slice_ms)> call);

  struct GetSpec {
    uint32_t count = 1;
    Millis timeout = kForever;
    Millis lease{0};
    bool ack = false;
  };
  std::vector<Task> Get(const std::string& queue, const GetSpec& spec);
  Task MakeTask(const std::string& queue, v1::DeliveredTask* delivered);
  Task MakeTask(const std::string& queue, const Lease& lease);
  // Puts all and waits for the acknowledgements; errors have their put_ids(). The
  // receipts lack the durability.
  std::vector<PutReceipt> Put(const std::shared_ptr<const PutSpec>& spec, size_t count,
                              absl::FunctionRef<std::string_view(size_t)> payload, Millis timeout);

 private:
  const NetAddress address_;
  const ClientOptions options_;
  const std::unique_ptr<v1::QueueService::Stub> queues_;
  const std::unique_ptr<v1::TaskService::Stub> tasks_;
  const std::unique_ptr<v1::WorkerService::Stub> workers_;
  const std::unique_ptr<v1::AdminService::Stub> admin_;
  const std::unique_ptr<v1::QueueService::Stub> parked_queues_;
  const std::unique_ptr<v1::TaskService::Stub> parked_tasks_;
  const std::unique_ptr<Producer> producer_;

  Connection(NetAddress address, ClientOptions options, std::shared_ptr<grpc::Channel> control,
             std::shared_ptr<grpc::Channel> parked);
};

}  // namespace joinq::internal
