// What Client, Queue, Pool and Task share: the address, the channels and the
// producer of one broker.
//
// A channel each, so that what parks cannot starve what must move: for the producer's
// stream, for the session's, for short calls, for gets and joins that wait.
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
#include "client/src/session.h"
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
  std::shared_ptr<HeldLease> held;  // of a lease that hangs on the session

  ~TaskData();
};

// For the session's stream to come up, within one try of a call that needs it.
inline constexpr std::chrono::seconds kReadyWait{5};
// What a call that needs the session ends with if there is none: kUnavailable, so that it
// is tried again, where trying may help.
grpc::Status SessionError(const absl::Status& error);

std::vector<uint64_t> IdsOf(const std::vector<PutReceipt>& receipts);

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  using Clock = std::chrono::steady_clock;
  using Context = grpc::ClientContext;

  // Does not connect yet.
  Connection(NetAddress address, ClientOptions options);
  // Gives leased tasks back, and waits for puts that are under way, up to ClientOptions::linger.
  ~Connection();

  v1::QueueService::Stub& queues() { return *queues_; }
  v1::QueueService::Stub& parked_queues() { return *parked_queues_; }
  v1::TaskService::Stub& parked_tasks() { return *parked_tasks_; }
  v1::TaskService::Stub& tasks() { return *tasks_; }
  v1::WorkerService::Stub& workers() { return *workers_; }
  v1::AdminService::Stub& admin() { return *admin_; }
  Producer& producer() { return *producer_; }
  Session& session() { return *session_; }
  const ClientOptions& options() const { return options_; }

  // A short call: repeated while the broker is unavailable, until
  // unavailable_after or the control timeout.
  absl::Status Control(absl::FunctionRef<grpc::Status(Context*)> call);
  // A call that waits at the broker: done in slices until it answers with anything
  // but kDeadlineExceeded or `timeout` is over. The call sets timeout_ms to `slice_ms`,
  // or asks not to wait when it is 0.
  absl::Status Parked(Millis timeout, absl::FunctionRef<grpc::Status(Context*, uint32_t slice_ms)> call);

  std::vector<Task> Get(const std::string& queue, uint32_t count, const GetOptions& options);
  std::vector<Task> Get(const std::vector<WeightedQueue>& queues, uint32_t count, const GetOptions& options);
  Task MakeTask(const std::string& queue, const Lease& lease);
  // Ties what is put with it to the session, which is opened for that, if it asks for it.
  void Tie(PutSpec* spec);
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
  EventLoop loop_;
  const std::unique_ptr<Producer> producer_;
  const std::unique_ptr<Session> session_;

  std::vector<Task> Get(v1::GetRequest* request, const std::string& what, const GetOptions& options);
  grpc::Status GetOfSession(Context* context, v1::GetRequest* request, v1::GetResponse* response);
  Task MakeTask(const v1::GetRequest& request, v1::DeliveredTask* delivered);

  Connection(NetAddress address, ClientOptions options, std::shared_ptr<grpc::Channel> control,
             std::shared_ptr<grpc::Channel> parked);
};

}  // namespace joinq::internal
