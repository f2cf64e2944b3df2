// Tasks as their broker knows them: what they are, why they wait, lists of them.
#pragma once

#include <joinq/errors.h>
#include <joinq/task.h>

#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace joinq {

enum class TaskState {
  delayed,
  ready,
  leased,
  ended,  // only its result is kept
  dead,   // failed or crashed for good, kept for replay
};

// How a task ended.
enum class Ending {
  succeeded,
  failed,     // out of attempts, or not to be retried
  crashed,    // out of its budget of crashes
  cancelled,  // by cancel, by a purge, or its queue was deleted
  expired,    // its ttl ran out while it waited
};

// What became of the work on a task that was cancelled.
enum class WorkEnd {
  not_running,  // nothing ran
  returned,     // its handler ended by itself
  killed,       // its process was ended
  host_lost,    // its worker is gone, and the work with it as far as one can know
};

const char* to_string(WorkEnd end);
const char* to_string(TaskState state);
const char* to_string(Ending ending);

// One attempt that did not succeed.
struct TaskAttempt {
  uint32_t delivery = 0;  // 1 for the first
  TimePoint ended;
  FailureKind kind = FailureKind::handler_error;
  std::string message;  // the first 256 bytes
  std::string holder;   // the worker's name; empty for a direct consumer
};

// Of a broker at the moment it answered.
struct TaskInfo {
  uint64_t id = 0;
  std::string queue;
  std::string handler;       // empty for a plain message
  std::string content_type;  // the result's once ended
  uint64_t payload_bytes = 0;
  std::string payload;  // where the call gives it; the result once ended
  Headers headers;
  TaskState state = TaskState::ready;
  std::optional<Ending> ending;  // of an ended or dead task
  // As the put gave them, but for delay and eta (see `when`), headers, handler and the
  // request id; `daemon` says that it is tied to some client still. 0 where the broker's default holds.
  PutOptions options;
  // Delayed: due at; ready: since; leased: its end, unset when a session holds it; ended:
  // when the result goes; dead: since.
  std::optional<TimePoint> when;
  std::optional<TimePoint> expires;  // unset: never
  uint32_t deliveries = 0;           // at most 65535
  uint32_t attempts = 0;             // failed ones, charged to max_attempts
  uint32_t crashes = 0;              // charged to max_crashes
  std::optional<FailureKind> error;  // of the last attempt, if that failed; the next two likewise
  std::string error_message;
  std::string error_detail;
  std::vector<TaskAttempt> history;    // the newest 10, oldest first
  std::string progress;                // the newest report of its holder
  std::string holder;                  // the worker or client that holds the lease
  Lease lease;                         // all zero unless leased
  std::optional<ProcessInfo> process;  // of the newest attempt, if that has or had its own
  std::optional<WorkEnd> work_end;     // of a cancel that waits; unset: not known
};

// The end of what a task wrote to stdout and stderr.
struct TaskLog {
  std::string text;      // any bytes, at most 64 KiB
  bool cut = false;      // there was more before it
  std::string worker;    // whose it is
  bool running = false;  // the task runs there now
};

// The one reason why a task is not running now.
enum class WhyReason {
  unknown,  // a newer broker's; the text says it
  leased,   // it is running, or its holder has it
  ended,    // it has ended, or is dead
  delayed,  // until `until`
  backoff,  // after a failed attempt, until `until`
  queue_paused,
  disk_full,        // the broker hands nothing out until there is room
  no_consumer,      // nobody serves the queue or waits for a task of it
  no_credit,        // its workers are busy; `before` tasks stand before it
  in_line,          // `before` tasks stand before it, counted up to 1,000,000
  unknown_handler,  // no worker of the queue has its handler
  loading,          // its payload is being read from disk
};

const char* to_string(WhyReason reason);

struct Why {
  WhyReason reason = WhyReason::unknown;
  std::optional<TimePoint> until;
  std::optional<uint64_t> before;
  std::string text;  // one sentence that says all of it
};

// Which tasks a list has.
struct TaskFilter {
  std::string queue = {};               // empty: of all queues
  std::optional<TaskState> state = {};  // unset: in any
  bool newest_first = false;            // otherwise in the order of ids
};

struct TaskPage {
  std::vector<TaskInfo> tasks;  // without payloads; may be fewer than asked for, even none
  // Ask again with it as `after`; 0: that was all.
  uint64_t next = 0;
};

// All tasks of a filter: a single-pass range that asks for a page when it needs one.
// Tasks that come and go meanwhile may be in it or not. One thread at a time.
class TaskRange {
 public:
  TaskRange(std::shared_ptr<internal::Connection> connection, TaskFilter filter)
      : connection_(std::move(connection)), filter_(std::move(filter)) {}

  class iterator {
   public:
    using value_type = TaskInfo;
    using difference_type = std::ptrdiff_t;
    using iterator_concept = std::input_iterator_tag;
    explicit iterator(TaskRange* range) : range_(range) {}
    TaskInfo& operator*() const { return range_->page_.tasks[range_->at_]; }
    TaskInfo* operator->() const { return &**this; }
    iterator& operator++() {
      range_->Advance();
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return range_->at_ == range_->page_.tasks.size(); }

   private:
    TaskRange* range_;
  };
  // Asks for the first page; throws as the calls of Client do, as does ++.
  iterator begin();
  std::default_sentinel_t end() const { return {}; }

 private:
  void Advance();
  void NextPage();

  std::shared_ptr<internal::Connection> connection_;
  TaskFilter filter_;
  TaskPage page_;
  size_t at_ = 0;
};

}  // namespace joinq
