// A data directory as files: JOINQ_FORMAT says whose and which it is, db/ holds
// the engine's files, and JOINQ_ORIGIN, while it is there, that the state in it is
// older than what was once told to others. Nothing here knows the engine.
//
// All functions block; errors are one line and name the directory.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace joinq::storage {

// Where the state of a data directory comes from.
enum class Origin {
  kContinued,  // the last owner left it so
  kRestored,   // a backup: what its broker did afterwards is not in it
  kRepaired,   // it was damaged: anything may be missing
};

// Makes the directory (mode 0700) and its parents if missing, and sees that it is
// ours and of our format. FAILED_PRECONDITION if not, UNAVAILABLE if that failed.
absl::Status PrepareDataDirectory(const std::string& directory);
// NOT_FOUND: no format file, so not a data directory; FAILED_PRECONDITION: another format.
absl::Status CheckFormat(const std::string& directory);
// Makes the directory ours, durably. To be written last.
absl::Status WriteFormat(const std::string& directory);

// Durable when it returns. kContinued takes the mark away.
absl::Status SetOrigin(const std::string& directory, Origin origin);
absl::StatusOr<Origin> GetOrigin(const std::string& directory);

// Makes names in a directory durable; the tree's: files and names, all the way down.
absl::Status SyncDirectory(const std::string& directory);
absl::Status SyncTree(const std::string& directory);
absl::StatusOr<uint64_t> BytesIn(const std::string& directory);

// PERMISSION_DENIED unless `path`, which need not exist, is below `root` once symbolic
// links and dots are followed. Both are absolute.
absl::Status CheckBelow(const std::string& path, const std::string& root);

// Copies the backup (a data directory that nobody uses) into `directory`, which must
// be missing, empty, or what an interrupted restore has left. Marked kRestored and
// synced when it returns; until then it cannot be opened.
absl::Status RestoreBackup(const std::string& backup, const std::string& directory);

}  // namespace joinq::storage
