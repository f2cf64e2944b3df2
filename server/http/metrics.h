// The figures of /metrics, gathered on the core thread, written out on another.
#pragma once

#include <string>
#include <vector>

#include "server/rpc/core_loop.h"

namespace joinq::http {

struct Snapshot {
  std::vector<core::QueueView> queues;  // at most kQueuesMax
  std::vector<core::WorkerView> workers;
  rpc::CoreLoop::Figures loop;
  uint64_t tasks = 0, memory_bytes = 0, journal_bytes = 0, parked_calls = 0, callers = 0;

  static constexpr size_t kQueuesMax = 1000;
  static Snapshot Take(rpc::CoreLoop* loop);  // core thread
};

// Prometheus' text format.
std::string WriteMetrics(const Snapshot& snapshot);

}  // namespace joinq::http
