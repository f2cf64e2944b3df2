#pragma once

#include <sys/types.h>

#include <functional>
#include <vector>

namespace joinq {

// The children of this process, those it has adopted and zombies included.
std::vector<pid_t> Offspring();

// Kills and reaps every child that `spare` does not ask to spare, and what these leave
// behind, as far as it falls to this process (PR_SET_CHILD_SUBREAPER); returns when
// none is left, or after two seconds (one that is stuck in the kernel cannot be waited for).
void EndOffspring(const std::function<bool(pid_t)>& spare);

}  // namespace joinq
