// What a broker may take, and how long it waits for others.
#pragma once

#include <cstdint>

#include "server/core/types.h"

namespace joinq::core {

struct Limits {
  uint32_t max_payload_bytes = 1 << 20;
  uint64_t memory_bytes = 4ull << 30;  // task records and payloads in memory; puts beyond it are refused
  uint64_t memory_budget_bytes = 1ull << 30;  // payloads in memory; those beyond it are in their rows only
  Millis worker_timeout{15'000};              // silence after which a session is dead
  Millis worker_grace{3'000};                 // for reconnecting after its stream broke
  Millis restart_grace{10'000};               // the same, after a restart of the broker
  Millis mark_after{1'000};                   // age at which a lease is marked on disk
  Millis producer_grace{600'000};             // how long a producer's tags are kept without a stream
  Millis request_window{600'000};             // how long a request id is remembered
  uint32_t queues_max = 100'000;
  uint32_t parked_calls_max = 100'000;       // in total
  uint32_t producer_tags_max = 1 << 20;      // unacknowledged puts of one producer
  uint32_t producers_detached_max = 10'000;  // without a stream; the oldest go first
  uint32_t keys_max = 1 << 20;      // unique keys and request ids; puts with one beyond it are refused
  uint32_t sweep_per_round = 8192;  // tasks that a purge or the like goes through in one round
  uint64_t journal_bytes_min = 64ull << 20;  // a journal below this is left alone
};

}  // namespace joinq::core
