#include "server/storage/disk_space.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"

namespace joinq::storage {

const char* NameOf(DiskLevel level) {
  switch (level) {
    case DiskLevel::kOk:
      return "ok";
    case DiskLevel::kLow:
      return "low";
    case DiskLevel::kCritical:
      return "critical";
  }
  return "";
}

DiskMarks MarksFor(const DiskLimits& limits, uint64_t total_bytes) {
  DiskMarks marks;
  marks.low = limits.low.value_or(std::min<uint64_t>(total_bytes / 10, 1 << 30));
  marks.critical = limits.critical.value_or(std::min<uint64_t>(total_bytes / 40, 256 << 20));
  if (marks.low != 0) marks.critical = std::min(marks.critical, marks.low);
  return marks;
}

DiskLevel LevelOf(DiskLevel before, uint64_t free_bytes, const DiskMarks& marks) {
  auto below = [&](DiskLevel level, uint64_t mark) {
    if (mark == 0) return false;
    return free_bytes < mark || (before >= level && free_bytes <= mark + mark / 4);
  };
  if (below(DiskLevel::kCritical, marks.critical)) return DiskLevel::kCritical;
  if (below(DiskLevel::kLow, marks.low)) return DiskLevel::kLow;
  return DiskLevel::kOk;
}

absl::StatusOr<DiskSpace> AskDiskSpace(const std::string& path) {
  struct statvfs info {};
  if (::statvfs(path.c_str(), &info) != 0) return absl::ErrnoToStatus(errno, absl::StrCat("statvfs ", path));
  return DiskSpace{uint64_t{info.f_bavail} * info.f_frsize, uint64_t{info.f_blocks} * info.f_frsize};
}

void DiskWatch::Check() {
  const auto space = ask_();
  if (!space.ok()) {
    if (!failing_)
      spdlog::warn("cannot tell how full the disk is: {}", std::string(space.status().message()));
    failing_ = true;
    return;
  }
  failing_ = false;
  free_bytes_ = space->free_bytes;
  const DiskLevel before = level_;
  const DiskLevel now = LevelOf(before, space->free_bytes, MarksFor(limits_, space->total_bytes));
  if (now == before) return;
  level_ = now;
  on_change_(now);
}

}  // namespace joinq::storage
