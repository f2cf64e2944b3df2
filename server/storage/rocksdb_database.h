// The RocksDB database of a data directory: its column families, its settings, how
// it is opened, and its errors.
#pragma once

#include <rocksdb/db.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"

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

rocksdb::DBOptions DatabaseSettings();
std::vector<rocksdb::ColumnFamilyDescriptor> ColumnFamilies();

// Opens or creates the database in `directory`/db with these settings.
rocksdb::Status OpenDatabase(const std::string& directory, const rocksdb::DBOptions& settings,
                             Database* database);

// FAILED_PRECONDITION: in use by another process; DATA_LOSS: damaged, naming the
// remedy; UNAVAILABLE: the rest.
absl::Status ToStatus(const std::string& directory, const rocksdb::Status& status);

}  // namespace joinq::storage
