// What the core tells the store: an ordered log of changes, from which the
// state can be rebuilt. The core calls a ChangeSink while it applies operations;
// the sink (server/storage/record_codec) encodes at once and keeps no pointer.
#pragma once

#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "server/core/keys.h"
#include "server/core/task.h"
#include "server/core/types.h"

namespace joinq::core {

// Everything of a queue that outlives a restart.
struct QueueRecord {
  QueueId id{0};
  std::string name;
  QueueOptions options;
  bool closed = false, paused = false, deleting = false;
  uint64_t put_total = 0, done_total = 0, dead_total = 0, cancelled_total = 0, expired_total = 0;
  uint64_t redelivered_total = 0, retried_total = 0;
};

// A completion that was accepted, so that its repetition is known for one.
struct CompletedLease {
  Token token;  // epoch 0: none
  Verdict verdict = Verdict::kNone;
};

// A lease that was marked on disk.
struct LeaseRecord {
  TaskId task{0};
  uint64_t session = 0;  // 0: a direct consumer's, which ends at `end`
  SessionKind kind = SessionKind::kWorker;
  Token token;
  Time end{};
  uint16_t deliveries = 0;
};

// What changes of a task while it lives.
struct ProgressRecord {
  TaskId id{0};
  QueueId queue{0};
  TaskState state = TaskState::kReady;  // kLeased only in rows, with `lease`
  Time when{};                          // due when delayed, since when ready or dead, expiry when ended
  uint16_t deliveries = 0, attempts = 0, crashes = 0;
  Outcome outcome = Outcome::kUnfinished;
  const TaskError* error = nullptr;
  const ProcessInfo* process = nullptr;
  std::span<const Attempt> history;
  bool history_whole = true;  // else only what is new of it
  CompletedLease completed;   // in the journal: what caused the change
  bool buried = false;        // in the journal: it is dead from now on
  bool exhumed = false;       // in the journal: it was dead until now
};

// Everything of a task that outlives a restart.
struct TaskRecord : ProgressRecord {
  std::string_view payload, headers, handler, content_type;
  TaskPolicy policy;
  Time expires = kNever;
  uint32_t deadline_ms = 0;
  uint64_t session_id = 0;  // that it is bound to; 0: none
  std::string_view unique_key;
  UniqueScope unique_scope = UniqueScope::kUnfinished;
  Time unique_until = kNever;
  LeaseRecord lease;  // rows of leased tasks only
  // Of the put, in the journal only:
  std::string_view request_id;
  Time request_until{};
  uint64_t producer_id = 0, tag = 0;
};

// The next ids to give out.
struct CounterRecord {
  uint64_t next_task = 1;
  uint32_t next_queue = 1;
};

// What became of a task that ended: it replaces payload and content type.
struct EndRecord {
  TaskId id{0};
  QueueId queue{0};
  Outcome outcome = Outcome::kSucceeded;
  bool kept = false;  // as a result until `expiry`; otherwise the task is gone
  Time expiry{};
  std::string_view payload, content_type;
  const TaskError* error = nullptr;
  const ProcessInfo* process = nullptr;
  uint16_t deliveries = 0;
  CompletedLease completed;
};

struct ProducerRecord {
  uint64_t id = 0;
  uint64_t acked_below = 0;
  std::vector<std::pair<uint64_t, TaskId>> tags;
};

struct KeyRecord {
  QueueId queue{0};
  KeySpace space = KeySpace::kRequest;
  std::string_view text;
  TaskId task{0};
  Time until{};
};

// Journal records, in order.
class JournalSink {
 public:
  virtual ~JournalSink() = default;
  virtual void QueueCreated(const QueueRecord& queue) = 0;
  // Options, closed or paused are new; the totals are those of this moment.
  virtual void QueueChanged(const QueueRecord& queue) = 0;
  virtual void QueueDeleted(QueueId queue) = 0;  // all its tasks go with it, uncounted
  virtual void TaskPut(const TaskRecord& task) = 0;
  virtual void TaskChanged(const ProgressRecord& task) = 0;
  virtual void TaskEnded(const EndRecord& end) = 0;
  virtual void TaskDropped(TaskId task) = 0;  // a dead task or a result is kept no more
  virtual void LeaseMarked(const LeaseRecord& lease) = 0;
};

// Rows: the current state of one object each, which includes what the journal
// says of it up to entry `as_of`.
class RowSink {
 public:
  virtual ~RowSink() = default;
  virtual void PutQueueRow(const QueueRecord& queue, uint64_t as_of) = 0;
  virtual void PutTaskRow(const TaskRecord& task, uint64_t as_of) = 0;
  virtual void PutProducerRow(const ProducerRecord& producer, uint64_t as_of) = 0;
  virtual void PutKeyRow(const KeyRecord& key, uint64_t as_of) = 0;
  virtual void PutCounterRow(const CounterRecord& counters) = 0;
  virtual void DeleteQueueRow(QueueId queue) = 0;
  virtual void DeleteTaskRow(TaskId task) = 0;
  virtual void DeleteProducerRow(uint64_t producer) = 0;
  virtual void DeleteKeyRow(QueueId queue, KeySpace space, std::string_view text) = 0;
  // Entries up to and including this one hold nothing that is needed any more.
  virtual void DropEntriesThrough(uint64_t entry) = 0;
};

class ChangeSink : public JournalSink, public RowSink {
 public:
  // Bytes of journal records gathered for the entry under way.
  virtual size_t journal_bytes() const = 0;
  // Whether anything is kept at all; if not, nobody need remember what is dirty.
  virtual bool keeps() const { return true; }
  // The commit under way must survive a power loss, not only the process.
  virtual void NeedSync() = 0;
};

// Discards everything: for brokers and queues that live in memory only.
class NullChangeSink final : public ChangeSink {
 public:
  void QueueCreated(const QueueRecord&) override {}
  void QueueChanged(const QueueRecord&) override {}
  void QueueDeleted(QueueId) override {}
  void TaskPut(const TaskRecord&) override {}
  void TaskChanged(const ProgressRecord&) override {}
  void TaskEnded(const EndRecord&) override {}
  void TaskDropped(TaskId) override {}
  void LeaseMarked(const LeaseRecord&) override {}
  void PutQueueRow(const QueueRecord&, uint64_t) override {}
  void PutTaskRow(const TaskRecord&, uint64_t) override {}
  void PutProducerRow(const ProducerRecord&, uint64_t) override {}
  void PutKeyRow(const KeyRecord&, uint64_t) override {}
  void PutCounterRow(const CounterRecord&) override {}
  void DeleteQueueRow(QueueId) override {}
  void DeleteTaskRow(TaskId) override {}
  void DeleteProducerRow(uint64_t) override {}
  void DeleteKeyRow(QueueId, KeySpace, std::string_view) override {}
  void DropEntriesThrough(uint64_t) override {}
  size_t journal_bytes() const override { return 0; }
  bool keeps() const override { return false; }
  void NeedSync() override {}
};

}  // namespace joinq::core
