// A module whose children die as soon as they are forked.
#include <pthread.h>
#include <unistd.h>

#include "joinq/worker.h"

JOINQ_TASK(never, [] {});
[[maybe_unused]] static const int registered = pthread_atfork(nullptr, nullptr, [] { _exit(9); });
