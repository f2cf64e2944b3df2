#include "server/storage/committer.h"

#include <pthread.h>

#include <cassert>
#include <utility>

namespace joinq::storage {

Committer::Committer(Store* store, Partition partition, uint64_t epoch, std::function<void()> on_finished,
                     std::function<void(size_t)> before)
    : store_(store),
      partition_(partition),
      epoch_(epoch),
      on_finished_(std::move(on_finished)),
      before_(std::move(before)),
      thread_([this] { Run(); }) {
  pthread_setname_np(thread_.native_handle(), "commit");
}

Committer::~Committer() {
  Wait();
  {
    std::lock_guard lock(mutex_);
    phase_ = Phase::kStop;
  }
  changed_.notify_all();
  thread_.join();
}

void Committer::Submit(Batch* batch) {
  assert(!busy_);
  busy_ = true;
  {
    std::lock_guard lock(mutex_);
    std::swap(batch_, *batch);
    phase_ = Phase::kSubmitted;
  }
  changed_.notify_all();
  batch->Clear();
}

void Committer::Wait() {
  if (!busy_) return;
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return phase_ != Phase::kSubmitted; });
}

bool Committer::Take(CommitResult* result) {
  if (!busy_) return false;
  std::lock_guard lock(mutex_);
  if (phase_ != Phase::kFinished) return false;
  phase_ = Phase::kIdle;
  busy_ = false;
  *result = std::move(result_);
  return true;
}

void Committer::Run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return phase_ == Phase::kSubmitted || phase_ == Phase::kStop; });
    if (phase_ == Phase::kStop) return;
    lock.unlock();
    if (before_) before_(batch_.bytes());
    CommitResult result = store_->Commit(partition_, epoch_, ++seq_, batch_);
    lock.lock();
    result_ = std::move(result);
    phase_ = Phase::kFinished;
    lock.unlock();
    changed_.notify_all();
    on_finished_();
    lock.lock();
  }
}

}  // namespace joinq::storage
