// A child that runs several tasks at once: coroutines on one Asio loop, each in a lane of
// its own. Plain handlers run there as well, each to its end at once.
#pragma once

#include "worker/child/task_call.h"
#include "worker/process/zygote.h"

namespace joinq {

// As RunChild, with that many lanes (1 to kLanesMax).
int RunLanes(const ChildPlace& place, ChildWork& work, uint32_t lanes, size_t payload_bytes_in_frame);

}  // namespace joinq
