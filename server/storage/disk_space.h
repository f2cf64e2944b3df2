// How full the file system of the data directory is, in three levels. A full disk
// stops a broker in the middle of a commit; the levels let it refuse what would
// fill it, long before, and keep room for what empties it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "server/core/types.h"
#include "server/storage/ballast.h"

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

// Looks when it is told to, about once a second, and in between when much is
// written; tells of changes. When it finds the disk critical it lets the ballast go,
// and takes it up again when there is room for it besides the marks.
class DiskWatch {
 public:
  struct State {
    DiskLevel level = DiskLevel::kOk;
    uint64_t free_bytes = 0;
  };
  using Ask = std::function<absl::StatusOr<DiskSpace>()>;

  // `on_change` is called when the level has changed, by whoever looked; it begins as
  // kOk. `ballast` may be null.
  DiskWatch(const DiskLimits& limits, Ask ask, std::function<void(DiskLevel)> on_change,
            Ballast* ballast = nullptr)
      : limits_(limits), ask_(std::move(ask)), on_change_(std::move(on_change)), ballast_(ballast) {}

  // Any thread. If asking fails, the level stays and that is logged once.
  void Check();
  // The writing thread, before it writes so many bytes: looks as soon as what was
  // written since the last look is a share of the room there was, so that the level
  // rises before the disk is full however fast it fills.
  void Writing(uint64_t bytes);
  // Nothing is told any more.
  void Stop();
  // Any thread: what the last Check found.
  State state() const { return {level_.load(), free_bytes_.load()}; }

 private:
  void Look(uint64_t to_be_written);  // with mutex_
  void MindBallast(const DiskMarks& marks);

  const DiskLimits limits_;
  const Ask ask_;
  const std::function<void(DiskLevel)> on_change_;
  Ballast* const ballast_;
  // The timer's thread and the writing one look.
  std::mutex mutex_;
  bool failing_ = false;  // guarded by mutex_
  bool stopped_ = false;  // guarded by mutex_
  std::atomic<uint64_t> written_since_{0};
  std::atomic<DiskLevel> level_{DiskLevel::kOk};
  std::atomic<uint64_t> free_bytes_{0};
};

}  // namespace joinq::storage
