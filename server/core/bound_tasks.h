// Tasks that end with a client's session: which, and whose. Few tasks are bound, so it
// is kept here and not with each task.
#pragma once

#include <cassert>
#include <cstdint>
#include <utility>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "server/core/types.h"

namespace joinq::core {

class BoundTasks {
 public:
  // The task must not be bound yet.
  void Add(TaskId task, uint64_t session) {
    sessions_.emplace(task, session);
    tasks_.emplace(session, task);
  }
  // It must be bound.
  void Remove(TaskId task) {
    auto it = sessions_.find(task);
    assert(it != sessions_.end());
    tasks_.erase({it->second, task});
    sessions_.erase(it);
  }
  // Of a bound task.
  uint64_t SessionOf(TaskId task) const { return sessions_.at(task); }
  // The session's oldest task; 0: it has none.
  TaskId First(uint64_t session) const {
    auto it = tasks_.lower_bound({session, TaskId{0}});
    return it == tasks_.end() || it->first != session ? TaskId{0} : it->second;
  }
  bool Has(uint64_t session) const { return First(session) != TaskId{0}; }
  size_t size() const { return tasks_.size(); }
  template <typename F>
  void ForEach(F&& visit) const {
    for (const auto& [session, task] : tasks_) visit(session, task);
  }

 private:
  absl::flat_hash_map<TaskId, uint64_t> sessions_;
  absl::btree_set<std::pair<uint64_t, TaskId>> tasks_;
};

}  // namespace joinq::core
