#include "server/storage/data_directory.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string_view>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace joinq::storage {
namespace {

namespace fs = std::filesystem;

constexpr char kFormatFile[] = "JOINQ_FORMAT";
constexpr char kOriginFile[] = "JOINQ_ORIGIN";
constexpr int kFormat = 1;

absl::Status Failed(const char* what, const std::string& path, const std::string& why) {
  return absl::UnavailableError(absl::StrCat(what, " ", path, ": ", why));
}

// Opens, syncs and closes a file or directory.
absl::Status SyncPath(const std::string& path, int flags) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | flags);
  if (fd < 0) return Failed("cannot sync", path, std::strerror(errno));
  const int failed = ::fsync(fd);
  const int error = errno;
  ::close(fd);
  return failed == 0 ? absl::OkStatus() : Failed("cannot sync", path, std::strerror(error));
}

// The file appears whole or not at all.
absl::Status WriteWhole(const fs::path& path, std::string_view text) {
  const std::string fresh = path.string() + ".new";
  {
    std::ofstream out(fresh, std::ios::trunc);
    out << text;
    out.flush();
    if (!out) return Failed("cannot write", fresh, std::strerror(errno));
  }
  if (absl::Status bad = SyncPath(fresh, 0); !bad.ok()) return bad;
  std::error_code error;
  fs::rename(fresh, path, error);
  if (error) return Failed("cannot write", path, error.message());
  return SyncDirectory(path.parent_path());
}

absl::Status MakePrivate(const std::string& directory) {
  std::error_code error;
  fs::create_directories(fs::absolute(directory).parent_path(), error);
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    return Failed("cannot create data directory", directory, std::strerror(errno));
  }
  if (!fs::is_directory(directory, error)) {
    return absl::FailedPreconditionError(absl::StrCat(directory, " is not a directory"));
  }
  return absl::OkStatus();
}

// The engine locks this file for as long as a process has the directory open.
bool InUse(const std::string& directory) {
  const int fd = ::open((directory + "/db/LOCK").c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return false;
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  const bool held = ::fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
  ::close(fd);
  return held;
}

}  // namespace

absl::Status CheckFormat(const std::string& directory) {
  std::ifstream in(fs::path(directory) / kFormatFile);
  if (!in) return absl::NotFoundError(absl::StrCat(directory, " is not a joinq data directory"));
  int format = 0;
  in >> format;
  if (format == kFormat) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("data directory ", directory, " has format ",
                   in.fail() ? std::string("unknown") : std::to_string(format),
                   "; this version reads and writes format ", kFormat));
}

absl::Status WriteFormat(const std::string& directory) {
  return WriteWhole(fs::path(directory) / kFormatFile, absl::StrCat(kFormat, "\n"));
}

absl::Status PrepareDataDirectory(const std::string& directory) {
  if (absl::Status bad = MakePrivate(directory); !bad.ok()) return bad;
  absl::Status format = CheckFormat(directory);
  if (format.code() != absl::StatusCode::kNotFound) return format;
  if (fs::exists(fs::path(directory) / kOriginFile)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "data directory ", directory, " is left by a restore that did not end; repeat --restore"));
  }
  std::error_code error;
  if (!fs::is_empty(directory, error) || error) {
    return absl::FailedPreconditionError(
        absl::StrCat("directory ", directory,
                     error ? " cannot be read: " + error.message()
                           : std::string(" is neither empty nor a joinq data directory")));
  }
  return WriteFormat(directory);
}

absl::Status SetOrigin(const std::string& directory, Origin origin) {
  const fs::path path = fs::path(directory) / kOriginFile;
  if (origin != Origin::kContinued) {
    return WriteWhole(path, origin == Origin::kRestored ? "restored\n" : "repaired\n");
  }
  std::error_code error;
  fs::remove(path, error);
  if (error) return Failed("cannot remove", path, error.message());
  return SyncDirectory(directory);
}

