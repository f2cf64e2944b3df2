#include "server/storage/ballast.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "spdlog/spdlog.h"

namespace joinq::storage {
namespace {

constexpr char kBallastFile[] = "/JOINQ_BALLAST";
constexpr uint64_t kWorkingRoomMin = 1 << 20, kWorkingRoomMax = 96 << 20;

}  // namespace

uint64_t WorkingRoom(uint64_t total_bytes) {
  return std::clamp(total_bytes / 16, kWorkingRoomMin, kWorkingRoomMax);
}

Ballast::Ballast(const std::string& directory, uint64_t bytes)
    : path_(directory + kBallastFile), bytes_(bytes), possible_(bytes > 0) {
  struct stat info {};
  // One that is not whole is made anew: a start may have been cut off before it was.
  const bool there = ::stat(path_.c_str(), &info) == 0;
  held_ = there && static_cast<uint64_t>(info.st_blocks) * 512 >= bytes_;
  if (there && !held_) ::unlink(path_.c_str());
}

bool Ballast::Release() {
  if (!held_) return false;
  if (::unlink(path_.c_str()) != 0 && errno != ENOENT) {
    spdlog::warn("cannot remove {}: {}", path_, std::strerror(errno));
    return false;
  }
  held_ = false;
  spdlog::warn("disk: let go of {} MiB of ballast", bytes_ >> 20);
  return true;
}

bool Ballast::TakeUp() {
  if (held_ || !possible_) return false;
  const int file = ::open(path_.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
  int error = file < 0 ? errno : 0;
  if (file >= 0) {
    // Not posix_fallocate: where this is unknown, it would write instead.
    if (::fallocate(file, 0, 0, static_cast<off_t>(bytes_)) != 0) error = errno;
    ::close(file);
  }
  if (error == 0) {
    held_ = true;
    return true;
  }
  ::unlink(path_.c_str());
  if (error == ENOSPC || error == EDQUOT) return false;
  spdlog::warn("disk: no ballast: cannot reserve {}: {}", path_, std::strerror(error));
  possible_ = false;
  return false;
}

}  // namespace joinq::storage
