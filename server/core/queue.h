// A queue: its tasks that are ready, its counts, and who waits for it.
#pragma once

#include <list>
#include <string>
#include <vector>

#include "server/core/shared_bytes.h"
#include "server/core/task.h"
#include "server/core/types.h"
#include "server/core/waiters.h"

namespace joinq::core {

class Queue {
 public:
  Queue(QueueId queue_id, Name queue_name, QueueOptions queue_options)
      : id(queue_id), name(std::move(queue_name)), options(queue_options) {}

  uint64_t size() const { return ready_count + delayed_count; }
  uint64_t unfinished() const { return size() + leased_count; }
  // Whether `count` more waiting tasks fit. A batch larger than the bound never does.
  bool HasRoomFor(uint64_t count) const { return options.maxsize == 0 || size() + count <= options.maxsize; }
  QueueView View(Time now) const;

  const QueueId id;
  const Name name;
  const QueueOptions options;
  bool closed = false;

  TaskList ready, delayed;
  TaskList direct_leases;  // held by direct consumers; workers' are with their sessions
  uint64_t ready_count = 0, delayed_count = 0, leased_count = 0;
  uint64_t put_total = 0, done_total = 0, dead = 0, cancelled_total = 0, redelivered_total = 0;
  uint64_t bytes = 0;  // payloads of unfinished tasks

  WaiterList puts, gets, joins;
  std::vector<WorkerSession*> workers;  // that serve this queue
  size_t next_worker = 0;               // whose turn it is

  uint64_t dirty_since = 0;  // as in Task
  bool has_row = false;
};

}  // namespace joinq::core
