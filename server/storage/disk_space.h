// How full the file system of the data directory is, in three levels. A full disk
// stops a broker in the middle of a commit; the levels let it refuse what would
// fill it, long before, and keep room for what empties it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "server/core/types.h"

namespace joinq::storage {

using core::DiskLevel;
const char* NameOf(DiskLevel level);  // "ok", "low", "critical"

// What the operator asked for, in bytes; 0 turns a mark off. Unset: low is the
// lesser of a tenth of the file system and 1 GiB, critical of a fortieth and 256 MiB.
struct DiskLimits {
  std::optional<uint64_t> low, critical;
};

// Free bytes below which a level begins; 0: never. Critical is at most low, unless that is off.
struct DiskMarks {
  uint64_t low = 0, critical = 0;
};
DiskMarks MarksFor(const DiskLimits& limits, uint64_t total_bytes);

// The level after `before`, with `free_bytes` left. A level once reached is left
// only when more than 1.25 times its mark is free, so that it does not flutter.
DiskLevel LevelOf(DiskLevel before, uint64_t free_bytes, const DiskMarks& marks);

struct DiskSpace {
  uint64_t free_bytes = 0;  // for this user
  uint64_t total_bytes = 0;
};
// Of the file system that holds `path`. May block on a bad disk: not for the core thread.
absl::StatusOr<DiskSpace> AskDiskSpace(const std::string& path);

// Looks when it is told to, about once a second, and tells of changes.
class DiskWatch {
 public:
  struct State {
    DiskLevel level = DiskLevel::kOk;
    uint64_t free_bytes = 0;
  };
  using Ask = std::function<absl::StatusOr<DiskSpace>()>;

  // `on_change` is called by Check when the level has changed; it begins as kOk.
  DiskWatch(const DiskLimits& limits, Ask ask, std::function<void(DiskLevel)> on_change)
      : limits_(limits), ask_(std::move(ask)), on_change_(std::move(on_change)) {}

  // One thread. If asking fails, the level stays and that is logged once.
  void Check();
  // Any thread: what the last Check found.
  State state() const { return {level_.load(), free_bytes_.load()}; }

 private:
  const DiskLimits limits_;
  const Ask ask_;
  const std::function<void(DiskLevel)> on_change_;
  bool failing_ = false;
  std::atomic<DiskLevel> level_{DiskLevel::kOk};
  std::atomic<uint64_t> free_bytes_{0};
};

}  // namespace joinq::storage
