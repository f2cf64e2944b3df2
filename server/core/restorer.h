// Rebuilds a broker's state from what the store holds: first the rows, then the
// journal entries in order, then Finish. Records that a row already includes are
// passed over; records of objects that are gone mean nothing any more.
#pragma once

#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "server/core/broker.h"
#include "server/core/changes.h"

namespace joinq::core {

class Restorer final : public JournalSink {
 public:
  // `broker` must be new.
  explicit Restorer(Broker* broker) : broker_(broker) {}

  // `as_of`: the entry number of the commit that wrote the row. Queues before the rest.
  void LoadCounters(const CounterRecord& counters);
  void LoadQueueRow(const QueueRecord& queue, uint64_t as_of);
  void LoadTaskRow(const TaskRecord& task, uint64_t as_of);
  void LoadProducerRow(const ProducerRecord& producer, uint64_t as_of);
  void LoadKeyRow(const KeyRecord& key, uint64_t as_of);

  void BeginEntry(uint64_t number, size_t bytes);
  void QueueCreated(const QueueRecord& queue) override;
  void QueueChanged(const QueueRecord& queue) override;
  void QueueDeleted(QueueId queue) override;
  void TaskPut(const TaskRecord& task) override;
  void TaskChanged(const ProgressRecord& task) override;
  void TaskEnded(const EndRecord& end) override;
  void TaskDropped(TaskId task) override;
  void LeaseMarked(const LeaseRecord& lease) override;
  void EndEntry();

  // Everything is in; tasks line up in their queues in the order of their ids. With
  // `records_missing` (some could not be read) the totals are made to fit what is there.
  void Finish(Time now, bool records_missing = false);
  // Task rows whose queue does not exist; they are left out.
  uint64_t orphans() const { return orphans_; }

 private:
  Queue* QueueOf(QueueId id) const;
  bool Counts(QueueId id) const;  // whether the queue's row lacks this entry
  bool Includes(TaskId id) const;
  Task* Fill(const TaskRecord& record);
  void FillProgress(Task* task, const ProgressRecord& record);
  void FillLease(Task* task, const LeaseRecord& lease);
  void Remember(TaskId task, const CompletedLease& completed);
  void AddKey(QueueId queue, KeySpace space, std::string_view text, TaskId task, UniqueScope scope,
              Time until, bool from_row);
  Producer* ProducerOf(uint64_t id);
  static void FillTotals(Queue* queue, const QueueRecord& record);
  void Touch(Task* task);
  void Touch(Queue* queue);
  void LineUp(Task* task, Time now);
  void Remove(Task* task);

  Broker* const broker_;
  JournalLedger::Entry entry_;
  absl::flat_hash_map<QueueId, uint64_t> queue_rows_;
  absl::flat_hash_map<TaskId, uint64_t> task_rows_;
  absl::flat_hash_map<std::pair<QueueId, std::string>, uint64_t> key_rows_;  // text after its space's byte
  std::deque<TaskId> completions_;  // in completed_before_, oldest first
  uint64_t newest_row_ = 0;         // entries from here on need no look at task_rows_
  uint64_t orphans_ = 0;
};

}  // namespace joinq::core
