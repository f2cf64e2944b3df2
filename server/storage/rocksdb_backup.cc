#include "server/storage/rocksdb_backup.h"

#include <fcntl.h>
#include <rocksdb/utilities/checkpoint.h>
#include <stdio.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/storage/data_directory.h"

namespace joinq::storage {
namespace {

namespace fs = std::filesystem;

absl::Status CheckTarget(const fs::path& data, const fs::path& to, const fs::path& unfinished) {
  std::error_code error;
  if (fs::exists(to, error))
    return absl::FailedPreconditionError(absl::StrCat(to.string(), " exists already"));
  if (fs::exists(unfinished, error)) {
    return absl::FailedPreconditionError(
        absl::StrCat(unfinished.string(), " is left by a backup that did not end; remove it"));
  }
  const fs::path parent = to.parent_path();
  if (!fs::is_directory(parent, error)) {
    return absl::FailedPreconditionError(absl::StrCat(parent.string(), " is not a directory"));
  }
  const fs::path real = fs::weakly_canonical(to, error), own = fs::weakly_canonical(data, error);
  if (absl::StartsWith(real.string(), own.string() + "/")) {
    return absl::FailedPreconditionError(absl::StrCat(to.string(), " is inside the data directory"));
  }
  return absl::OkStatus();
}

absl::Status Copy(rocksdb::DB* db, const std::string& to) {
  // First of all: no moment at which this could be taken for the original.
  if (absl::Status bad = SetOrigin(to, Origin::kRestored); !bad.ok()) return bad;
  rocksdb::Checkpoint* made = nullptr;
  auto status = rocksdb::Checkpoint::Create(db, &made);
  const std::unique_ptr<rocksdb::Checkpoint> checkpoint(made);
  if (status.ok()) status = checkpoint->CreateCheckpoint(to + "/db");
  if (!status.ok()) return absl::UnavailableError(absl::StrCat("backup ", to, ": ", status.ToString()));
  if (absl::Status bad = SyncTree(to); !bad.ok()) return bad;
  return WriteFormat(to);
}

}  // namespace

absl::StatusOr<uint64_t> BackUp(rocksdb::DB* db, const std::string& data, const std::string& to) {
  fs::path target = fs::absolute(to).lexically_normal();
  if (!target.has_filename()) target = target.parent_path();
  const std::string unfinished = target.string() + ".tmp";
  if (absl::Status bad = CheckTarget(fs::absolute(data), target, unfinished); !bad.ok()) return bad;
  if (::mkdir(unfinished.c_str(), 0700) != 0) {
    return absl::UnavailableError(absl::StrCat("cannot create ", unfinished, ": ", std::strerror(errno)));
  }
  absl::Status status = Copy(db, unfinished);
  auto bytes = BytesIn(unfinished);
  if (status.ok() && !bytes.ok()) status = bytes.status();
  if (status.ok() &&
      ::renameat2(AT_FDCWD, unfinished.c_str(), AT_FDCWD, target.c_str(), RENAME_NOREPLACE) != 0) {
    status = errno == EEXIST
                 ? absl::FailedPreconditionError(absl::StrCat(target.string(), " exists already"))
                 : absl::UnavailableError(absl::StrCat("cannot rename ", unfinished, " to ", target.string(),
                                                       ": ", std::strerror(errno)));
  }
  if (!status.ok()) {
    std::error_code ignored;
    fs::remove_all(unfinished, ignored);
    return status;
  }
  if (absl::Status bad = SyncDirectory(target.parent_path()); !bad.ok()) return bad;
  return *bytes;
}

}  // namespace joinq::storage
