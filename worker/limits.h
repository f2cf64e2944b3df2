// What a task and a child may use, as the operator set it. 0 is "no limit" throughout.
#pragma once

#include <signal.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace joinq {

// How long one task may run. The soft limit asks (a flag and SIGUSR1), the hard one ends.
struct TimeLimit {
  uint32_t soft_ms = 0;
  uint32_t hard_ms = 0;
  // The shorter of those that are set, or 0.
  uint32_t first_ms() const {
    if (soft_ms == 0 || hard_ms == 0) return std::max(soft_ms, hard_ms);
    return std::min(soft_ms, hard_ms);
  }
  // The shorter limit of each kind.
  TimeLimit Tightened(TimeLimit other) const {
    auto shorter = [](uint32_t a, uint32_t b) { return a == 0 || b == 0 ? std::max(a, b) : std::min(a, b); };
    return {shorter(soft_ms, other.soft_ms), shorter(hard_ms, other.hard_ms)};
  }
};

struct TimeLimits {
  TimeLimit others;                           // of handlers that are not named
  std::map<std::string, TimeLimit> handlers;  // complete: what a name does not set is filled in from `others`
  TimeLimit Of(const std::string& handler) const {
    const auto it = handlers.find(handler);
    return it == handlers.end() ? others : it->second;
  }
};

// Asks a task to end in order: its soft time limit is past, or nobody wants it any more.
inline constexpr int kAskSignal = SIGUSR1;

// Where the output of children goes: to the log (kept by task as well), nowhere
// but the store of the last bytes of each task, or where the worker's own goes.
enum class TaskOutput : uint8_t { kLog, kDiscard, kInherit };

// Who keeps the memory of children within its limit. The kernel's cgroups bound what a child and
// its descendants really use, RLIMIT_DATA what each of them may write to.
enum class MemoryKeeper : uint8_t { kCgroupOrRlimit, kRlimit, kCgroup };

// What one child may use in its life.
struct ChildLimits {
  uint64_t memory_bytes = 0;  // 0: no limit
  MemoryKeeper memory_keeper = MemoryKeeper::kCgroupOrRlimit;
  uint32_t cpu_seconds = 0;  // RLIMIT_CPU
  uint32_t open_files = 0;   // RLIMIT_NOFILE
  uint32_t tasks = 0;        // then it is replaced
};

}  // namespace joinq
