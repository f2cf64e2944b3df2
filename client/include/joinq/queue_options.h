// What a queue is like and what its numbers are.
#pragma once

#include <joinq/put.h>

#include <cstdint>
#include <optional>
#include <string>

namespace joinq {

// Which task of a queue is handed out next.
enum class Order {
  fifo,      // first in, first out
  lifo,      // last in, first out: a stack
  priority,  // the most urgent first (PutOptions::priority, lower numbers), with ageing
};

// What an acknowledged put (and completion) of a queue survives.
enum class Durability {
  best,    // the best the broker has: fsync, or memory if it runs with --memory
  fsync,   // power loss
  wal,     // the death of the broker, not of its machine
  memory,  // nothing: a restart of the broker forgets the tasks, not the queue
};

// "fifo", "lifo", "priority"; "best", "fsync", "wal", "memory".
const char* to_string(Order order);
const char* to_string(Durability durability);

struct QueueOptions {
  uint64_t maxsize = 0;    // most tasks that may wait, leased ones not counted; 0: no bound
  Millis lease{0};         // of a get that names none; 1 s to 12 h; 0: the broker's default, 60 s
  uint64_t max_bytes = 0;  // most payload bytes of tasks that wait; 0: no bound
  Order order = Order::fifo;
  Durability durability = Durability::best;
  // With Order::priority: a task that has waited so long goes before a fresh one that is
  // one step more urgent. 0: the broker's default, 60 s.
  Millis ageing{0};
  // Dead tasks kept for replay, the newest, at most 1,000,000; unset: the default, 10,000.
  std::optional<uint32_t> dead_max = {};
};

// What Queue::update changes: the options that are set.
struct QueueChanges {
  std::optional<uint64_t> maxsize = {};
  std::optional<Millis> lease = {};
  std::optional<uint64_t> max_bytes = {};
  std::optional<Order> order = {};            // of an empty queue only
  std::optional<Durability> durability = {};  // likewise
  std::optional<Millis> ageing = {};
  std::optional<uint32_t> dead_max = {};
};

struct QueueStats {
  uint64_t size = 0;  // ready + delayed
  uint64_t ready = 0;
  uint64_t delayed = 0;
  uint64_t leased = 0;
  uint64_t unfinished = 0;  // size + leased; join waits for 0
  uint64_t put_total = 0;   // since the queue's creation, as all the ..._total
  uint64_t done_total = 0;
  uint64_t dead = 0;  // failed or crashed for good, ever
  uint64_t cancelled_total = 0;
  uint64_t redelivered_total = 0;
  Millis oldest_ready{0};  // age of the task that has been ready longest
  uint64_t parked_puts = 0;
  uint64_t parked_gets = 0;
  uint64_t parked_joins = 0;
  uint64_t bytes = 0;      // payload bytes of unfinished tasks
  uint32_t consumers = 0;  // workers that serve the queue
  uint64_t dead_kept = 0;  // dead tasks that can be retried
  uint64_t expired_total = 0;
  uint64_t waiting_bytes = 0;  // payload bytes of ready and delayed tasks
  uint64_t retried_total = 0;  // dead tasks that were made ready again
};

struct QueueInfo {
  std::string name;
  QueueOptions options;
  bool closed = false;
  QueueStats stats;
  std::string durability;  // "fsync", "wal" or "memory": what an acknowledged put survives
  bool paused = false;
};

}  // namespace joinq
