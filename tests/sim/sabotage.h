// Faults put in on purpose, to show that the oracle reports them.
#pragma once

#include <cstdint>

#include "server/core/changes.h"

namespace joinq::sim {

enum class Sabotage : uint8_t {
  kNone,
  kLoseEnds,        // the journal never hears that a task ended
  kLosePuts,        // one put in eight is not written
  kLoseMarks,       // leases are not marked on disk
  kLoseRequestIds,  // puts are written without their request ids and tags
  kReleaseEarly,    // answers go out before their commit is through
  kForgetSync,      // no commit is synced
  kStaleToken,      // redeliveries carry an old token
  kJoinLies,        // joins that timed out are answered OK
  kDropReplies,     // one reply in fifty is never sent
};

// Hands everything on to `to`, but for what is to be forgotten.
class FaultySink final : public core::ChangeSink {
 public:
  FaultySink(core::ChangeSink* to, Sabotage sabotage) : to_(to), sabotage_(sabotage) {}

  void QueueCreated(const core::QueueRecord& queue) override { to_->QueueCreated(queue); }
  void QueueChanged(const core::QueueRecord& queue) override { to_->QueueChanged(queue); }
  void QueueDeleted(core::QueueId queue) override { to_->QueueDeleted(queue); }
  void TaskPut(const core::TaskRecord& task) override {
    if (sabotage_ == Sabotage::kLosePuts && ++puts_ % 8 == 0) return;
    if (sabotage_ != Sabotage::kLoseRequestIds) return to_->TaskPut(task);
    core::TaskRecord record = task;
    record.request_id = {};
    record.producer_id = 0;
    to_->TaskPut(record);
  }
  void TaskChanged(const core::ProgressRecord& task) override { to_->TaskChanged(task); }
  void TaskEnded(const core::EndRecord& end) override {
    if (sabotage_ != Sabotage::kLoseEnds) to_->TaskEnded(end);
  }
  void TaskDropped(core::TaskId task) override { to_->TaskDropped(task); }
  void LeaseMarked(const core::LeaseRecord& lease) override {
    if (sabotage_ != Sabotage::kLoseMarks) to_->LeaseMarked(lease);
  }
  void PutQueueRow(const core::QueueRecord& queue, uint64_t as_of) override {
    to_->PutQueueRow(queue, as_of);
  }
  void PutTaskRow(const core::TaskRecord& task, uint64_t as_of) override { to_->PutTaskRow(task, as_of); }
  void PutProducerRow(const core::ProducerRecord& producer, uint64_t as_of) override {
    to_->PutProducerRow(producer, as_of);
  }
  void PutKeyRow(const core::KeyRecord& key, uint64_t as_of) override { to_->PutKeyRow(key, as_of); }
  void PutCounterRow(const core::CounterRecord& counters) override { to_->PutCounterRow(counters); }
  void DeleteQueueRow(core::QueueId queue) override { to_->DeleteQueueRow(queue); }
  void DeleteTaskRow(core::TaskId task) override { to_->DeleteTaskRow(task); }
  void DeleteProducerRow(uint64_t producer) override { to_->DeleteProducerRow(producer); }
  void DeleteKeyRow(core::QueueId queue, core::KeySpace space, std::string_view text) override {
    to_->DeleteKeyRow(queue, space, text);
  }
  void DropEntriesThrough(uint64_t entry) override { to_->DropEntriesThrough(entry); }
  size_t journal_bytes() const override { return to_->journal_bytes(); }
  void NeedSync() override {
    if (sabotage_ != Sabotage::kForgetSync) to_->NeedSync();
  }

 private:
  core::ChangeSink* const to_;
  const Sabotage sabotage_;
  uint64_t puts_ = 0;
};

}  // namespace joinq::sim
