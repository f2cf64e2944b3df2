// A module that dies while it is loaded.
#include <signal.h>

#include "joinq/worker.h"

JOINQ_TASK(never, [] {});
[[maybe_unused]] static const int raised = raise(SIGABRT);
