// The broker process: its parts, started in order and stopped in the reverse.
#pragma once

#include "server/config.h"

namespace joinq {

// Serves until a signal asks to stop. Returns the exit status: 0 after a clean
// stop, 1 after an error, which was printed as one line.
int RunBroker(const ServerConfig& config);

}  // namespace joinq
