// The words of the core: ids, time, outcomes and errors. Nothing here knows of
// gRPC, protobuf, files or clocks; enum values equal those of the protos and of
// the stored records, so never renumber them.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace joinq::core {

using Millis = std::chrono::milliseconds;
// Unix time as the wiring's clock gives it; never runs backwards within a run.
using Time = std::chrono::time_point<std::chrono::system_clock, Millis>;
inline constexpr Time kNever = Time::max();

enum class TaskId : uint64_t {};
enum class QueueId : uint32_t {};
// A party that answers go to: a unary call or a stream. 0 is nobody.
enum class CallerId : uint64_t {};
inline constexpr CallerId kNobody{0};

template <typename Id>
constexpr auto Raw(Id id) {
  return static_cast<std::underlying_type_t<Id>>(id);
}

// The token of a lease. Of two leases of a task the greater is the newer.
struct Token {
  uint64_t epoch = 0;
  uint64_t sequence = 0;
  auto operator<=>(const Token&) const = default;
};

struct LeaseRef {
  TaskId task{0};
  Token token;
};

enum class Outcome : uint8_t {
  kUnfinished = 0,
  kSucceeded = 1,
  kFailed = 2,
  kCrashed = 3,
  kCancelled = 4,
  kExpired = 5,
};

// How a holder ends its lease; kNone ends none.
enum class Verdict : uint8_t { kDone = 0, kFailed = 1, kReleased = 2, kNone = 3 };

// What became of the work on a lease that was cancelled.
enum class WorkEnd : uint8_t {
  kUnspecified = 0,  // not known (yet)
  kNotRunning = 1,
  kReturned = 2,
  kKilled = 3,
  kHostLost = 4,
};

enum class FailureKind : uint8_t {
  kUnspecified = 0,
  kHandlerError = 1,
  kTimeLimit = 2,
  kUnknownHandler = 3,
  kCrash = 4,
  kOutOfMemory = 5,
  kHostLost = 6,
  kBadArguments = 7,
};

// Whether an attempt that ended so is charged to max_crashes, not to max_attempts.
constexpr bool IsCrash(FailureKind kind) {
  return kind == FailureKind::kCrash || kind == FailureKind::kOutOfMemory || kind == FailureKind::kHostLost;
}

struct TaskError {
  FailureKind kind = FailureKind::kUnspecified;
  std::string message;  // at most kErrorMessageBytesMax
  std::string detail;   // at most kErrorDetailBytesMax
  bool final = false;
};
inline constexpr size_t kErrorMessageBytesMax = 4096;
inline constexpr size_t kErrorDetailBytesMax = 16384;
inline constexpr size_t kProgressBytesMax = 4096;

// The process of its own that a task runs or ran in.
struct ProcessInfo {
  std::string host;
  uint32_t pid = 0;
  bool ended = false;
  int32_t exit_code = 0;  // once ended; minus the signal that ended it
};

// One attempt that did not succeed, for a task's history.
struct Attempt {
  uint32_t delivery = 0;
  Time ended{};
  FailureKind kind = FailureKind::kUnspecified;
  std::string message;  // at most kHistoryMessageBytesMax
  std::string holder;   // the worker's name; empty for a direct consumer
};
inline constexpr size_t kHistoryMax = 10;
inline constexpr size_t kHistoryMessageBytesMax = 256;

// How a task is run and retried, and how long its outcome is kept. Always resolved: no
// field means "default" here.
struct TaskPolicy {
  uint16_t max_attempts = 1;
  uint16_t max_crashes = 3;
  uint32_t retry_delay_ms = 1000;
  uint32_t retry_delay_max_ms = 600'000;
  uint32_t result_ttl_ms = 0;  // 0: not kept
  int16_t priority = 0;        // lower is more urgent; 0 unless the queue's order is kPriority
  bool fresh_process = false;  // in a process of its own
  // Of one attempt on a worker, which sees to them; 0: the worker's own.
  uint32_t time_limit_ms = 0;
  uint32_t soft_time_limit_ms = 0;
  bool operator==(const TaskPolicy&) const = default;
  template <typename H>
  friend H AbslHashValue(H h, const TaskPolicy& p) {
    return H::combine(std::move(h), p.max_attempts, p.max_crashes, p.retry_delay_ms, p.retry_delay_max_ms,
                      p.result_ttl_ms, p.priority, p.fresh_process, p.time_limit_ms, p.soft_time_limit_ms);
  }
};
inline constexpr int16_t kPriorityMax = 1000;  // and its negative

