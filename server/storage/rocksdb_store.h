// The store on RocksDB: a commit is one WriteBatch, ownership a file lock
// and a stored epoch. Keys: the journal's column family has the big-endian entry
// number, the rows' one the row keys; the default one holds epoch and head.
#pragma once

#include <memory>
#include <string>

#include "server/storage/store.h"

namespace joinq::storage {

// Opens or creates the data directory (mode 0700). Errors, each one line:
// FAILED_PRECONDITION: in use by another process, another format's, or not a
// joinq data directory; DATA_LOSS: damaged; UNAVAILABLE: input or output failed.
//
// The torn end of the newest log is no damage: nothing in it was acknowledged.
// Any other is found here or by a scan and refused, unless `salvage` is true: then
// what can be read is kept, the rest is lost and logged, and the files that held it
// are set aside in db/lost. Make a copy first.
absl::StatusOr<std::unique_ptr<Store>> OpenRocksDbStore(const std::string& directory, bool salvage = false);

}  // namespace joinq::storage
