// Payloads that are on disk only, for answers that show them.
#pragma once

#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "joinq/v1/task.pb.h"
#include "server/core/types.h"
#include "server/rpc/core_loop.h"

namespace joinq::rpc {

// Reads the payloads of these tasks, parts of the response to `caller`, and answers
// then; OK at once if there are none. A task that ended meanwhile stays without. If any
// other cannot be had, the answer is an error that names it: DATA_LOSS if it is missing
// or damaged, UNAVAILABLE if the disk failed to read it this time.
std::optional<absl::Status> FillEvicted(CoreLoop* loop, core::CallerId caller,
                                        std::vector<v1::TaskInfo*> tasks);

}  // namespace joinq::rpc
