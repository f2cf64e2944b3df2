#include "server/storage/rocksdb_store.h"

#include <fcntl.h>
#include <rocksdb/convenience.h>
#include <rocksdb/db.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"

namespace joinq::storage {
namespace {

namespace fs = std::filesystem;

constexpr char kFormatFile[] = "JOINQ_FORMAT";
constexpr int kFormat = 1;
constexpr char kEpochKey[] = "epoch";
constexpr size_t kRowsARead = 32;
constexpr char kDroppedKey[] = "dropped";  // entries up to this one are gone

std::string BigEndian(uint64_t number) {
  std::string key(8, '\0');
  for (int i = 7; i >= 0; --i, number >>= 8) key[i] = static_cast<char>(number & 0xff);
  return key;
}

uint64_t FromBigEndian(std::string_view key) {
  uint64_t number = 0;
  for (char c : key) number = number << 8 | static_cast<unsigned char>(c);
  return number;
}

absl::Status ToStatus(const std::string& directory, const rocksdb::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const std::string text = status.ToString();
  if (status.IsIOError() && text.find("lock") != std::string::npos) {
    return absl::FailedPreconditionError(
        absl::StrCat("data directory ", directory, " is in use by another process"));
  }
  if (status.IsCorruption()) {
    return absl::DataLossError(absl::StrCat("data directory ", directory, " is damaged: ", text));
  }
  return absl::UnavailableError(absl::StrCat("data directory ", directory, ": ", text));
}

absl::Status SyncDirectory(const std::string& directory) {
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("data directory ", directory));
  const int failed = ::fsync(fd);
  const int error = errno;
  ::close(fd);
  return failed == 0 ? absl::OkStatus()
                     : absl::ErrnoToStatus(error, absl::StrCat("data directory ", directory));
}

// Makes the directory if it is missing, and sees that it is ours and of our format.
absl::Status PrepareDirectory(const std::string& directory) {
  std::error_code error;
  const fs::path parent = fs::absolute(directory).parent_path();
  fs::create_directories(parent, error);
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    return absl::UnavailableError(
        absl::StrCat("cannot create data directory ", directory, ": ", std::strerror(errno)));
  }
  if (!fs::is_directory(directory, error)) {
    return absl::FailedPreconditionError(absl::StrCat(directory, " is not a directory"));
  }
  const fs::path format_path = fs::path(directory) / kFormatFile;
  if (std::ifstream in(format_path); in) {
    int format = 0;
    in >> format;
    if (format != kFormat) {
      return absl::FailedPreconditionError(
          absl::StrCat("data directory ", directory, " has format ",
                       in.fail() ? std::string("unknown") : std::to_string(format),
                       "; this version reads and writes format ", kFormat));
    }
    return absl::OkStatus();
  }
  if (!fs::is_empty(directory, error) || error) {
    return absl::FailedPreconditionError(
        absl::StrCat("directory ", directory,
                     error ? " cannot be read: " + error.message()
                           : std::string(" is neither empty nor a joinq data directory")));
  }
  const fs::path fresh = format_path.string() + ".new";
  {
    std::ofstream out(fresh);
    out << kFormat << "\n";
    out.flush();
    if (!out) return absl::UnavailableError(absl::StrCat("cannot write to data directory ", directory));
  }
  fs::rename(fresh, format_path, error);
  if (error) return absl::UnavailableError(absl::StrCat("data directory ", directory, ": ", error.message()));
  return SyncDirectory(directory);
}

class RocksDbStore final : public Store {
 public:
  RocksDbStore(std::string directory, std::unique_ptr<rocksdb::DB> db,
               std::vector<rocksdb::ColumnFamilyHandle*> families)
      : directory_(std::move(directory)), db_(std::move(db)), families_(std::move(families)) {}
  ~RocksDbStore() override {
    for (auto* family : families_) db_->DestroyColumnFamilyHandle(family);
    if (auto status = db_->Close(); !status.ok()) spdlog::warn("closing the store: {}", status.ToString());
  }