absl::StatusOr<Origin> GetOrigin(const std::string& directory) {
  const fs::path path = fs::path(directory) / kOriginFile;
  std::ifstream in(path);
  if (!in && errno == ENOENT) return Origin::kContinued;
  std::string word;
  in >> word;
  if (word == "restored") return Origin::kRestored;
  if (word == "repaired") return Origin::kRepaired;
  return absl::FailedPreconditionError(absl::StrCat(path.string(), " cannot be understood"));
}

absl::Status SyncDirectory(const std::string& directory) {
  return SyncPath(directory, O_DIRECTORY);
}

absl::Status SyncTree(const std::string& directory) {
  std::error_code error;
  for (fs::recursive_directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    if (absl::Status bad = SyncPath(it->path(), 0); !bad.ok()) return bad;
  }
  if (error) return Failed("cannot read", directory, error.message());
  return SyncDirectory(directory);
}

absl::StatusOr<uint64_t> BytesIn(const std::string& directory) {
  std::error_code error;
  uint64_t bytes = 0;
  for (fs::recursive_directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    std::error_code gone;  // files come and go
    if (it->is_regular_file(gone)) {
      const uint64_t size = it->file_size(gone);
      if (!gone) bytes += size;
    }
  }
  if (error) return Failed("cannot read", directory, error.message());
  return bytes;
}

absl::Status CheckBelow(const std::string& path, const std::string& root) {
  std::error_code error;
  const fs::path real_root = fs::canonical(root, error);
  if (error) return Failed("cannot use backup directory", root, error.message());
  fs::path real = fs::weakly_canonical(path, error);
  if (!real.has_filename()) real = real.parent_path();
  const auto [end, below] = std::mismatch(real_root.begin(), real_root.end(), real.begin(), real.end());
  if (!error && end == real_root.end() && below != real.end()) return absl::OkStatus();
  return absl::PermissionDeniedError(absl::StrCat(
      path, " is not below ", root, ", where this broker's backups may go (joinqd --backup-dir)"));
}

absl::Status RestoreBackup(const std::string& backup, const std::string& directory) {
  if (absl::Status bad = CheckFormat(backup); !bad.ok()) {
    return absl::FailedPreconditionError(absl::StrCat("--restore: ", bad.message()));
  }
  if (InUse(backup)) {
    return absl::FailedPreconditionError(
        absl::StrCat("--restore: ", backup, " is in use by a broker; restore from a backup of it"));
  }
  if (absl::Status bad = MakePrivate(directory); !bad.ok()) return bad;
  std::error_code error;
  const bool interrupted = fs::exists(fs::path(directory) / kOriginFile) &&
                           CheckFormat(directory).code() == absl::StatusCode::kNotFound;
  if (!interrupted && !fs::is_empty(directory, error)) {
    return absl::FailedPreconditionError(
        absl::StrCat("--restore: data directory ", directory, " is not empty; give a new one"));
  }
  // From here until the format is written, nobody but another restore will touch it.
  if (absl::Status bad = SetOrigin(directory, Origin::kRestored); !bad.ok()) return bad;
  const fs::path to = fs::path(directory) / "db";
  fs::remove_all(to, error);
  if (error || ::mkdir(to.c_str(), 0700) != 0) return Failed("cannot create", to, std::strerror(errno));
  for (fs::directory_iterator it(fs::path(backup) / "db", error), end; !error && it != end;
       it.increment(error)) {
    if (!it->is_regular_file(error) || it->path().filename() == "LOCK") continue;
    fs::copy_file(it->path(), to / it->path().filename(), error);
    if (error) return Failed("cannot copy", it->path(), error.message());
  }
  if (error) return Failed("cannot read", backup, error.message());
  if (absl::Status bad = SyncTree(directory); !bad.ok()) return bad;
  if (absl::Status bad = WriteFormat(directory); !bad.ok()) return bad;
  return SyncDirectory(fs::absolute(directory).parent_path());
}

}  // namespace joinq::storage
