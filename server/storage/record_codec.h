// Journal entries and rows as bytes (wire.h has the alphabet). An entry is the
// records of one commit, one after the other. Row keys are 't' and a big-endian task
// id, 'q' and a queue id, 'p' and a producer id, 'u' and a key's name, or "counters".
#pragma once

#include <functional>
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
  BatchEncoder() { batch_.sync = false; }
  // The batch so far; its `sync` says whether any record asked for it.
  Batch& batch() { return batch_; }
  // Hands the batch over in exchange for one whose memory is used again.
  void Reset() {
    batch_.Clear();
    batch_.sync = false;
  }

  void QueueCreated(const core::QueueRecord& queue) override;
  void QueueChanged(const core::QueueRecord& queue) override;
  void QueueDeleted(core::QueueId queue) override;
  void TaskPut(const core::TaskRecord& task) override;
  void TaskChanged(const core::ProgressRecord& task) override;
  void TaskEnded(const core::EndRecord& end) override;
  void TaskDropped(core::TaskId task) override;
  void LeaseMarked(const core::LeaseRecord& lease) override;
  void PutQueueRow(const core::QueueRecord& queue, uint64_t as_of) override;
  void PutTaskRow(const core::TaskRecord& task, uint64_t as_of) override;
  void PutProducerRow(const core::ProducerRecord& producer, uint64_t as_of) override;
  void PutKeyRow(const core::KeyRecord& key, uint64_t as_of) override;
  void PutCounterRow(const core::CounterRecord& counters) override;
  void DeleteQueueRow(core::QueueId queue) override;
  void DeleteTaskRow(core::TaskId task) override;
  void DeleteProducerRow(uint64_t producer) override;
  void DeleteKeyRow(core::QueueId queue, core::KeySpace space, std::string_view text) override;
  // Synced, since only drops that will surely be known after a crash give room back.
  void DropEntriesThrough(uint64_t entry) override {
    batch_.drop_through = entry;
    batch_.sync = true;
  }
  size_t journal_bytes() const override { return batch_.entry.size(); }
  void NeedSync() override { batch_.sync = true; }

 private:
  Batch batch_;
};

// Feeds the records to `sink`, in order. One that cannot be decoded goes to `bad`
// instead, whole, with the reason; after one whose length makes no sense the rest of
// the entry does.
using BadRecordVisitor = std::function<void(std::string_view record, const absl::Status& why)>;
void DecodeEntry(std::string_view entry, core::JournalSink* sink, const BadRecordVisitor& bad);
// DATA_LOSS, and nothing is fed, if the row cannot be decoded.
absl::Status DecodeRow(std::string_view key, std::string_view value, core::Restorer* restorer);
// Payload and headers of a task's row, within `value`.
struct RowPayload {
  std::string_view headers, payload;
};
absl::StatusOr<RowPayload> DecodePayload(std::string_view value);
std::string RowKey(core::TaskId task);

}  // namespace joinq::storage
