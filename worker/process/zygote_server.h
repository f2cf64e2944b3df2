// The zygote's own side: see zygote.h.
#pragma once

#include "worker/process/zygote.h"

namespace joinq {

// Runs in the freshly forked zygote until the daemon closes `control`; returns its exit status.
int ServeZygote(UniqueFd control, const ZygoteProgram& program);

}  // namespace joinq
