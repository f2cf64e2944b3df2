// A module that does what the worker must refuse: it starts a thread when loaded.
#include <unistd.h>

#include <thread>

#include "joinq/worker.h"

JOINQ_TASK(never, [] {});
static std::thread* const started = new std::thread([] { pause(); });
