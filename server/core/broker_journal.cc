// The young generation's survivors move to rows (see journal_ledger.h).
#include <algorithm>

#include "server/core/broker.h"

namespace joinq::core {
namespace {

constexpr size_t kRowsPerRound = 1024;
constexpr size_t kLooksPerRound = 16'384;

}  // namespace

TaskRecord Broker::RecordOf(const Task& task) const {
  TaskRecord record;
  record.id = task.id;
  record.queue = task.queue->id;
  record.payload = task.payload.view();
  record.headers = task.headers.view();
  record.handler = task.handler.view();
  record.content_type = task.content_type.view();
  record.policy = task.policy;
  record.state = task.state == TaskState::kLeased ? TaskState::kReady : task.state;
  record.when = task.when;
  if (task.producer != nullptr) {
    record.producer_id = task.producer->id;
    record.tag = task.tag;
  }
  record.deliveries = task.deliveries;
  record.attempts = task.attempts;
  record.crashes = task.crashes;
  record.outcome = task.outcome;
  record.error = task.error.get();
  return record;
}

void Broker::WriteQueueRow(Queue* queue, uint64_t as_of) {
  sink_->PutQueueRow(RecordOf(*queue), as_of);
  queue->dirty_since = 0;
  queue->has_row = true;
}

// While the journal has outgrown twice what is alive: rows for the survivors of
// its oldest entries, a bounded number a round. The rows hold the state as of
// this commit, so the entries before it are needed no more.
void Broker::Relocate() {
  const uint64_t bound = std::max<uint64_t>(limits_.journal_bytes_min, 2 * memory_used_);
  if (ledger_.bytes() <= bound) return;
  // The entry under way counts if it will be written at all.
  const uint64_t as_of = sink_->journal_bytes() > 0 ? ledger_.current() : ledger_.current() - 1;
  size_t rows = 0;
  size_t looks = 0;
  uint64_t drop_through = 0;
  while (ledger_.bytes() > bound) {
    JournalLedger::Entry* entry = ledger_.oldest();
    while (entry->relocated < entry->tasks.size() && rows < kRowsPerRound && looks < kLooksPerRound) {
      ++looks;
      Task* task = tasks_.Find(entry->tasks[entry->relocated++]);
      if (task == nullptr || task->dirty_since == 0 || task->dirty_since > entry->number) continue;
      // A row's queue must be readable before it: the entry that made the queue may
      // be this one, and a restart may come before the rest of it is moved.
      if (!task->queue->has_row) WriteQueueRow(task->queue, as_of);
      sink_->PutTaskRow(RecordOf(*task), as_of);
      task->dirty_since = 0;
      task->has_row = true;
      ++rows;
    }
    if (entry->relocated < entry->tasks.size()) break;
    for (QueueId id : entry->queues) {
      auto it = queues_by_id_.find(id);
      if (it == queues_by_id_.end() || it->second->dirty_since == 0 ||
          it->second->dirty_since > entry->number)
        continue;
      WriteQueueRow(it->second, as_of);
    }
    drop_through = entry->number;
    ledger_.DropOldest();
  }
  if (drop_through == 0) return;
  sink_->PutCounterRow(counters_);
  sink_->DropEntriesThrough(drop_through);
}

}  // namespace joinq::core
