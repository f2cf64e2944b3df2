#include "server/storage/rocksdb_store.h"

#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/storage/ballast.h"
#include "server/storage/data_directory.h"
#include "server/storage/disk_space.h"
#include "server/storage/rocksdb_backup.h"
#include "server/storage/rocksdb_database.h"
#include "server/storage/rocksdb_salvage.h"
#include "spdlog/spdlog.h"

namespace joinq::storage {
namespace {

constexpr char kEpochKey[] = "epoch";
constexpr char kDroppedKey[] = "dropped";       // entries up to this one are gone
constexpr char kNextEntryKey[] = "next_entry";  // no entry below this one will be written; often missing
constexpr size_t kRowsARead = 32;
// Files of dropped entries are looked for so often while the working room is written over.
constexpr uint64_t kDeletionsARoom = 6;
// Without so much the engine fails halfway through opening, or aborts.
constexpr uint64_t kRoomToOpen = 1 << 20;

// What is far beyond anything that the lost part of the state can have given out.
constexpr uint64_t kEpochJump = 1'000'000;
constexpr uint64_t kEntryJump = uint64_t{1} << 32;

class RocksDbStore final : public Store {
 public:
  RocksDbStore(std::string directory, uint64_t working_room, Database database)
      : directory_(std::move(directory)),
        bytes_between_deletions_(working_room / kDeletionsARoom),
        database_(std::move(database)),
        db_(database_.db.get()) {}

  absl::StatusOr<Acquired> Acquire(Partition, std::string_view owner) override {
    auto origin = GetOrigin(directory_);
    if (!origin.ok()) return origin.status();
    uint64_t next_entry = 1;
    for (auto [key, number] :
         {std::pair{kEpochKey, &epoch_}, {kDroppedKey, &dropped_}, {kNextEntryKey, &next_entry}}) {
      if (absl::Status bad = GetNumber(key, number); !bad.ok()) return bad;
    }
    next_entry = std::max(next_entry, dropped_ + 1);
    std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator({}, Journal()));
    it->SeekToLast();
    if (it->Valid()) next_entry = std::max(next_entry, FromBigEndian(it->key().ToStringView()) + 1);
    if (!it->status().ok()) return ToStatus(directory_, it->status());

    rocksdb::WriteBatch batch;
    epoch_ += *origin == Origin::kContinued ? 1 : kEpochJump;
    batch.Put(Meta(), kEpochKey, BigEndian(epoch_));
    if (*origin == Origin::kRepaired) {
      // Rows may be current up to entries that are lost, and would hide new ones of the same number.
      next_entry += kEntryJump;
      batch.Put(Meta(), kNextEntryKey, BigEndian(next_entry));
    }
    batch.Put(Meta(), "owner", rocksdb::Slice(owner.data(), owner.size()));
    rocksdb::WriteOptions synced;
    synced.sync = true;
    if (auto status = db_->Write(synced, &batch); !status.ok()) return ToStatus(directory_, status);
    // Only now: a crash in between jumps once more, and that is harmless.
    if (*origin != Origin::kContinued) {
      if (absl::Status bad = SetOrigin(directory_, Origin::kContinued); !bad.ok()) return bad;
    }
    last_seq_ = 0;
    *database_.dropped = dropped_;
    return Acquired{epoch_, next_entry};
  }

  CommitResult Commit(Partition, uint64_t epoch, uint64_t seq, const Batch& batch) override {
    if (epoch != epoch_) return {CommitOutcome::kFenced, "not the owner's epoch"};
    if (seq == last_seq_) return {};
    write_.Clear();
    if (!batch.entry.empty()) write_.Put(Journal(), BigEndian(batch.entry_number), batch.entry);
    for (const auto& put : batch.row_puts) write_.Put(Rows(), put.key, put.value);
    for (const std::string& key : batch.row_deletes) write_.Delete(Rows(), key);
    if (batch.drop_through > dropped_) write_.Put(Meta(), kDroppedKey, BigEndian(batch.drop_through));
    rocksdb::WriteOptions options;
    options.sync = batch.sync;
    if (auto status = db_->Write(options, &write_); !status.ok())
      return {CommitOutcome::kUnknown, status.ToString()};
    last_seq_ = seq;
    dropped_ = std::max(dropped_, batch.drop_through);
    written_since_ += batch.bytes();
    if (batch.sync) ForgetDropped();
    return {};
  }

  absl::Status ScanRows(Partition, const RowVisitor& visit) override {
    std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(Scanning(), Rows()));
    for (it->SeekToFirst(); it->Valid(); it->Next()) {
      if (absl::Status status = visit(it->key().ToStringView(), it->value().ToStringView()); !status.ok())
        return status;
    }
    return ToStatus(directory_, it->status());
  }

