// Journal entries and rows as bytes. An entry is the records of one commit, one
// after the other: a type byte, then the fields in a fixed order; integers are
// varints, byte strings have a varint length before them. Row keys are 't' and a
// big-endian task id, 'q' and a queue id, or "counters".
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "server/core/changes.h"
#include "server/core/restorer.h"
#include "server/storage/store.h"

namespace joinq::storage {

// Gathers one commit's changes as a Batch, encoding each at once.
class BatchEncoder final : public core::ChangeSink {
 public:
  // The batch so far. Take it by swapping, and give a cleared one back to reuse its memory.
  Batch& batch() { return batch_; }

  void QueueCreated(const core::QueueRecord& queue) override;
  void QueueClosed(core::QueueId queue) override;
  void QueueDeleted(core::QueueId queue) override;
  void TaskPut(const core::TaskRecord& task) override;
  void TaskRetried(const core::TaskRecord& task) override;
  void TaskEnded(const core::EndRecord& end) override;
  void PutQueueRow(const core::QueueRecord& queue, uint64_t as_of) override;
  void PutTaskRow(const core::TaskRecord& task, uint64_t as_of) override;
  void PutCounterRow(const core::CounterRecord& counters) override;
  void DeleteQueueRow(core::QueueId queue) override;
  void DeleteTaskRow(core::TaskId task) override;
  void DropEntriesThrough(uint64_t entry) override { batch_.drop_through = entry; }
  size_t journal_bytes() const override { return batch_.entry.size(); }

 private:
  Batch batch_;
};

// Feeds the records to `sink`, in order. DATA_LOSS at the first one that cannot
// be decoded; those before it have been fed.
absl::Status DecodeEntry(std::string_view entry, core::JournalSink* sink);
absl::Status DecodeRow(std::string_view key, std::string_view value, core::Restorer* restorer);

}  // namespace joinq::storage
