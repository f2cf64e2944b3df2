#include "worker/process/death.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace joinq {
namespace {

DeathReport OfSignal(const ChildEnd& end, const ChildLimits& limits, std::string_view output,
                     bool kernel_ran_out) {
  const int number = WTERMSIG(end.wait_status);
  DeathReport report;
  report.message = absl::StrCat("child ", end.pid, " died: signal ", number, ", ", SignalName(number));
  if (number == SIGKILL && end.over_memory) {
    report.cause = DeathCause::kOutOfMemory;
    absl::StrAppend(&report.message, ": out of memory, it and all it started may have ",
                    limits.memory_bytes >> 20, " MiB (--max-memory-per-child)");
  } else if (number == SIGXCPU || (number == SIGKILL && limits.cpu_seconds > 0 &&
                                   end.user_ms + end.system_ms >= limits.cpu_seconds * 1000ull)) {
    report.cause = DeathCause::kCpuLimit;
    if (limits.cpu_seconds > 0)
      absl::StrAppend(&report.message, ": past its CPU time of ", limits.cpu_seconds,
                      " s (--max-cpu-per-child)");
  } else if (number == SIGKILL && kernel_ran_out) {
    report.cause = DeathCause::kOutOfMemory;
    absl::StrAppend(&report.message, ": the kernel ran out of memory, it seems");
  } else if (number == SIGKILL) {
    absl::StrAppend(&report.message, ", not sent by the worker");
  } else if (output.find("std::bad_alloc") != output.npos) {
    report.cause = DeathCause::kOutOfMemory;
    absl::StrAppend(&report.message, ": out of memory");
    if (limits.memory_bytes > 0)
      absl::StrAppend(&report.message, ", a child may have ", limits.memory_bytes >> 20,
                      " MiB (--max-memory-per-child)");
  }
  return report;
}

}  // namespace

DeathReport DescribeDeath(const ChildEnd& end, const ChildLimits& limits, std::string_view output,
                          bool kernel_ran_out) {
  DeathReport report;
  if (WIFSIGNALED(end.wait_status)) {
    report = OfSignal(end, limits, output, kernel_ran_out);
    report.detail = WCOREDUMP(end.wait_status) ? "core dumped; " : "no core dumped; ";
  } else {
    report.message = absl::StrCat("child ", end.pid, " died: exit status ", WEXITSTATUS(end.wait_status),
                                  " in the middle of a task");
  }
  absl::StrAppend(&report.detail, DescribeUse(end));
  return report;
}

std::string DescribeUse(const ChildEnd& end) {
  return absl::StrFormat("peak memory %.1f MiB, CPU time %.3g s user and %.3g s system",
                         static_cast<double>(end.max_rss_kib) / 1024, static_cast<double>(end.user_ms) / 1000,
                         static_cast<double>(end.system_ms) / 1000);
}

std::string DescribeStatus(int wait_status) {
  return WIFSIGNALED(wait_status) ? absl::StrCat("died of ", SignalName(WTERMSIG(wait_status)))
                                  : absl::StrCat("exited with status ", WEXITSTATUS(wait_status));
}

std::string SignalName(int number) {
  const char* name = sigabbrev_np(number);
  const char* description = sigdescr_np(number);
  if (name == nullptr || description == nullptr) return absl::StrCat("signal ", number);
  return absl::StrCat("SIG", name, " (", description, ")");
}

uint64_t OomKills() {
  std::ifstream file("/proc/vmstat");
  std::string name;
  for (uint64_t value; file >> name >> value;) {
    if (name == "oom_kill") return value;
  }
  return 0;
}

}  // namespace joinq
