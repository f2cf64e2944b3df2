// The options that say how many children there are, and how much they are given.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "absl/status/status.h"
#include "worker/options.h"

namespace joinq {

struct RawPool {
  uint32_t concurrency = 0;
  uint32_t concurrency_per_child = 1;
  std::string autoscale;
  double autoscale_idle = 30;
  double child_start_timeout = 60;
  uint32_t processes_max = 64;
  uint32_t prefetch_max = 2048;
};

void DeclarePool(CLI::App& app, RawPool& raw);
// Fills the pool's part of `options`, or says which flag is wrong and why.
absl::Status CheckPool(const RawPool& raw, WorkerOptions& options);

}  // namespace joinq
