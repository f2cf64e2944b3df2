#pragma once

#include "worker/process/unique_fd.h"
#include "worker/process/zygote.h"

namespace joinq {

// The keeper's life, in its process: serves `control` until that closes; returns the exit status.
int ServeKeeper(UniqueFd control, const ZygoteProgram& program);

}  // namespace joinq
