// What the broker's operations are given and what they answer.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/core/shared_bytes.h"
#include "server/core/task.h"
#include "server/core/types.h"

namespace joinq::core {

// What tasks of one put share.
struct PutSpec {
  std::string queue;
  Name handler, content_type;
  TaskPolicy policy;
  uint32_t delay_ms = 0;
  uint64_t eta_ms = 0;  // Unix time; 0: none
  uint32_t ttl_ms = 0;
  uint32_t deadline_ms = 0;  // excludes ttl_ms
  uint64_t session_id = 0;   // of a client, with whose end the tasks are cancelled; 0: none
  UniqueScope unique_scope = UniqueScope::kUnfinished;
  uint32_t unique_ms = 0;
  bool watch = false;
  uint32_t timeout_ms = 0;  // waiting for room; 0: for ever
  bool no_wait = false;
};

struct NewTask {
  uint64_t tag = 0;
  Blob payload;  // with the headers
  std::string unique_key, request_id;
};

// Tasks to put in the same step as a completion.
struct FollowUp {
  PutSpec spec;
  std::vector<NewTask> tasks;
};

struct GetSpec {
  uint32_t max_tasks = 1;
  uint32_t timeout_ms = 0;
  bool no_wait = false;
  uint32_t lease_ms = 0;
  bool ack = false;
  uint64_t session_id = 0;  // whose leases they are; 0: they end by time
};

struct Completion {
  LeaseRef lease;
  Verdict verdict = Verdict::kDone;
  std::string_view result, content_type;  // kDone
  TaskError error;                        // kFailed
  uint32_t pid = 0;                       // of the task's own process; 0: it had none
  int32_t exit_code = 0;                  // likewise
  std::vector<FollowUp> follow_ups;       // kDone
};

inline constexpr size_t kFollowUpsMax = 1000;  // tasks of one completion

struct CancelSpec {
  bool terminate = false;  // end its process at once instead of asking its handler first
  uint32_t wait_ms = 0;    // for the end of its work; 0: do not wait
};
inline constexpr uint32_t kCancelWaitMsMax = 600'000;

struct SessionWelcome {
  std::vector<LeaseRef> lost;
  uint64_t completions_seen = 0;
};

// Everything that can be asked of one task.
struct TaskView {
  TaskId id{0};
  std::string queue, handler, content_type;
  TaskState state = TaskState::kReady;
  Outcome outcome = Outcome::kUnfinished;
  TaskPolicy policy;
  uint64_t payload_bytes = 0;
  Blob payload;          // with the headers
  bool evicted = false;  // then `payload` is in the task's row only
  Time when{}, expires = kNever;
  uint32_t deadline_ms = 0;
  uint32_t deliveries = 0, attempts = 0, crashes = 0;
  std::unique_ptr<TaskError> error;
  std::vector<Attempt> history;
  std::optional<ProcessInfo> process;
  std::string progress, holder, unique_key;
  uint64_t session_id = 0;
  Token token;
};

struct CancelAnswer {
  TaskView task;
  WorkEnd work_end = WorkEnd::kUnspecified;  // with CancelSpec::wait_ms only
  bool parked = false;                       // a Reply with the work's end follows
};

// The one reason why a task is not running; values equal the proto's.
enum class WhyReason : uint8_t {
  kLeased = 1,
  kEnded = 2,
  kDelayed = 3,
  kBackoff = 4,
  kQueuePaused = 5,
  kDiskFull = 6,
  kNoConsumer = 7,
  kNoCredit = 8,
  kInLine = 9,
  kUnknownHandler = 10,
  kLoading = 11,
};
struct Why {
  WhyReason reason = WhyReason::kInLine;
  uint64_t number = 0;
  std::string text;
};

struct TaskFilter {
  std::string queue;                  // empty: all
  TaskState state = TaskState::kNew;  // kNew: any
  uint64_t after = 0;
  bool newest_first = false;
  size_t limit = 100;
};

// Options of a queue that are to change.
struct QueueChanges {
  std::optional<uint64_t> maxsize, max_bytes;
  std::optional<uint32_t> lease_ms, ageing_ms, dead_max;
  std::optional<Order> order;
  std::optional<Durability> durability;
};

// A queue of a get, by name.
struct QueueChoice {
  std::string_view queue;
  uint32_t weight = 1;
};

}  // namespace joinq::core
