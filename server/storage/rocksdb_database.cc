#include "server/storage/rocksdb_database.h"

#include <rocksdb/table.h>

#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
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

}  // namespace

rocksdb::DBOptions DatabaseSettings() {
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
  return options;
}

std::vector<rocksdb::ColumnFamilyDescriptor> ColumnFamilies() {
  rocksdb::ColumnFamilyOptions meta;
  meta.write_buffer_size = 4 << 20;
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
  auto status = rocksdb::DB::Open(settings, path, ColumnFamilies(), &families, &db);
  // A file that should be there and is not.
  if (status.IsPathNotFound()) return rocksdb::Status::Corruption(status.ToString());
  if (!status.ok()) return status;
  database->meta = families[0];
  database->rows = families[1];
  database->journal = families[2];
  database->db = {db, DatabaseCloser{std::move(families)}};
  return status;
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
  return absl::UnavailableError(absl::StrCat("data directory ", directory, ": ", text));
}

}  // namespace joinq::storage
