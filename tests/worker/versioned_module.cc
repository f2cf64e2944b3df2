// A module that is built twice, as version 1 and 2, to be loaded anew.
#include <unistd.h>

#include "joinq/worker.h"

JOINQ_TASK(version, [] { return VERSION; });
#if VERSION == 1
JOINQ_TASK(only_before, [] {});
#else
JOINQ_TASK(only_after, [] {});
#endif
