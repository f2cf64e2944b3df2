// How many tasks of a pool have not ended; Pool::join waits for 0. Thread-safe.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace joinq::internal {

class Outstanding {
 public:
  void Add(uint64_t count) { count_.fetch_add(count, std::memory_order_relaxed); }
  void Remove(uint64_t count) {
    if (count_.fetch_sub(count, std::memory_order_acq_rel) != count) return;
    std::lock_guard lock(mutex_);
    zero_.notify_all();
  }
  // False if some are left at `deadline`.
  bool WaitForNone(std::chrono::steady_clock::time_point deadline) {
    std::unique_lock lock(mutex_);
    auto none = [this] { return count_.load(std::memory_order_acquire) == 0; };
    if (deadline != deadline.max()) return zero_.wait_until(lock, deadline, none);
    zero_.wait(lock, none);
    return true;
  }

 private:
  std::atomic<uint64_t> count_{0};
  // A lock, since joiners sleep.
  std::mutex mutex_;
  std::condition_variable zero_;
};

}  // namespace joinq::internal
