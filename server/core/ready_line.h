// The order policies: which of a queue's ready tasks is next.
//
//   kFifo      the one that has been ready longest
//   kLifo      the one that became ready last
//   kPriority  the most urgent (lower numbers), with ageing: a task that has waited
//              `ageing_ms` stands level with a fresh one of one step more urgent. So
//              each has a fixed place in time, since + priority * ageing, the earliest
//              goes first, and nobody starves.
//
// Tasks that come back (released, or their holder died) go before their equals.
#pragma once

#include <cstdint>
#include <functional>

#include "absl/container/btree_map.h"
#include "server/core/task_pool.h"

namespace joinq::core {

class ReadyLine {
 public:
  ReadyLine(const TaskPool* pool, Order order, uint32_t ageing_ms)
      : pool_(pool), order_(order), ageing_ms_(ageing_ms), single_(pool) {}

  uint64_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  // The next one; null if there is none.
  Task* front() const;
  // Lines up a task; its `when` is since when it is ready. `back_again`: it stood here before.
  void Push(Task* task, bool back_again);
  void Remove(Task* task);
  // The tasks in the order in which they would be taken, until `visit` returns false.
  void Walk(const std::function<bool(Task*)>& visit) const;
  // The one that has been ready longest; null if there is none. With kPriority, of the
  // heads of the levels.
  const Task* Oldest() const;
  // Only while empty.
  void set_order(Order order) { order_ = order; }
  void set_ageing(uint32_t ageing_ms) { ageing_ms_ = ageing_ms; }

 private:
  int64_t PlaceOf(const Task* task) const {
    return task->when.time_since_epoch().count() + int64_t{task->policy().priority} * ageing_ms_;
  }

  const TaskPool* pool_;
  Order order_;
  uint32_t ageing_ms_;
  uint64_t size_ = 0;
  TaskList single_;                            // kFifo, kLifo: the front is next
  absl::btree_map<int16_t, TaskList> levels_;  // kPriority: by priority, none empty
};

}  // namespace joinq::core
