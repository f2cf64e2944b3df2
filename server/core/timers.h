// Deadlines in one heap. An entry is never removed early: whoever it was for
// checks, when it comes due, whether it still means anything. All time-driven
// work of the core hangs here, so the next deadline is one look away.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <queue>
#include <vector>

#include "server/core/types.h"

namespace joinq::core {

enum class TimerKind : uint8_t {
  kTaskDue,
  kTaskExpiry,
  kLeaseEnd,
  kWaiter,
  kResults,
  kSession,
  kProducer,
  kKey,
  kMarkSession,  // its leases may be old enough to be marked on disk
  kMarkQueue,
};

struct Timer {
  Time when;
  uint64_t subject;  // an id of the kind's, or a second of results
  TimerKind kind;
  // Ids settle ties, so that many deadlines at one instant keep their order.
  bool operator>(const Timer& other) const {
    return when != other.when ? when > other.when : subject > other.subject;
  }
};

class TimerHeap {
 public:
  void Add(Time when, TimerKind kind, uint64_t subject) {
    if (when != kNever) heap_.push({when, subject, kind});
  }
  Time next() const { return heap_.empty() ? kNever : heap_.top().when; }
  // Takes the earliest timer that is due; false if none is.
  bool PopDue(Time now, Timer* timer) {
    if (heap_.empty() || heap_.top().when > now) return false;
    *timer = heap_.top();
    heap_.pop();
    return true;
  }
  size_t size() const { return heap_.size(); }
  // Drops the timers that mean nothing any more, once there may be many of them:
  // the heap stays within a constant factor of the timers that matter.
  template <typename Means>
  void Prune(Means&& means) {
    if (heap_.size() < prune_at_) return;
    std::vector<Timer> kept;
    for (; !heap_.empty(); heap_.pop()) {
      if (means(heap_.top())) kept.push_back(heap_.top());
    }
    heap_ = decltype(heap_)(std::greater<>(), std::move(kept));
    prune_at_ = std::max(kPruneAtLeast, 2 * heap_.size());
  }

 private:
  static constexpr size_t kPruneAtLeast = 65'536;
  size_t prune_at_ = kPruneAtLeast;
  std::priority_queue<Timer, std::vector<Timer>, std::greater<>> heap_;
};

}  // namespace joinq::core
