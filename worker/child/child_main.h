// What a child does all its life: read task frames, run their handlers, send
// the results. Single-threaded; a handler may start threads of its own.
//
// Results are gathered and sent when the input is exhausted, when 32 KiB are
// there or when the first has waited for 200 us. Gathered ones lie in the
// status page, where the daemon finds them should the next handler take long or
// kill the process.
#pragma once

#include <string>
#include <vector>

#include "worker/child/registry.h"
#include "worker/limits.h"
#include "worker/process/status_page.h"

namespace joinq {

struct ChildSettings {
  std::vector<std::string> queues;  // by their index in task frames
  TimeLimits time_limits;
  ChildLimits limits;  // set for this process already
};

// Serves `channel` until the daemon closes it; returns the exit status.
// `output`: the pipe its output goes to, to be marked (see output_splitter.h), or -1.
int RunChild(int channel, int output, StatusPage& page, const Registry& registry,
             const ChildSettings& settings);

}  // namespace joinq
