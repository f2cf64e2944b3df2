// The RocksDB database of a data directory: its column families, its settings, how
// it is opened, and its errors.
#pragma once

#include <rocksdb/db.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace joinq::storage {

// Closed when it goes, the column families with it.
struct DatabaseCloser {
  void operator()(rocksdb::DB* db) const;
  std::vector<rocksdb::ColumnFamilyHandle*> families;
};

// Entries of the journal up to this one may vanish from the files. No tombstones are
// written for them: entries are numbered in order and dropped in order, so most go
// as whole files, and the rest when they would be written again.
using Horizon = std::shared_ptr<std::atomic<uint64_t>>;

struct Database {
  Horizon dropped = std::make_shared<std::atomic<uint64_t>>(0);
  std::unique_ptr<rocksdb::DB, DatabaseCloser> db;
  rocksdb::ColumnFamilyHandle* meta = nullptr;
  rocksdb::ColumnFamilyHandle* rows = nullptr;
  rocksdb::ColumnFamilyHandle* journal = nullptr;  // keys: BigEndian(number)
};

// What waits in memory for a file, and the logs that go with it, are a share of the
// disk of `directory` if that is small.
rocksdb::DBOptions DatabaseSettings(const std::string& directory);
std::vector<rocksdb::ColumnFamilyDescriptor> ColumnFamilies(const std::string& directory, Horizon dropped);

// Opens or creates the database in `directory`/db with these settings.
rocksdb::Status OpenDatabase(const std::string& directory, const rocksdb::DBOptions& settings,
                             Database* database);

// Removes the files that hold only entries below the horizon. Blocks for a sync of
// the manifest if there are any.
rocksdb::Status DeleteDroppedFiles(const Database& database);

// The order of the keys is the order of the numbers.
std::string BigEndian(uint64_t number);
uint64_t FromBigEndian(std::string_view key);

// UNAVAILABLE, naming the remedy.
absl::Status DiskIsFull(const std::string& directory, const std::string& why);
// FAILED_PRECONDITION: in use by another process; DATA_LOSS: damaged, naming the
// remedy; UNAVAILABLE: the rest.
absl::Status ToStatus(const std::string& directory, const rocksdb::Status& status);

}  // namespace joinq::storage
