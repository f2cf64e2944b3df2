// A queue: its tasks, its counts, and who waits for it.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "server/core/parties.h"
#include "server/core/ready_line.h"
#include "server/core/shared_bytes.h"
#include "server/core/task_pool.h"
#include "server/core/types.h"
#include "server/core/waiters.h"

namespace joinq::core {

class Queue {
 public:
  Queue(QueueId queue_id, Name queue_name, QueueOptions queue_options, const TaskPool* pool)
      : id(queue_id),
        name(std::move(queue_name)),
        options(queue_options),
        ready(pool, queue_options.order, queue_options.ageing_ms),
        delayed(pool),
        dead_tasks(pool),
        direct_leases(pool) {}

  uint64_t size() const { return ready.size() + delayed_count; }
  uint64_t unfinished() const { return size() + leased_count; }
  bool drained() const { return closed && unfinished() == 0; }
  // What a put into a closed queue, and a get from a drained one, are answered.
  absl::Status ClosedError() const;
  absl::Status DrainedError() const;
  // Whether that many more waiting tasks fit. A batch larger than a bound never does.
  bool HasRoomFor(uint64_t count, uint64_t more_bytes) const {
    return (options.maxsize == 0 || size() + count <= options.maxsize) &&
           (options.max_bytes == 0 || waiting_bytes + more_bytes <= options.max_bytes);
  }
  QueueView View(Time now) const;
  // One more task has come to this end.
  void Count(Outcome outcome);

  const QueueId id;
  const Name name;
  QueueOptions options;
  bool closed = false;
  bool paused = false;
  bool deleting = false;  // found by nobody, gone when its tasks are

  ReadyLine ready;
  TaskList delayed;
  TaskList dead_tasks;      // oldest first
  LeaseList direct_leases;  // held by direct consumers; those of sessions are with them
  uint64_t delayed_count = 0, leased_count = 0, dead_count = 0;
  uint64_t results_kept = 0;  // ended tasks that linger as results
  uint64_t put_total = 0, done_total = 0, dead_total = 0, cancelled_total = 0, expired_total = 0;
  uint64_t redelivered_total = 0, retried_total = 0;
  uint64_t bytes = 0;          // payloads of unfinished tasks
  uint64_t waiting_bytes = 0;  // of ready and delayed ones
  uint64_t evicted_ready = 0;  // ready tasks whose payload is not in memory
  uint64_t ahead = 0;          // about how many tasks from the front on are in memory or asked for
  uint64_t ahead_low = 0;      // when to look further

  WaiterList puts, gets, joins;
  std::vector<Session*> workers;  // that serve this queue
  size_t next_worker = 0;         // whose turn it is

  uint64_t dirty_since = 0;  // as in Task
  bool has_row = false;
  uint64_t loaded = 0;  // tasks, while a restart reads them
};

}  // namespace joinq::core
