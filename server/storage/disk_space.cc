#include "server/storage/disk_space.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"

namespace joinq::storage {
namespace {

// So much of the room that the last look found may be written before the next one.
constexpr uint64_t kLooksARoom = 64;

}  // namespace

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
  std::lock_guard lock(mutex_);
  Look(0);
}

void DiskWatch::Writing(uint64_t bytes) {
  if ((written_since_ += bytes) <= free_bytes_ / kLooksARoom) return;
  std::lock_guard lock(mutex_);
  Look(bytes);
}

void DiskWatch::Stop() {
  std::lock_guard lock(mutex_);
  stopped_ = true;
}

void DiskWatch::Look(uint64_t to_be_written) {
  const DiskLevel before = level_;
  DiskLevel now = before;
  for (bool again = true; again;) {
    const auto space = ask_();
    if (!space.ok()) {
      if (!failing_)
        spdlog::warn("cannot tell how full the disk is: {}", std::string(space.status().message()));
      failing_ = true;
      return;
    }
    failing_ = false;
    free_bytes_ = space->free_bytes;
    written_since_ = 0;
    const DiskMarks marks = MarksFor(limits_, space->total_bytes);
    now = LevelOf(now, space->free_bytes - std::min(space->free_bytes, to_be_written), marks);
    again = now == DiskLevel::kCritical && ballast_ != nullptr && ballast_->Release();
    if (now == DiskLevel::kOk && to_be_written == 0) MindBallast(marks);
  }
  if (now == before || stopped_) return;
  level_ = now;
  on_change_(now);
}

// Taking it up must not raise the level.
void DiskWatch::MindBallast(const DiskMarks& marks) {
  if (ballast_ == nullptr || ballast_->held()) return;
  if (free_bytes_ <= marks.low + marks.low / 4 + 2 * ballast_->bytes()) return;
  if (ballast_->TakeUp()) free_bytes_ -= ballast_->bytes();
}

}  // namespace joinq::storage
