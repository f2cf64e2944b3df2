#pragma once

namespace joinq {

// Threads of this process, from /proc/self/task; 0 if that cannot be read.
int CountThreads();

}  // namespace joinq
