// What a child died of, told for people.
#pragma once

#include <signal.h>
#include <sys/types.h>
#include <sys/wait.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "worker/limits.h"

namespace joinq {

// As the zygote reports it.
struct ChildEnd {
  pid_t pid = 0;
  int wait_status = 0;
  uint64_t max_rss_kib = 0;
  uint64_t user_ms = 0;  // of its whole life, the programs it waited for included
  uint64_t system_ms = 0;
  bool over_memory = false;  // the kernel has killed in its cgroup for want of memory
  bool killed() const { return WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGKILL; }
};

enum class DeathCause { kCrash, kOutOfMemory, kCpuLimit };

struct DeathReport {
  DeathCause cause = DeathCause::kCrash;
  std::string message;  // one line
  std::string detail;   // signal, core, memory and CPU time; then the end of its output
};

// The death of a child that nobody asked for. `output` is the end of what the
// task wrote; `kernel_ran_out` says that the kernel has killed for want of
// memory since the last such death.
DeathReport DescribeDeath(const ChildEnd& end, const ChildLimits& limits, std::string_view output,
                          bool kernel_ran_out);

// "peak memory 12 MiB, CPU time 0.1 s user and 0 s system"
std::string DescribeUse(const ChildEnd& end);

// "died of SIGSEGV (Segmentation fault)" or "exited with status 3"
std::string DescribeStatus(int wait_status);

// "SIGSEGV (Segmentation fault)"
std::string SignalName(int number);

// How many processes of this machine the kernel has killed for want of memory; 0 if it does not say.
uint64_t OomKills();

}  // namespace joinq
