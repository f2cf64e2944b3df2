#include "worker/process/child_limits.h"

#include <sys/resource.h>
#include <time.h>

#include <cerrno>

namespace joinq {
namespace {

constexpr rlim_t kCpuGraceSeconds = 2;

absl::Status Set(decltype(RLIMIT_CPU) resource, const char* name, rlim_t soft, rlim_t hard) {
  rlimit now{};
  if (getrlimit(resource, &now) != 0) return absl::ErrnoToStatus(errno, name);
  // What was inherited may be less already.
  const rlimit wanted{std::min(soft, now.rlim_max), std::min(hard, now.rlim_max)};
  return setrlimit(resource, &wanted) == 0 ? absl::OkStatus() : absl::ErrnoToStatus(errno, name);
}

}  // namespace

absl::Status ApplyChildLimits(const ChildLimits& limits) {
  absl::Status status;
  if (limits.memory_bytes > 0 && limits.memory_keeper != MemoryKeeper::kCgroup)
    status.Update(Set(RLIMIT_DATA, "RLIMIT_DATA", limits.memory_bytes, limits.memory_bytes));
  if (limits.cpu_seconds > 0)
    status.Update(Set(RLIMIT_CPU, "RLIMIT_CPU", limits.cpu_seconds, limits.cpu_seconds + kCpuGraceSeconds));
  if (limits.open_files > 0)
    status.Update(Set(RLIMIT_NOFILE, "RLIMIT_NOFILE", limits.open_files, limits.open_files));
  return status;
}

uint64_t CpuTimeMs() {
  timespec used;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return static_cast<uint64_t>(used.tv_sec) * 1000 + static_cast<uint64_t>(used.tv_nsec) / 1'000'000;
}

}  // namespace joinq
