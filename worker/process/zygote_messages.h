// What daemon and zygote say to each other over their SOCK_SEQPACKET pair; a
// packet is one struct. Both ends are the same program, forked.
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace joinq {

struct ZygoteRequest {
  enum Type : uint32_t {
    kSpawn = 1,   // fork a child for slot `child`; for one task if `signal` is 1
    kKill = 2,    // `signal` to the group of `pid`, if that child was not reaped yet
    kSignal = 3,  // `signal` to the process `pid` alone, likewise
    kName = 4,    // task frames say `child` for its handler `signal`
  };
  Type type = kSpawn;
  uint32_t child = 0;
  pid_t pid = 0;
  int32_t signal = 0;
};

struct ZygoteReport {
  enum Type : uint32_t {
    kHandler = 1,      // `text` is the name of the next handler
    kReady = 2,        // all handlers were named; requests are served
    kFailed = 3,       // `text` says why the zygote does not serve; it exits
    kSpawned = 4,      // `child` runs as `pid`; carries channel, status page, pidfd and perhaps output
    kSpawnFailed = 5,  // `text` says why
    kExited = 6,       // `pid` ended and was reaped; the rest of its group was killed
    kLoading = 7,      // `text` is what is being loaded now: to be named should that kill the zygote
  };
  Type type = kReady;
  uint32_t child = 0;
  pid_t pid = 0;
  int32_t wait_status = 0;
  uint64_t max_rss_kib = 0;
  uint64_t user_ms = 0;  // CPU time of its life
  uint64_t system_ms = 0;
  char text[1024] = {};  // NUL-terminated
};

}  // namespace joinq
