// The core thread: drains the completion queue, owns the broker's state, and lets
// answers out once what they rest on is durable.
//
// While a commit is under way, changes and answers gather; when it is through,
// its answers go out and what has gathered is committed next.
#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/completion_queue.h>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "server/core/broker.h"
#include "server/rpc/async.h"
#include "server/rpc/target.h"
#include "server/storage/committer.h"
#include "server/storage/disk_space.h"
#include "server/storage/loader.h"
#include "server/storage/record_codec.h"

namespace joinq::rpc {

class CoreLoop final : private Event {
 public:
  struct Options {
    core::Limits limits;
    storage::Store* store = nullptr;
    uint64_t seed = 0;
    storage::DiskWatch* disk = nullptr;  // told of what is written; may be null; outlives the loop
  };

  // Acquires the store and restores the broker from it.
  static absl::StatusOr<std::unique_ptr<CoreLoop>> Open(const Options& options);
  ~CoreLoop();

  // Before Run; the queue must outlive the loop.
  void set_queue(grpc::ServerCompletionQueue* queue) { queue_ = queue; }
  // Drains the queue on this thread until it is shut down.
  void Run();

  // Runs `work` on the core thread soon. Any thread, while the loop runs.
  void Post(std::function<void()> work);

  // ---- the rest is the core thread's
  core::Broker& broker() { return *broker_; }
  TargetMap& targets() { return targets_; }
  grpc::ServerCompletionQueue* queue() { return queue_; }
  // Whether anything is kept on disk at all.
  bool durable() const { return durable_; }
  std::string_view durability() const { return store_->durability(); }
  // Damaged records that were set aside, by this start or earlier ones.
  uint64_t records_set_aside() const { return records_set_aside_; }
  // Reads rows beside the commits; `done` runs on the core thread. False, and nothing
  // will be done, if too many reads are waiting.
  bool ReadRows(std::vector<std::string> keys, std::function<void(const storage::LoadedRows&)> done);
  storage::Store* store() const { return store_; }
  bool committing() const { return committer_ != nullptr && committer_->busy(); }
  bool stopping() const { return stopping_; }
  // Answers everything that is parked, closes every stream; calls `closed` once
  // all of it is committed and sent.
  void Stop(std::function<void()> closed);

  // Figures for metrics; the core thread's.
  struct Figures {
    uint64_t rounds = 0, events = 0, commits = 0, committed_bytes = 0;
  };
  const Figures& figures() const { return figures_; }
  static core::Time Now();

 private:
  CoreLoop() = default;
  void OnEvent(bool ok) override;
  void Wake();
  void FinishRound();
  void SendLoads();
  void Loaded(core::TaskId task, const absl::StatusOr<std::string>& row);
  void CheckStop();
  [[noreturn]] void StorageFailed(const storage::CommitResult& result);

  size_t GatheredBytesMax() const;

  storage::Store* store_ = nullptr;
  storage::DiskWatch* disk_ = nullptr;
  bool durable_ = false;
  storage::BatchEncoder encoder_;
  core::NullChangeSink no_sink_;
  std::unique_ptr<core::Broker> broker_;
  std::unique_ptr<storage::Committer> committer_;
  std::unique_ptr<storage::Loader> loader_;
  std::vector<core::TaskId> wanted_;  // payloads the core asked for, not yet being read
  std::vector<core::TaskId> unread_;  // the disk failed to bring these; asked for again
  core::Time ask_again_;              // at this time
  uint64_t records_set_aside_ = 0;
  core::Effects committing_;  // answers that wait for the commit under way
  TargetMap targets_;
  grpc::ServerCompletionQueue* queue_ = nullptr;
  Figures figures_;
  bool stopping_ = false;
  std::function<void()> on_closed_;

  // Other threads hand over work and wake the loop here.
  std::mutex inbox_mutex_;
  std::vector<std::function<void()>> inbox_;  // guarded by inbox_mutex_
  std::atomic<bool> waking_{false};
  grpc::Alarm alarm_;
};

}  // namespace joinq::rpc
