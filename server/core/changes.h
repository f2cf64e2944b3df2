// What the core tells the store: an ordered log of changes, from which the
// state can be rebuilt. The core calls a ChangeSink while it applies operations;
// the sink (server/storage/record_codec) encodes at once and keeps no pointer.
#pragma once

#include <string_view>

#include "server/core/task.h"
#include "server/core/types.h"

namespace joinq::core {

// Everything of a queue that outlives a restart.
struct QueueRecord {
  QueueId id{0};
  std::string name;
  QueueOptions options;
  bool closed = false;
  uint64_t put_total = 0, done_total = 0, dead = 0, cancelled_total = 0, redelivered_total = 0;
};

// Everything of a task that outlives a restart.
struct TaskRecord {
  TaskId id{0};
  QueueId queue{0};
  std::string_view payload, headers, handler, content_type;
  TaskPolicy policy;
  Time when{};  // due when delayed, expiry when ended; else meaningless
  uint64_t producer_id = 0, tag = 0;
  uint32_t deliveries = 0;
  uint16_t attempts = 0, crashes = 0;
  TaskState state = TaskState::kReady;  // a leased task is written as ready
  Outcome outcome = Outcome::kUnfinished;
  const TaskError* error = nullptr;
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
  uint32_t deliveries = 0;
};

// Journal records, in order.
class JournalSink {
 public:
  virtual ~JournalSink() = default;
  virtual void QueueCreated(const QueueRecord& queue) = 0;
  virtual void QueueClosed(QueueId queue) = 0;
  virtual void QueueDeleted(QueueId queue) = 0;  // all its tasks go with it, uncounted
  virtual void TaskPut(const TaskRecord& task) = 0;
  // An attempt ended without ending the task: new counts, state ready or delayed, last error.
  virtual void TaskRetried(const TaskRecord& task) = 0;
  virtual void TaskEnded(const EndRecord& end) = 0;
};

// Rows: the current state of one object each, which includes what the journal
// says of it up to entry `as_of`.
class RowSink {
 public:
  virtual ~RowSink() = default;
  virtual void PutQueueRow(const QueueRecord& queue, uint64_t as_of) = 0;
  virtual void PutTaskRow(const TaskRecord& task, uint64_t as_of) = 0;
  virtual void PutCounterRow(const CounterRecord& counters) = 0;
  virtual void DeleteQueueRow(QueueId queue) = 0;
  virtual void DeleteTaskRow(TaskId task) = 0;
  // Entries up to and including this one hold nothing that is needed any more.
  virtual void DropEntriesThrough(uint64_t entry) = 0;
};

class ChangeSink : public JournalSink, public RowSink {
 public:
  // Bytes of journal records gathered for the entry under way.
  virtual size_t journal_bytes() const = 0;
  // Whether anything is kept at all; if not, nobody need remember what is dirty.
  virtual bool keeps() const { return true; }
};

// Discards everything: for queues that live in memory only.
class NullChangeSink final : public ChangeSink {
 public:
  void QueueCreated(const QueueRecord&) override {}
  void QueueClosed(QueueId) override {}
  void QueueDeleted(QueueId) override {}
  void TaskPut(const TaskRecord&) override {}
  void TaskRetried(const TaskRecord&) override {}
  void TaskEnded(const EndRecord&) override {}
  void PutQueueRow(const QueueRecord&, uint64_t) override {}
  void PutTaskRow(const TaskRecord&, uint64_t) override {}
  void PutCounterRow(const CounterRecord&) override {}
  void DeleteQueueRow(QueueId) override {}
  void DeleteTaskRow(TaskId) override {}
  void DropEntriesThrough(uint64_t) override {}
  size_t journal_bytes() const override { return 0; }
  bool keeps() const override { return false; }
};

}  // namespace joinq::core
