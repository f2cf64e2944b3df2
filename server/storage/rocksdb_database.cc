#include "server/storage/rocksdb_database.h"

#include <rocksdb/table.h>

#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"

namespace joinq::storage {
namespace {

rocksdb::DBOptions Settings() {
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

std::vector<rocksdb::ColumnFamilyDescriptor> Families() {
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

}  // namespace

void DatabaseCloser::operator()(rocksdb::DB* db) const {
  for (auto* family : families) db->DestroyColumnFamilyHandle(family);
  if (auto status = db->Close(); !status.ok()) spdlog::warn("closing the store: {}", status.ToString());
  delete db;
}

absl::StatusOr<Database> OpenDatabase(const std::string& directory) {
  Database database;
  std::vector<rocksdb::ColumnFamilyHandle*> families;
  rocksdb::DB* db = nullptr;
  auto status = rocksdb::DB::Open(Settings(), directory + "/db", Families(), &families, &db);
  if (!status.ok()) return ToStatus(directory, status);
  database.meta = families[0];
  database.rows = families[1];
  database.journal = families[2];
  database.db = {db, DatabaseCloser{std::move(families)}};
  return database;
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
    return absl::DataLossError(absl::StrCat("data directory ", directory, " is damaged: ", text));
  }
  return absl::UnavailableError(absl::StrCat("data directory ", directory, ": ", text));
}

}  // namespace joinq::storage
