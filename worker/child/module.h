// Loading of handler modules (shared objects that use joinq/worker.h).
#pragma once

#include <string>

#include "absl/status/status.h"

namespace joinq {

// Loads `path` into this process for good; its static initializers register its
// handlers. Refuses, naming why: a file that does not load, one that registers
// no handler or a bad or taken name, one that starts threads (a process with
// threads cannot be forked safely). After an error the process must not go on.
absl::Status LoadModule(const std::string& path);

}  // namespace joinq
