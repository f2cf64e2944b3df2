#include "server/storage/memory_store.h"

#include "absl/strings/str_cat.h"

namespace joinq::storage {

size_t Batch::bytes() const {
  size_t total = entry.size();
  for (const RowPut& put : row_puts) total += put.key.size() + put.value.size();
  for (const std::string& key : row_deletes) total += key.size();
  return total;
}

void Batch::Clear() {
  entry_number = 0;
  entry.clear();
  row_puts.clear();
  row_deletes.clear();
  drop_through = 0;
  sync = true;
}

absl::StatusOr<Acquired> MemoryStore::Acquire(Partition, std::string_view) {
  std::lock_guard lock(disk_->mutex);
  disk_->last_seq = 0;
  return Acquired{++disk_->epoch, disk_->next_entry};
}

CommitResult MemoryStore::Commit(Partition, uint64_t epoch, uint64_t seq, const Batch& batch) {
  std::lock_guard lock(disk_->mutex);
  if (epoch != disk_->epoch)
    return {CommitOutcome::kFenced, absl::StrCat("epoch ", disk_->epoch, " owns the store now")};
  if (seq == disk_->last_seq) return {};  // the same commit, repeated
  if (seq != disk_->last_seq + 1)
    return {CommitOutcome::kUnknown, absl::StrCat("commit ", seq, " after ", disk_->last_seq)};
  disk_->last_seq = seq;
  if (!batch.entry.empty()) {
    disk_->entries[batch.entry_number] = batch.entry;
    disk_->next_entry = batch.entry_number + 1;
  }
  for (const auto& put : batch.row_puts) disk_->rows[put.key] = put.value;
  for (const std::string& key : batch.row_deletes) disk_->rows.erase(key);
  if (batch.drop_through != 0) {
    disk_->entries.erase(disk_->entries.begin(), disk_->entries.upper_bound(batch.drop_through));
  }
  return {};
}

absl::Status MemoryStore::ScanRows(Partition, const RowVisitor& visit) {
  for (const auto& [key, value] : disk_->rows) {
    if (absl::Status status = visit(key, value); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status MemoryStore::ScanEntries(Partition, uint64_t from, const EntryVisitor& visit) {
  for (auto it = disk_->entries.lower_bound(from); it != disk_->entries.end(); ++it) {
    if (absl::Status status = visit(it->first, it->second); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status MemoryStore::ReadRows(Partition, std::span<const std::string> keys, const FoundVisitor& visit) {
  std::lock_guard lock(disk_->mutex);
  for (size_t i = 0; i < keys.size(); ++i) {
    if (auto it = disk_->rows.find(keys[i]); it != disk_->rows.end()) visit(i, it->second);
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> MemoryStore::Backup(const std::string&) {
  return absl::FailedPreconditionError("this broker keeps everything in memory; there is nothing to back up");
}

}  // namespace joinq::storage
