// The RocksDB database of a data directory: its column families, its settings, how
// it is opened, and its errors.
#pragma once

#include <rocksdb/db.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace joinq::storage {

// Closed when it goes, the column families with it.
struct DatabaseCloser {
  void operator()(rocksdb::DB* db) const;
  std::vector<rocksdb::ColumnFamilyHandle*> families;
};

struct Database {
  std::unique_ptr<rocksdb::DB, DatabaseCloser> db;
  rocksdb::ColumnFamilyHandle* meta = nullptr;
  rocksdb::ColumnFamilyHandle* rows = nullptr;
  rocksdb::ColumnFamilyHandle* journal = nullptr;
};

// Opens or creates the database in `directory`/db. Errors as of OpenRocksDbStore.
absl::StatusOr<Database> OpenDatabase(const std::string& directory);

// FAILED_PRECONDITION: in use by another process; DATA_LOSS: damaged; UNAVAILABLE: the rest.
absl::Status ToStatus(const std::string& directory, const rocksdb::Status& status);

}  // namespace joinq::storage