  absl::StatusOr<Acquired> Acquire(Partition, std::string_view owner) override {
    Acquired acquired;
    std::string value;
    if (auto status = db_->Get({}, Meta(), kEpochKey, &value); status.ok()) {
      acquired.epoch = FromBigEndian(value);
    } else if (!status.IsNotFound()) {
      return ToStatus(directory_, status);
    }
    if (auto status = db_->Get({}, Meta(), kDroppedKey, &value); status.ok()) {
      dropped_ = FromBigEndian(value);
    } else if (!status.IsNotFound()) {
      return ToStatus(directory_, status);
    }
    epoch_ = ++acquired.epoch;
    rocksdb::WriteBatch batch;
    batch.Put(Meta(), kEpochKey, BigEndian(epoch_));
    batch.Put(Meta(), "owner", rocksdb::Slice(owner.data(), owner.size()));
    if (auto status = db_->Write(Synced(), &batch); !status.ok()) return ToStatus(directory_, status);
    std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator({}, Journal()));
    it->SeekToLast();
    if (!it->status().ok()) return ToStatus(directory_, it->status());
    acquired.next_entry = dropped_ + 1;
    if (it->Valid())
      acquired.next_entry = std::max(acquired.next_entry, FromBigEndian(it->key().ToStringView()) + 1);
    return acquired;
  }

  CommitResult Commit(Partition, uint64_t epoch, uint64_t seq, const Batch& batch) override {
    if (epoch != epoch_) return {CommitOutcome::kFenced, "not the owner's epoch"};
    if (seq == last_seq_) return {};
    write_.Clear();
    if (!batch.entry.empty()) write_.Put(Journal(), BigEndian(batch.entry_number), batch.entry);
    for (const auto& put : batch.row_puts) write_.Put(Rows(), put.key, put.value);
    for (const std::string& key : batch.row_deletes) write_.Delete(Rows(), key);
    if (batch.drop_through > dropped_) {
      // One by one: each entry has one key, and a range tombstone would slow every scan.
      for (uint64_t n = dropped_ + 1; n <= batch.drop_through; ++n)
        write_.SingleDelete(Journal(), BigEndian(n));
      write_.Put(Meta(), kDroppedKey, BigEndian(batch.drop_through));
    }
    rocksdb::WriteOptions options;
    options.sync = batch.sync;
    if (auto status = db_->Write(options, &write_); !status.ok())
      return {CommitOutcome::kUnknown, status.ToString()};
    last_seq_ = seq;
    dropped_ = std::max(dropped_, batch.drop_through);
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

  StoreLimits limits() const override { return {64u << 20}; }
  std::string_view durability() const override { return "fsync"; }

 private:
  static rocksdb::WriteOptions Synced() {
    rocksdb::WriteOptions options;
    options.sync = true;
    return options;
  }
  static rocksdb::ReadOptions Scanning() {
    rocksdb::ReadOptions options;
    options.fill_cache = false;
    options.readahead_size = 4 << 20;
    return options;
  }
  rocksdb::ColumnFamilyHandle* Meta() const { return families_[0]; }
  rocksdb::ColumnFamilyHandle* Rows() const { return families_[1]; }
  rocksdb::ColumnFamilyHandle* Journal() const { return families_[2]; }

  const std::string directory_;
  std::unique_ptr<rocksdb::DB> db_;
  std::vector<rocksdb::ColumnFamilyHandle*> families_;
  rocksdb::WriteBatch write_;
  uint64_t epoch_ = 0;
  uint64_t last_seq_ = 0;
  uint64_t dropped_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> OpenRocksDbStore(const std::string& directory) {
  if (absl::Status bad = PrepareDirectory(directory); !bad.ok()) return bad;
  rocksdb::DBOptions options;
  options.create_if_missing = true;
  options.create_missing_column_families = true;
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  options.max_background_jobs = 2;
  options.max_total_wal_size = 256 << 20;
  options.keep_log_file_num = 4;
  options.max_log_file_size = 8 << 20;
  options.stats_dump_period_sec = 0;
  options.max_open_files = 256;
  options.bytes_per_sync = 1 << 20;

  rocksdb::ColumnFamilyOptions plain;
  plain.write_buffer_size = 4 << 20;
  rocksdb::ColumnFamilyOptions rows;
  rows.write_buffer_size = 32 << 20;
  rows.compression = rocksdb::kLZ4Compression;
  rocksdb::ColumnFamilyOptions journal;
  // Twice the journal's least bound: most entries are dropped before they would
  // be flushed, and then never reach a file of their own.
  journal.write_buffer_size = 128 << 20;
  journal.compression = rocksdb::kNoCompression;
  journal.max_write_buffer_number = 3;
  rocksdb::BlockBasedTableOptions table;
  table.no_block_cache = true;
  journal.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));

  const std::vector<rocksdb::ColumnFamilyDescriptor> descriptors = {
      {rocksdb::kDefaultColumnFamilyName, plain}, {"rows", rows}, {"journal", journal}};
  std::vector<rocksdb::ColumnFamilyHandle*> families;
  rocksdb::DB* db = nullptr;
  const std::string path = directory + "/db";
  if (auto status = rocksdb::DB::Open(options, path, descriptors, &families, &db); !status.ok()) {
    return ToStatus(directory, status);
  }
  return std::make_unique<RocksDbStore>(directory, std::unique_ptr<rocksdb::DB>(db), std::move(families));
}

}  // namespace joinq::storage
