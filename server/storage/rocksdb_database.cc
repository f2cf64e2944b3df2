#include "server/storage/rocksdb_database.h"

#include <rocksdb/compaction_filter.h>
#include <rocksdb/convenience.h>
#include <rocksdb/table.h>

#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/storage/ballast.h"
#include "server/storage/disk_space.h"
#include "spdlog/spdlog.h"

namespace joinq::storage {
namespace {

namespace fs = std::filesystem;

// Without this file the engine would begin a new database over the files of the old one.
bool HasLostItsHead(const fs::path& path) {
  std::error_code error;
  if (fs::exists(path / "CURRENT", error)) return false;
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    if (it->path().extension() == ".sst" || it->path().extension() == ".log") return true;
  }
  return false;
}

// Keeps dropped entries out of the files that are written.
class DroppedEntries final : public rocksdb::CompactionFilter {
 public:
  explicit DroppedEntries(uint64_t through) : through_(through) {}
  bool Filter(int, const rocksdb::Slice& key, const rocksdb::Slice&, std::string*, bool*) const override {
    return FromBigEndian(key.ToStringView()) <= through_;
  }
  const char* Name() const override { return "joinq.DroppedEntries"; }

 private:
  const uint64_t through_;
};

class DroppedEntriesFactory final : public rocksdb::CompactionFilterFactory {
 public:
  explicit DroppedEntriesFactory(Horizon dropped) : dropped_(std::move(dropped)) {}
  std::unique_ptr<rocksdb::CompactionFilter> CreateCompactionFilter(
      const rocksdb::CompactionFilter::Context&) override {
    return std::make_unique<DroppedEntries>(dropped_->load());
  }
  bool ShouldFilterTableFileCreation(rocksdb::TableFileCreationReason reason) const override {
    return reason == rocksdb::TableFileCreationReason::kFlush ||
           reason == rocksdb::TableFileCreationReason::kCompaction;
  }
  const char* Name() const override { return "joinq.DroppedEntriesFactory"; }

 private:
  const Horizon dropped_;
};

uint64_t RoomFor(const std::string& directory) {
  const auto space = AskDiskSpace(directory);
  return WorkingRoom(space.ok() ? space->total_bytes : UINT64_MAX);
}

}  // namespace

rocksdb::DBOptions DatabaseSettings(const std::string& directory) {
  rocksdb::DBOptions options;
  options.create_if_missing = true;
  options.create_missing_column_families = true;
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  options.max_background_jobs = 2;
  // All that waits in memory for a file, and the logs that go with it. A family that
  // is rarely written keeps the logs of the others until it is made to write a file.
  options.db_write_buffer_size = options.max_total_wal_size = RoomFor(directory);
  // Opening takes next to no room, and what is written later leaves out what was dropped.
  options.avoid_flush_during_recovery = true;
  options.keep_log_file_num = 4;
  options.max_log_file_size = 8 << 20;
  options.stats_dump_period_sec = 0;
  options.max_open_files = 256;
  options.bytes_per_sync = 1 << 20;
  return options;
}

std::vector<rocksdb::ColumnFamilyDescriptor> ColumnFamilies(const std::string& directory, Horizon dropped) {
  const uint64_t room = RoomFor(directory);
  rocksdb::ColumnFamilyOptions meta;
  meta.write_buffer_size = 1 << 20;
  rocksdb::ColumnFamilyOptions rows;
  rows.write_buffer_size = room / 6;
  rows.compression = rocksdb::kLZ4Compression;
  rocksdb::ColumnFamilyOptions journal;
  // A burst smaller than this never reaches a file but the log.
  journal.write_buffer_size = room / 3 * 2;
  journal.max_write_buffer_number = 3;
  journal.compression = rocksdb::kNoCompression;
  journal.compaction_filter_factory = std::make_shared<DroppedEntriesFactory>(std::move(dropped));
  // Only files below the first level can be deleted whole. Getting there costs
  // nothing: files do not overlap, so they are moved.
  journal.level0_file_num_compaction_trigger = 1;
  rocksdb::BlockBasedTableOptions table;
  table.no_block_cache = true;
  journal.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return {{rocksdb::kDefaultColumnFamilyName, meta}, {"rows", rows}, {"journal", journal}};
}

void DatabaseCloser::operator()(rocksdb::DB* db) const {
  for (auto* family : families) db->DestroyColumnFamilyHandle(family);
  if (auto status = db->Close(); !status.ok()) spdlog::warn("closing the store: {}", status.ToString());
  delete db;
}

rocksdb::Status OpenDatabase(const std::string& directory, const rocksdb::DBOptions& settings,
                             Database* database) {
  const std::string path = directory + "/db";
  if (HasLostItsHead(path)) return rocksdb::Status::Corruption("CURRENT is missing");
  std::vector<rocksdb::ColumnFamilyHandle*> families;
  rocksdb::DB* db = nullptr;
  auto status =
      rocksdb::DB::Open(settings, path, ColumnFamilies(directory, database->dropped), &families, &db);
  // A file that should be there and is not.
  if (status.IsPathNotFound()) return rocksdb::Status::Corruption(status.ToString());
  if (!status.ok()) return status;
  database->meta = families[0];
  database->rows = families[1];
  database->journal = families[2];
  database->db = {db, DatabaseCloser{std::move(families)}};
  return status;
}

rocksdb::Status DeleteDroppedFiles(const Database& database) {
  const std::string last = BigEndian(database.dropped->load());
  const rocksdb::Slice end(last);
  return rocksdb::DeleteFilesInRange(database.db.get(), database.journal, nullptr, &end);
}

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

absl::Status DiskIsFull(const std::string& directory, const std::string& why) {
  return absl::UnavailableError(absl::StrCat("the disk of data directory ", directory, " is full (", why,
                                             "): make some room on it and start again; nothing is lost"));
}

absl::Status ToStatus(const std::string& directory, const rocksdb::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const std::string text = status.ToString();
  if (status.IsIOError() && (text.find("While lock file") != std::string::npos ||
                             text.find("lock hold by current process") != std::string::npos)) {
    return absl::FailedPreconditionError(
        absl::StrCat("data directory ", directory, " is in use by another process"));
  }
  if (status.IsCorruption()) {
    return absl::DataLossError(
        absl::StrCat("data directory ", directory, " is damaged (", text,
                     "); joinqd --salvage repairs what can still be read and logs what is lost"));
  }
  if (status.IsNoSpace()) return DiskIsFull(directory, text);
  return absl::UnavailableError(absl::StrCat("data directory ", directory, ": ", text));
}

}  // namespace joinq::storage
