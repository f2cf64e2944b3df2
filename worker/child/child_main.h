// What a child does all its life: read task frames, run their handlers, send
// the results. Single-threaded; a handler may start threads of its own. See lanes.h for
// children that run several tasks at once.
//
// Results are gathered and sent when the input is exhausted, when 32 KiB are
// there or when the first has waited for 200 us. Gathered ones lie in the
// status page, where the daemon finds them should the next handler take long or
// kill the process.
#pragma once

#include <string>
#include <vector>

#include "worker/child/frames.h"
#include "worker/child/registry.h"
#include "worker/limits.h"
#include "worker/process/zygote.h"

namespace joinq {

struct ChildSettings {
  std::vector<std::string> queues;                       // by their index in task frames
  ChildLimits limits;                                    // set for this process already
  uint32_t lanes = 1;                                    // tasks at once
  size_t payload_bytes_in_frame = kPayloadBytesInFrame;  // of a result; larger ones in shared memory
};

// Runs the initializers, then serves the channel until the daemon closes it; returns the exit
// status. A child made for a single task ends after it: 0 if it succeeded, 1 if it failed.
int RunChild(const ChildPlace& place, const Registry& registry, const ChildSettings& settings);

}  // namespace joinq
