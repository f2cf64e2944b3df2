// The explicit repair of a damaged data directory: what can still be read is kept.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "server/storage/rocksdb_database.h"

namespace joinq::storage {

// Opens the database after dropping what is damaged: records of the write-ahead log
// that fail their checksums, then, if tables or the manifest are damaged as well,
// whole tables (they go to db/lost). Marks the directory kRepaired before it changes
// anything. Harmless, but slow, on one that is sound: it reads every table.
absl::Status SalvageDatabase(const std::string& directory, Database* database);

}  // namespace joinq::storage
