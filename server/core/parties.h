// Those on the other end of the streams: sessions of workers and clients, which
// hold leases, and producers, whose puts are told apart by tags.
#pragma once

#include <algorithm>
#include <deque>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "server/core/task_pool.h"
#include "server/core/types.h"
#include "server/core/waiters.h"

namespace joinq::core {

class Queue;
struct Session;

// Leases in the order in which they were granted.
struct LeaseList {
  explicit LeaseList(const TaskPool* pool) : tasks(pool) {}
  TaskList tasks;
  uint32_t count = 0;
  Task* first_unmarked = nullptr;  // those before it are marked on disk; null: all are
  bool mark_armed = false;         // a timer will look at the unmarked ones

  void Add(Task* task) {
    tasks.PushBack(task);
    ++count;
    if (first_unmarked == nullptr) first_unmarked = task;
  }
  void Remove(Task* task) {
    if (first_unmarked == task) first_unmarked = tasks.Next(task);
    tasks.Remove(task);
    --count;
  }
};

// A worker's or a client's living presence. Lives while its stream is heard from,
// and for a grace period after the stream broke; its leases end with it.
struct Session {
  explicit Session(const TaskPool* pool) : leases(pool) {}
  SessionKind kind = SessionKind::kWorker;
  SessionProfile profile;
  CallerId stream = kNobody;  // kNobody: broken, the grace period runs
  LeaseList leases;
  Time connected{}, last_heard{};
  Time ends = kNever;   // when silence or the grace period is over
  Time timer = kNever;  // the one timer that counts

  std::deque<TaskId> cancelled;  // its leases among Broker::cancelled_work_, the oldest first

  // workers only
  WorkerStatus status;
  bool draining = false;
  uint64_t credit = 0;
  uint64_t completions_seen = 0;
  std::vector<Queue*> queues;
  size_t next_queue = 0;  // whose turn it is
  // Tasks that may be running there, as far as it has said.
  uint32_t runs_at_once() const {
    if (status.concurrency == 0) return profile.concurrency;
    return std::max(status.concurrency, status.busy) + status.processes;
  }
};

// The work on a lease that was cancelled, until its holder says that it is over.
struct CancelledWork {
  Session* holder = nullptr;
  Token token;
  bool terminate = false;
  WaiterList waiters;
};
inline constexpr size_t kCancelledWorkMax = 16'384;  // of one session; the oldest is given up

// A producer tells its puts apart by tags; a tag seen before is the same task.
struct Producer {
  uint64_t id = 0;
  std::string name;
  CallerId stream = kNobody;
  Time ends = kNever;  // when a producer without a stream is forgotten
  uint64_t acked_below = 0;
  uint64_t refs = 0;                           // tasks that point here
  bool forgotten = false;                      // out of the index; freed with the last task
  absl::flat_hash_map<uint64_t, TaskId> tags;  // not yet below acked_below; TaskId{0}: parked
  uint64_t dirty_since = 0;                    // as in Task
  bool has_row = false;

  // Forgets every tag below `tag`.
  void Trim(uint64_t tag) {
    if (tag <= acked_below) return;
    if (tag - acked_below > tags.size()) {
      absl::erase_if(tags, [tag](const auto& entry) { return entry.first < tag; });
    } else {
      for (uint64_t t = acked_below; t < tag; ++t) tags.erase(t);
    }
    acked_below = tag;
  }
};

}  // namespace joinq::core
