#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include "worker/process/unique_fd.h"

namespace joinq {

// A descriptor of process `pid` that becomes readable when it ends; close-on-exec.
// (glibc 2.36's own header cannot be linked from C++.)
inline UniqueFd OpenPidfd(pid_t pid) {
  return UniqueFd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
}

}  // namespace joinq
