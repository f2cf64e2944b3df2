#include "tests/sim/sim_store.h"

#include <utility>

namespace joinq::sim {

void SimDisk::State::Apply(const storage::Batch& batch) {
  if (!batch.entry.empty()) {
    entries[batch.entry_number] = batch.entry;
    next_entry = batch.entry_number + 1;
  }
  for (const auto& put : batch.row_puts) rows[put.key] = put.value;
  for (const std::string& key : batch.row_deletes) rows.erase(key);
  if (batch.drop_through != 0) entries.erase(entries.begin(), entries.upper_bound(batch.drop_through));
}

void SimDisk::Apply(const storage::Batch& batch) {
  visible_.Apply(batch);
  unsynced_.push_back(batch);
  if (batch.sync) Sync();
}

void SimDisk::Sync() {
  for (const storage::Batch& batch : unsynced_) synced_.Apply(batch);
  synced_commits_ += unsynced_.size();
  unsynced_.clear();
}

void SimDisk::LoseTail(Random* random) {
  const size_t kept = random->Below(unsynced_.size() + 1);
  dropped_ += unsynced_.size() - kept;
  unsynced_.resize(kept);
  const uint64_t epoch = visible_.epoch;
  visible_ = synced_;
  visible_.epoch = epoch;
  for (const storage::Batch& batch : unsynced_) visible_.Apply(batch);
}

absl::StatusOr<storage::Acquired> SimStore::Acquire(storage::Partition, std::string_view) {
  last_seq_ = 0;
  ++disk_->visible().epoch;
  disk_->Sync();  // the new epoch must survive, and all before it with it
  return storage::Acquired{disk_->visible().epoch, disk_->visible().next_entry};
}

storage::CommitResult SimStore::Commit(storage::Partition, uint64_t epoch, uint64_t seq,
                                       const storage::Batch& batch) {
  if (epoch != disk_->visible().epoch) return {storage::CommitOutcome::kFenced, "not the owner's epoch"};
  if (seq == last_seq_) return {};
  if (seq != last_seq_ + 1) return {storage::CommitOutcome::kUnknown, "a gap between commits"};
  last_seq_ = seq;
  disk_->Apply(batch);
  return {};
}

absl::Status SimStore::ScanRows(storage::Partition, const RowVisitor& visit) {
  for (const auto& [key, value] : disk_->visible().rows) {
    if (absl::Status status = visit(key, value); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status SimStore::ScanEntries(storage::Partition, uint64_t from, const EntryVisitor& visit) {
  const auto& entries = disk_->visible().entries;
  for (auto it = entries.lower_bound(from); it != entries.end(); ++it) {
    if (absl::Status status = visit(it->first, it->second); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status SimStore::ReadRows(storage::Partition, std::span<const std::string> keys,
                                const FoundVisitor& visit) {
  storage::Batch nothing;
  const storage::Batch& ahead = under_way_ != nullptr && random_->Percent(50) ? *under_way_ : nothing;
  for (size_t i = 0; i < keys.size(); ++i) {
    const std::string* found = nullptr;
    const auto& rows = disk_->visible().rows;
    if (auto it = rows.find(keys[i]); it != rows.end()) found = &it->second;
    for (const auto& put : ahead.row_puts) {
      if (put.key == keys[i]) found = &put.value;
    }
    for (const std::string& key : ahead.row_deletes) {
      if (key == keys[i]) found = nullptr;
    }
    if (found != nullptr) visit(i, *found);
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> SimStore::Backup(const std::string&) {
  return absl::FailedPreconditionError("a simulated disk is not copied");
}

}  // namespace joinq::sim
