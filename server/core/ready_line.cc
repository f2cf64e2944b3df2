#include "server/core/ready_line.h"

#include <algorithm>
#include <cassert>
#include <vector>

namespace joinq::core {

Task* ReadyLine::front() const {
  if (order_ != Order::kPriority) return single_.front();
  Task* best = nullptr;
  // From the most urgent level on, so that of equal places it wins.
  for (const auto& [priority, list] : levels_) {
    Task* head = list.front();
    if (best == nullptr || PlaceOf(head) < PlaceOf(best)) best = head;
  }
  return best;
}

void ReadyLine::Push(Task* task, bool back_again) {
  ++size_;
  if (order_ != Order::kPriority) {
    if (back_again || order_ == Order::kLifo) {
      single_.PushFront(task);
    } else {
      single_.PushBack(task);
    }
    return;
  }
  auto [level, added] = levels_.try_emplace(task->policy().priority, pool_);
  TaskList& list = level->second;
  if (back_again) {
    if (!list.empty()) task->when = std::min(task->when, list.front()->when);
    list.PushFront(task);
  } else {
    list.PushBack(task);
  }
}

void ReadyLine::Remove(Task* task) {
  assert(size_ > 0);
  --size_;
  if (order_ != Order::kPriority) return single_.Remove(task);
  auto level = levels_.find(task->policy().priority);
  level->second.Remove(task);
  if (level->second.empty()) levels_.erase(level);
}

void ReadyLine::Walk(const std::function<bool(Task*)>& visit) const {
  if (order_ != Order::kPriority) {
    for (Task* task = single_.front(); task != nullptr; task = single_.Next(task)) {
      if (!visit(task)) return;
    }
    return;
  }
  struct Cursor {
    const TaskList* list;
    Task* task;
  };
  std::vector<Cursor> cursors;
  for (const auto& [priority, list] : levels_) cursors.push_back({&list, list.front()});
  while (!cursors.empty()) {
    auto best = std::min_element(cursors.begin(), cursors.end(), [this](const Cursor& a, const Cursor& b) {
      return PlaceOf(a.task) < PlaceOf(b.task);
    });
    Task* task = best->task;
    best->task = best->list->Next(task);
    if (best->task == nullptr) cursors.erase(best);
    if (!visit(task)) return;
  }
}

const Task* ReadyLine::Oldest() const {
  if (order_ == Order::kFifo) return single_.front();
  if (order_ == Order::kLifo) return single_.back();
  const Task* oldest = nullptr;
  for (const auto& [priority, list] : levels_) {
    if (oldest == nullptr || list.front()->when < oldest->when) oldest = list.front();
  }
  return oldest;
}

}  // namespace joinq::core
