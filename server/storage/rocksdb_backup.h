// A copy of an open database as a data directory of its own.
#pragma once

#include <rocksdb/db.h>

#include <string>

#include "absl/status/statusor.h"

namespace joinq::storage {

// The contract is Store::Backup's; `data` is the database's own data directory.
// Works in TO.tmp, which a crash may leave behind, and renames it in the end. Files
// are hard links if both are on one file system. Any thread, while writes go on.
absl::StatusOr<uint64_t> BackUp(rocksdb::DB* db, const std::string& data, const std::string& to);

}  // namespace joinq::storage
