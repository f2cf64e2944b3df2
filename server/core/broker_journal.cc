// The young generation's survivors move to rows (see journal_ledger.h), and what
// is beyond the memory budget leaves memory.
#include <algorithm>

#include "server/core/broker.h"

namespace joinq::core {
namespace {

constexpr uint64_t kJournalBytesOnFullDisk = 1 << 20;  // room is worth more than rows cost
constexpr size_t kRowsPerRound = 1024;
constexpr size_t kRowsPerRoundOnFullDisk = 32;  // they need room before they make any
constexpr size_t kRowsPerRoundOverBudget = 8192;
constexpr size_t kLooksPerRound = 16'384;
constexpr uint64_t kRecordBytes = 48;  // about what a task takes on disk besides its payload

}  // namespace

ProgressRecord Broker::ProgressOf(const Task& task) const {
  ProgressRecord record;
  record.id = task.id;
  record.queue = task.queue()->id;
  record.state = task.state == TaskState::kLeased ? TaskState::kReady : task.state;
  record.when = task.state == TaskState::kLeased ? task.ties->since : task.when;
  record.deliveries = task.deliveries;
  record.outcome = task.outcome;
  if (task.extra != nullptr) {
    record.attempts = task.extra->attempts;
    record.crashes = task.extra->crashes;
    record.error = task.extra->error.get();
    record.process = task.extra->process.get();
    record.history = task.extra->history;
  }
  return record;
}

TaskRecord Broker::RecordOf(const Task& task) const {
  TaskRecord record;
  static_cast<ProgressRecord&>(record) = ProgressOf(task);
  record.payload = task.payload.view();
  record.headers = task.payload.headers();
  record.handler = task.shape->handler.view();
  record.content_type = task.shape->content_type.view();
  if (task.state == TaskState::kEnded)
    record.content_type = task.ties == nullptr ? std::string_view() : task.ties->result_type.view();
  record.policy = task.policy();
  if (task.extra != nullptr) {
    record.expires = task.extra->expires;
    record.deadline_ms = task.extra->deadline_ms;
    if (const KeyEntry* unique = task.extra->unique; unique != nullptr) {
      record.unique_key = unique->text;
      record.unique_scope = unique->scope;
      record.unique_until = unique->until;
    }
  }
  if (task.bound) record.session_id = bound_.SessionOf(task.id);
  if (task.state == TaskState::kLeased && task.ties->marked) {
    record.state = TaskState::kLeased;
    record.lease = LeaseOf(task);
  }
  return record;
}

void Broker::WriteQueueRow(Queue* queue, uint64_t as_of) {
  sink_->PutQueueRow(RecordOf(*queue), as_of);
  queue->dirty_since = 0;
  queue->has_row = true;
}

void Broker::WriteCounters() {
  CounterRecord counters = counters_;
  counters.next_task = std::max(counters.next_task, ids_reserved_);
  sink_->PutCounterRow(counters);
}

// Whether a row was written. The row holds the state as of this commit.
bool Broker::Relocate(Task* task, uint64_t as_of) {
  Queue* queue = task->queue();
  if (task->evicted) {
    // The payload is in the row already and not at hand: what has changed since goes on
    // living in the journal.
    task->dirty_since = 0;
    Changed(task);
    if (task->state == TaskState::kLeased && task->ties->marked) MarkLease(task);
    return false;
  }
  // A row's queue must be readable before it: the entry that made the queue may
  // be this one, and a restart may come before the rest of it is moved.
  if (!queue->has_row) WriteQueueRow(queue, as_of);
  sink_->PutTaskRow(RecordOf(*task), as_of);
  task->dirty_since = 0;
  task->has_row = true;
  if (task->state != TaskState::kLeased && task->state != TaskState::kEnded && task->payload_size > 0 &&
      resident_bytes_ > limits_.memory_budget_bytes) {
    evictable_.push_back(task->id);
  }
  return true;
}

// Everything but the tasks of an entry that is about to be dropped.
void Broker::RelocateRest(const JournalLedger::Entry& entry, uint64_t as_of) {
  const auto due = [&](uint64_t dirty_since) { return dirty_since != 0 && dirty_since <= entry.number; };
  for (QueueId id : entry.queues) {
    auto it = queues_by_id_.find(id);
    if (it != queues_by_id_.end() && due(it->second->dirty_since)) WriteQueueRow(it->second, as_of);
  }
  for (uint64_t id : entry.producers) {
    auto it = producers_.find(id);
    if (it == producers_.end() || !due(it->second->dirty_since)) continue;
    Producer* producer = it->second.get();
    ProducerRecord record{id, producer->acked_below, {}};
    for (const auto& [tag, task] : producer->tags) {
      // What a restart forgets must be put again then.
      const Task* alive = tasks_.Find(task);
      if (task != TaskId{0} && (alive == nullptr || Journaled(*alive->queue())))
        record.tags.emplace_back(tag, task);
    }
    sink_->PutProducerRow(record, as_of);
    producer->dirty_since = 0;
    producer->has_row = true;
  }
  for (const JournalLedger::KeyName& name : entry.keys) {
    KeyEntry* key = keys_.Find(name.queue, name.space, name.text);
    if (key == nullptr || !due(key->dirty_since)) continue;
    sink_->PutKeyRow({key->queue, key->space, key->text, key->task, key->until}, as_of);
    key->dirty_since = 0;
    key->has_row = true;
  }
}

// The journal may grow to what is alive, so that the disk holds a small multiple of
// it; tasks that are to leave memory have to get their rows sooner.
uint64_t Broker::JournalBound() const {
  if (disk_level_ != DiskLevel::kOk) return kJournalBytesOnFullDisk;
  if (resident_bytes_ > limits_.memory_budget_bytes)
    return std::min(limits_.journal_bytes_min, limits_.memory_budget_bytes);
  return std::max<uint64_t>(limits_.journal_bytes_min, payload_bytes_ + tasks_.size() * kRecordBytes);
}

// While the journal has outgrown its bound: rows for the survivors of its oldest
// entries, a bounded number a round. The rows hold the state as of this commit, so
// the entries before it are needed no more.
void Broker::Relocate() {
  const uint64_t bound = JournalBound();
  if (ledger_.bytes() <= bound) return;
  // The entry under way counts if it will be written at all.
  const uint64_t as_of = sink_->journal_bytes() > 0 ? ledger_.current() : ledger_.current() - 1;
  const size_t rows_max = disk_level_ != DiskLevel::kOk                   ? kRowsPerRoundOnFullDisk
                          : resident_bytes_ > limits_.memory_budget_bytes ? kRowsPerRoundOverBudget
                                                                          : kRowsPerRound;
  size_t rows = 0;
  size_t looks = 0;
  uint64_t drop_through = 0;
  while (ledger_.bytes() > bound && ledger_.oldest() != nullptr) {
    JournalLedger::Entry* entry = ledger_.oldest();
    TaskId id{0};
    while (rows < rows_max && looks < kLooksPerRound && entry->Next(&id)) {
      ++looks;
      Task* task = tasks_.Find(id);
      if (task == nullptr || task->dirty_since == 0 || task->dirty_since > entry->number) continue;
      rows += Relocate(task, as_of);
    }
    if (!entry->done()) break;
    RelocateRest(*entry, as_of);
    drop_through = entry->number;
    ledger_.DropOldest();
  }
  if (drop_through == 0) return;
  WriteCounters();
  sink_->DropEntriesThrough(drop_through);
}

void Broker::Committed() {
  for (TaskId id : evictable_) {
    if (resident_bytes_ <= limits_.memory_budget_bytes) break;
    Task* task = tasks_.Find(id);
    if (task == nullptr || task->evicted || task->dirty_since != 0 || task->payload.footprint() == 0)
      continue;
    if (task->waiting() || task->state == TaskState::kDead) Evict(task);
  }
  evictable_.clear();
}

}  // namespace joinq::core
