// The limits the kernel keeps for a child and everything it starts.
//
// Memory, unless a cgroup keeps it (see cgroup.h), is RLIMIT_DATA: private writable memory (heap, anonymous
// mappings, thread stacks). RLIMIT_AS would count addresses instead, so programs that reserve much and use
// little (sanitizers, Go, Java, the arenas of glibc) would fail far below the limit. Past it an allocation
// fails: std::bad_alloc in C++.
#pragma once

#include "absl/status/status.h"
#include "worker/limits.h"

namespace joinq {

// Sets them for this process; they are inherited. CPU time counts from the
// process's start: SIGXCPU at the limit, SIGKILL two seconds later.
// Memory is left out if the limits say that cgroups keep it.
absl::Status ApplyChildLimits(const ChildLimits& limits);

// CPU time this process has used, in milliseconds.
uint64_t CpuTimeMs();

}  // namespace joinq
