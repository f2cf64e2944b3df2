// Waits for the acknowledgements of some puts.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "client/src/put_spec.h"

namespace joinq::internal {

// The i-th put has cookie i. The submitting thread waits, the producer's tells.
class PutWaiter : public ResultSink {
 public:
  explicit PutWaiter(size_t count) : ResultSink(true), missing_(count), receipts_(count) {}

  // `count` puts will not be submitted after all.
  void Skip(size_t count) {
    std::lock_guard lock(mutex_);
    missing_ -= count;
  }
  // False if some are missing at `deadline`.
  bool Wait(std::chrono::steady_clock::time_point deadline) {
    std::unique_lock lock(mutex_);
    auto complete = [this] { return missing_ == 0; };
    if (deadline != deadline.max()) return complete_.wait_until(lock, deadline, complete);
    complete_.wait(lock, complete);
    return true;
  }
  // After Wait: the first refusal in the order of puts.
  absl::Status error() {
    std::lock_guard lock(mutex_);
    return error_;
  }
  // The id is 0 for each that is not acknowledged; durabilities are left empty.
  std::vector<PutReceipt> receipts() {
    std::lock_guard lock(mutex_);
    return receipts_;
  }

  void OnAck(uint64_t cookie, uint64_t task_id, bool existing) override {
    std::lock_guard lock(mutex_);
    receipts_[cookie].id = task_id;
    receipts_[cookie].existing = existing;
    Ended();
  }
  void OnRefused(uint64_t cookie, const absl::Status& status) override {
    std::lock_guard lock(mutex_);
    if (error_.ok() || cookie < error_cookie_) {
      error_ = status;
      error_cookie_ = cookie;
    }
    Ended();
  }
  void OnResult(uint64_t, v1::ProducedResult&) override {}
  void OnLost(uint64_t, uint64_t, const absl::Status&) override {}
  void OnBatchEnd() override {}

 private:
  void Ended() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (--missing_ == 0) complete_.notify_all();
  }

  // A lock, since the waiting thread sleeps on it until the producer's thread is done.
  std::mutex mutex_;
  std::condition_variable complete_;
  size_t missing_ ABSL_GUARDED_BY(mutex_);
  std::vector<PutReceipt> receipts_ ABSL_GUARDED_BY(mutex_);
  absl::Status error_ ABSL_GUARDED_BY(mutex_);
  uint64_t error_cookie_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace joinq::internal