// How long a unique key stands for its task.
enum class UniqueScope : uint8_t { kUnfinished = 1, kWaiting = 2, kWindow = 3 };

enum class Order : uint8_t { kFifo = 0, kLifo = 1, kPriority = 2 };
// What an acknowledged change of a queue's tasks survives.
enum class Durability : uint8_t { kFsync = 1, kWal = 2, kMemory = 3 };
constexpr std::string_view NameOf(Durability durability) {
  return durability == Durability::kFsync ? "fsync" : durability == Durability::kWal ? "wal" : "memory";
}
constexpr std::string_view NameOf(Order order) {
  return order == Order::kFifo ? "fifo" : order == Order::kLifo ? "lifo" : "priority";
}

struct QueueOptions {
  uint64_t maxsize = 0;    // 0: no bound
  uint64_t max_bytes = 0;  // of waiting payloads; 0: no bound
  uint32_t lease_ms = 60'000;
  uint32_t ageing_ms = 60'000;
  uint32_t dead_max = 10'000;
  Order order = Order::kFifo;
  Durability durability = Durability::kFsync;
  bool operator==(const QueueOptions&) const = default;
};
inline constexpr uint32_t kLeaseMsMin = 1000;
inline constexpr uint32_t kLeaseMsMax = 43'200'000;
inline constexpr uint32_t kDeadMaxMax = 1'000'000;

struct QueueStats {
  uint64_t ready = 0, delayed = 0, leased = 0, dead_kept = 0;
  uint64_t put_total = 0, done_total = 0, dead = 0, cancelled_total = 0, expired_total = 0;
  uint64_t redelivered_total = 0, retried_total = 0;
  uint64_t oldest_ready_ms = 0;
  uint64_t parked_puts = 0, parked_gets = 0, parked_joins = 0;
  uint64_t bytes = 0, waiting_bytes = 0;
  uint32_t consumers = 0;
  uint64_t size() const { return ready + delayed; }
  uint64_t unfinished() const { return ready + delayed + leased; }
};

struct QueueView {
  std::string name;
  QueueOptions options;
  bool closed = false, paused = false;
  QueueStats stats;
};

// How full the disk is: at kLow puts are refused, at kCritical nothing is handed
// out either; completions are always taken, since they make room.
enum class DiskLevel : uint8_t { kOk = 0, kLow = 1, kCritical = 2 };

enum class SessionKind : uint8_t { kWorker = 0, kClient = 1 };

// Names, hosts and figures that a worker (or a client, without the last line) says of itself.
struct SessionProfile {
  uint64_t id = 0;
  std::string name, host;
  uint32_t pid = 0, concurrency = 0;
  std::vector<std::string> queues, handlers;
  bool paused = false;
};

struct WorkerStatus {
  uint32_t busy = 0, children = 0, buffered = 0;
  uint64_t done_total = 0, failed_total = 0, child_deaths_total = 0;
  uint32_t concurrency = 0, concurrency_min = 0;  // 0: not said
  uint32_t processes = 0;                         // of tasks that have one of their own
  std::string trouble;                            // at most kTroubleBytesMax; empty: none
};
inline constexpr size_t kTroubleBytesMax = 1024;

enum class WorkerState { kAlive, kLate, kGone, kDraining, kPaused, kFailing };

// Values equal the proto's.
enum class WorkerAction : uint8_t { kDrain = 1, kPause = 2, kResume = 3, kResize = 4 };
inline constexpr uint32_t kChildrenMax = 1024;

struct WorkerView {
  SessionProfile profile;
  WorkerStatus status;
  WorkerState state = WorkerState::kAlive;
  uint64_t silent_ms = 0, connected_ms = 0;
  uint32_t leases = 0;
};

}  // namespace joinq::core
