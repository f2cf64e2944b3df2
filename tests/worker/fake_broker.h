// A broker for tests of the worker: one real gRPC service with the least that
// the contract asks for, and knobs to misbehave. Thread-safe.
#pragma once

#include <grpcpp/server.h>

#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "joinq/v1/worker.grpc.pb.h"

namespace joinq {

class FakeBroker final : public v1::WorkerService::Service {
 public:
  FakeBroker();
  ~FakeBroker() override;

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

  // Adds a task; it is delivered when there is credit. Returns its id.
  uint64_t Put(const std::string& handler, const std::string& payload, const std::string& content_type = "",
               std::vector<std::pair<std::string, std::string>> headers = {});
  // The same with these options: the limits, deadline and process of its delivery.
  struct RunOptions {
    uint32_t time_limit_ms = 0;
    uint32_t soft_time_limit_ms = 0;
    uint32_t deadline_ms = 0;
    bool fresh_process = false;
  };
  uint64_t Put(const std::string& handler, const std::string& payload, const RunOptions& options);
  void PutMany(const std::string& handler, const std::string& payload, int count);

  // Waits for the n-th completion of a task; fails (nullopt) after `timeout`.
  std::optional<v1::Completion> Wait(uint64_t task_id, absl::Duration timeout = absl::Seconds(20));
  bool WaitFor(const std::function<bool()>& condition, absl::Duration timeout = absl::Seconds(20));
  bool WaitConnected(int streams = 1);

  void Break();  // cancels the stream
  void Cancel(uint64_t task_id, bool terminate = false);
  void CancelLease(uint64_t task_id, uint64_t sequence);
  // Says the cancel of the task once more.
  void CancelAgain(uint64_t task_id, bool terminate = false);
  // How the work on a task ended that was cancelled; unspecified after `timeout`.
  v1::WorkEnd WaitStopped(uint64_t task_id, absl::Duration timeout = absl::Seconds(20));
  // What the worker has of the task's output; nullopt after `timeout`.
  std::optional<v1::TaskLogAnswer> AskLog(uint64_t task_id, absl::Duration timeout = absl::Seconds(20));
  void AskToDrain();
  void Resize(uint32_t children);
  void SetPaused(bool paused);
  void SetAck(bool ack);        // whether completions are acknowledged
  void SetAccept(bool accept);  // whether new streams are served
  void SetEpoch(uint64_t epoch);

  // Guarded by the mutex of WaitFor's condition; read them inside one, or when all is quiet.
  struct State {
    int streams = 0;  // welcomed so far
    bool connected = false;
    v1::WorkerHello hello;    // the newest
    uint64_t credit = 0;      // given and not used, on this stream
    uint64_t credit_max = 0;  // the most there ever was
    uint64_t overdelivered = 0;
    uint64_t delivered = 0;
    uint64_t completed = 0;
    uint64_t messages = 0;            // received
    std::vector<uint64_t> sequences;  // completions_seq as they came in, over all streams
    std::map<uint64_t, std::vector<v1::Completion>> completions;
    std::map<uint64_t, std::vector<std::string>> progress;
    std::map<uint64_t, uint32_t> started;  // pids of processes, by task
    std::map<uint64_t, std::vector<v1::WorkEnd>> stopped;
    std::map<uint64_t, v1::TaskLogAnswer> logs;  // by ask
    v1::WorkerStatus status;
    int statuses = 0;
    bool draining = false;
    bool ended_in_order = false;
    uint32_t outstanding_max = 0;
  };
  State Snapshot();
  State& state() { return state_; }  // only inside WaitFor's condition
  bool keep_completions = true;      // set before tasks are put; off for floods

 private:
  using Stream = grpc::ServerReaderWriter<v1::WorkResponse, v1::WorkRequest>;
  grpc::Status Work(grpc::ServerContext* context, Stream* stream) override;
  void Take(const v1::WorkRequest& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Deliver(v1::WorkResponse& response) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Push() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  struct Queued {
    uint64_t id;
    std::string handler, payload, content_type;
    uint32_t attempt = 1;
    std::vector<std::pair<std::string, std::string>> headers = {};
    RunOptions options = {};
  };
  absl::Mutex mutex_;
  State state_ ABSL_GUARDED_BY(mutex_);
  std::deque<Queued> ready_ ABSL_GUARDED_BY(mutex_);
  std::map<uint64_t, std::pair<uint64_t, Queued>> leased_ ABSL_GUARDED_BY(mutex_);  // by id: sequence, task
  std::map<uint64_t, uint64_t> cancelled_ ABSL_GUARDED_BY(mutex_);                  // by id: sequence
  uint64_t next_ask_ ABSL_GUARDED_BY(mutex_) = 1;
  uint64_t next_id_ ABSL_GUARDED_BY(mutex_) = 1;
  uint64_t next_sequence_ ABSL_GUARDED_BY(mutex_) = 1;
  uint64_t epoch_ ABSL_GUARDED_BY(mutex_) = 1;
  uint64_t seen_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t to_ack_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t acked_ ABSL_GUARDED_BY(mutex_) = 0;
  bool ack_ ABSL_GUARDED_BY(mutex_) = true;
  bool accept_ ABSL_GUARDED_BY(mutex_) = true;
  Stream* stream_ ABSL_GUARDED_BY(mutex_) = nullptr;
  grpc::ServerContext* context_ ABSL_GUARDED_BY(mutex_) = nullptr;
  v1::WorkResponse response_ ABSL_GUARDED_BY(mutex_);
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace joinq
