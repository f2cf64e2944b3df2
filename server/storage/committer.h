// The commit thread: one batch at a time goes to the store and is synced there;
// the next one gathers meanwhile at the owner's.
//
// Submit, Wait and Take are the owner thread's. `on_finished` is called on the
// commit thread after each batch; it must only wake the owner. So is `before`, if
// there is one, with the bytes of each batch before it is written.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "server/storage/store.h"

namespace joinq::storage {

class Committer {
 public:
  Committer(Store* store, Partition partition, uint64_t epoch, std::function<void()> on_finished,
            std::function<void(size_t)> before = nullptr);
  // Finishes the batch under way.
  ~Committer();

  bool busy() const { return busy_; }
  // Hands over the batch's content and leaves `batch` cleared. Not while busy.
  void Submit(Batch* batch);
  // Blocks until the batch under way is through.
  void Wait();
  // True once for every batch that is through; fills `result`.
  bool Take(CommitResult* result);

 private:
  enum class Phase { kIdle, kSubmitted, kFinished, kStop };
  void Run();

  Store* const store_;
  const Partition partition_;
  const uint64_t epoch_;
  const std::function<void()> on_finished_;
  const std::function<void(size_t)> before_;
  bool busy_ = false;  // the owner's view

  // Two threads meet here, once a batch each; everything else has one owner.
  std::mutex mutex_;
  std::condition_variable changed_;
  Phase phase_ = Phase::kIdle;
  Batch batch_;
  CommitResult result_;
  uint64_t seq_ = 0;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace joinq::storage
