// The options that set limits for tasks and children.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "worker/options.h"

namespace joinq {

struct RawLimits {
  std::vector<std::string> soft_time_limit;
  std::vector<std::string> time_limit;
  double kill_grace = 2;
  uint32_t memory_mib = 0;
  std::string cgroup = "auto";
  uint32_t cpu_seconds = 0;
  uint32_t open_files = 0;
  uint32_t tasks = 0;
  std::string task_output = "log";
};

void DeclareLimits(CLI::App& app, RawLimits& raw);
// Fills the limits of `options`, or says which flag is wrong and why.
absl::Status CheckLimits(const RawLimits& raw, WorkerOptions& options);

}  // namespace joinq
