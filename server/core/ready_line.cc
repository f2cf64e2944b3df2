#include "server/core/ready_line.h"

#include <algorithm>
#include <cassert>
#include <tuple>
#include <vector>

namespace joinq::core {

void ReadyLine::Enter(Levels::iterator level) {
  level->second.head = level->second.list.front()->when;
  by_place_.emplace(PlaceOf(level->second.head, level->first), level->first);
  by_age_.emplace(level->second.head, level->first);
}

void ReadyLine::Leave(Levels::iterator level) {
  by_place_.erase({PlaceOf(level->second.head, level->first), level->first});
  by_age_.erase({level->second.head, level->first});
}

void ReadyLine::set_ageing(uint32_t ageing_ms) {
  if (ageing_ms == ageing_ms_) return;
  ageing_ms_ = ageing_ms;
  by_place_.clear();
  for (const auto& [priority, level] : levels_) by_place_.emplace(PlaceOf(level.head, priority), priority);
}

Task* ReadyLine::front() const {
  if (order_ != Order::kPriority) return single_.front();
  // Of equal places the most urgent level wins.
  return by_place_.empty() ? nullptr : levels_.find(by_place_.begin()->second)->second.list.front();
}

void ReadyLine::Push(Task* task, bool back_again) {
  ++size_;
  if (order_ != Order::kPriority) {
    if (back_again || order_ == Order::kLifo) {
      // So that what a restart sorts by time comes out in the same order.
      if (order_ == Order::kFifo && !single_.empty())
        task->when = std::min(task->when, single_.front()->when);
      single_.PushFront(task);
    } else {
      single_.PushBack(task);
    }
    return;
  }
  auto [level, added] = levels_.try_emplace(task->policy().priority, pool_);
  TaskList& list = level->second.list;
  if (added) {
    list.PushBack(task);
    return Enter(level);
  }
  if (!back_again) return list.PushBack(task);
  const bool earlier = task->when < list.front()->when;
  if (earlier) Leave(level);
  task->when = std::min(task->when, list.front()->when);
  list.PushFront(task);
  if (earlier) Enter(level);
}

void ReadyLine::Remove(Task* task) {
  assert(size_ > 0);
  --size_;
  if (order_ != Order::kPriority) return single_.Remove(task);
  auto level = levels_.find(task->policy().priority);
  TaskList& list = level->second.list;
  const bool head = list.front() == task;
  list.Remove(task);
  if (!head || (!list.empty() && list.front()->when == level->second.head)) return;
  Leave(level);
  if (list.empty()) {
    levels_.erase(level);
  } else {
    Enter(level);
  }
}

void ReadyLine::Walk(const std::function<bool(Task*)>& visit) const {
  if (order_ != Order::kPriority) {
    for (Task* task = single_.front(); task != nullptr; task = single_.Next(task)) {
      if (!visit(task)) return;
    }
    return;
  }
  // The levels in the order of their next tasks, a heap with the first one on top.
  struct Cursor {
    int64_t place;
    int16_t priority;
    const TaskList* list;
    Task* task;
    bool operator<(const Cursor& other) const {
      return std::tie(place, priority) > std::tie(other.place, other.priority);
    }
  };
  std::vector<Cursor> cursors;
  for (const auto& [priority, level] : levels_)
    cursors.push_back({PlaceOf(level.head, priority), priority, &level.list, level.list.front()});
  std::make_heap(cursors.begin(), cursors.end());
  while (!cursors.empty()) {
    std::pop_heap(cursors.begin(), cursors.end());
    Cursor& best = cursors.back();
    Task* task = best.task;
    best.task = best.list->Next(task);
    if (best.task == nullptr) {
      cursors.pop_back();
    } else {
      best.place = PlaceOf(best.task);
      std::push_heap(cursors.begin(), cursors.end());
    }
    if (!visit(task)) return;
  }
}

Task* ReadyLine::AnyBelow(TaskId id) const {
  const auto below = [id](Task* task) { return task != nullptr && task->id < id ? task : nullptr; };
  // What comes back goes before what came later, with kLifo too.
  if (Task* found = below(single_.front())) return found;
  if (Task* found = below(single_.back())) return found;
  if (by_age_.empty()) return nullptr;
  if (Task* found = below(levels_.find(by_age_.begin()->second)->second.list.front())) return found;
  for (const auto& [priority, level] : levels_) {
    if (Task* found = below(level.list.front())) return found;
  }
  return nullptr;
}

const Task* ReadyLine::Oldest() const {
  if (order_ == Order::kFifo) return single_.front();
  if (order_ == Order::kLifo) return single_.back();
  return by_age_.empty() ? nullptr : levels_.find(by_age_.begin()->second)->second.list.front();
}

}  // namespace joinq::core