  absl::Status ScanEntries(Partition, uint64_t from, const EntryVisitor& visit) override {
    std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(Scanning(), Journal()));
    for (it->Seek(BigEndian(std::max(from, dropped_ + 1))); it->Valid(); it->Next()) {
      const uint64_t number = FromBigEndian(it->key().ToStringView());
      if (absl::Status status = visit(number, it->value().ToStringView()); !status.ok()) return status;
    }
    return ToStatus(directory_, it->status());
  }

  absl::Status ReadRows(Partition, std::span<const std::string> keys, const FoundVisitor& visit) override {
    std::array<rocksdb::Slice, kRowsARead> slices;
    std::array<rocksdb::PinnableSlice, kRowsARead> values;
    std::array<rocksdb::Status, kRowsARead> statuses;
    rocksdb::ReadOptions options;
    options.fill_cache = false;  // read once, then kept by the caller or gone
    absl::Status first_error;
    for (size_t begin = 0; begin < keys.size(); begin += kRowsARead) {
      const size_t count = std::min(kRowsARead, keys.size() - begin);
      for (size_t i = 0; i < count; ++i) slices[i] = keys[begin + i];
      db_->MultiGet(options, Rows(), count, slices.data(), values.data(), statuses.data());
      for (size_t i = 0; i < count; ++i) {
        if (statuses[i].ok()) {
          visit(begin + i, values[i].ToStringView());
        } else if (!statuses[i].IsNotFound() && first_error.ok()) {
          first_error = ToStatus(directory_, statuses[i]);
        }
        values[i].Reset();
      }
    }
    return first_error;
  }

  absl::StatusOr<uint64_t> Backup(const std::string& directory) override {
    return BackUp(db_, directory_, directory);
  }

  StoreLimits limits() const override { return {64u << 20}; }
  std::string_view durability() const override { return "fsync"; }

 private:
  // The number stays as it is if there is no such key.
  absl::Status GetNumber(const char* key, uint64_t* number) {
    std::string value;
    auto status = db_->Get({}, Meta(), key, &value);
    if (status.ok()) *number = FromBigEndian(value);
    return status.IsNotFound() ? absl::OkStatus() : ToStatus(directory_, status);
  }
  // After a synced commit: whatever replaces the dropped entries has reached the disk,
  // so they may leave it. That they do is not needed for anything but room.
  void ForgetDropped() {
    if (database_.dropped->exchange(dropped_) == dropped_ || written_since_ < bytes_between_deletions_)
      return;
    written_since_ = 0;
    if (auto status = DeleteDroppedFiles(database_); !status.ok()) {
      spdlog::warn("store: cannot delete files of dropped entries: {}", status.ToString());
    }
  }
  static rocksdb::ReadOptions Scanning() {
    rocksdb::ReadOptions options;
    options.fill_cache = false;
    options.readahead_size = 4 << 20;
    return options;
  }
  rocksdb::ColumnFamilyHandle* Meta() const { return database_.meta; }
  rocksdb::ColumnFamilyHandle* Rows() const { return database_.rows; }
  rocksdb::ColumnFamilyHandle* Journal() const { return database_.journal; }

  const std::string directory_;
  const uint64_t bytes_between_deletions_;
  const Database database_;
  rocksdb::DB* const db_;
  rocksdb::WriteBatch write_;
  uint64_t epoch_ = 0;
  uint64_t last_seq_ = 0;
  uint64_t dropped_ = 0;
  size_t written_since_ = 0;  // bytes, since files were last deleted
};

// The ballast goes if what is in the logs may not fit into files of its own.
absl::Status FindRoomToOpen(const std::string& directory, uint64_t* working_room) {
  auto space = AskDiskSpace(directory);
  if (!space.ok()) return space.status();
  *working_room = WorkingRoom(space->total_bytes);
  Ballast ballast(directory, *working_room);
  if (space->free_bytes < *working_room && ballast.Release()) space = AskDiskSpace(directory);
  if (!space.ok()) return space.status();
  if (space->free_bytes >= kRoomToOpen) return absl::OkStatus();
  return DiskIsFull(directory, absl::StrCat(space->free_bytes >> 10, " KiB left, ", kRoomToOpen >> 10,
                                            " needed to open it"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> OpenRocksDbStore(const std::string& directory, bool salvage) {
  if (absl::Status bad = PrepareDataDirectory(directory); !bad.ok()) return bad;
  uint64_t working_room = 0;
  if (absl::Status full = FindRoomToOpen(directory, &working_room); !full.ok()) return full;
  Database database;
  const absl::Status opened =
      salvage ? SalvageDatabase(directory, &database)
              : ToStatus(directory, OpenDatabase(directory, DatabaseSettings(directory), &database));
  if (!opened.ok()) return opened;
  return std::make_unique<RocksDbStore>(directory, working_room, std::move(database));
}

}  // namespace joinq::storage
