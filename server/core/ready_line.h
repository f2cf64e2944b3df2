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
#include <utility>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
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
  // A task with a smaller id than this, searched where the oldest are; null if there is
  // none to be found so.
  Task* AnyBelow(TaskId id) const;
  // Only while empty.
  void set_order(Order order) { order_ = order; }
  void set_ageing(uint32_t ageing_ms);

 private:
  // A level's tasks stand by when they became ready, so that its head is the first of it
  // in every respect. `head` is the head's `when` as the sets have it.
  struct Level {
    explicit Level(const TaskPool* pool) : list(pool) {}
    TaskList list;
    Time head{};
  };
  using Levels = absl::btree_map<int16_t, Level>;

  int64_t PlaceOf(Time when, int16_t priority) const {
    return when.time_since_epoch().count() + int64_t{priority} * ageing_ms_;
  }
  int64_t PlaceOf(const Task* task) const { return PlaceOf(task->when, task->policy().priority); }
  void Enter(Levels::iterator level);
  void Leave(Levels::iterator level);

  const TaskPool* pool_;
  Order order_;
  uint32_t ageing_ms_;
  uint64_t size_ = 0;
  TaskList single_;  // kFifo, kLifo: the front is next
  // kPriority: by priority, none empty; and these in the order of their heads, by place
  // and by age, so that finding the next one costs little however many there are.
  Levels levels_;
  absl::btree_set<std::pair<int64_t, int16_t>> by_place_;
  absl::btree_set<std::pair<Time, int16_t>> by_age_;
};

}  // namespace joinq::core
