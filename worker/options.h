// What the user asked for: flags, JOINQ_* environment, configuration file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/net_address.h"
#include "worker/child/exec_handler.h"
#include "worker/child/runner_spec.h"
#include "worker/limits.h"
#include "worker/process/environment.h"

namespace joinq {

struct WorkerOptions {
  NetAddress broker;
  std::vector<std::string> queues;
  uint32_t concurrency = 1;  // children at most
  uint32_t concurrency_per_child = 1;
  uint32_t autoscale_min = 0;  // and at least; 0: made when needed, and kept
  uint32_t autoscale_idle_ms = 30'000;
  uint32_t child_start_timeout_ms = 60'000;
  uint32_t processes_max = 64;
  std::string name;
  std::string host;
  std::string log_level;
  std::vector<std::string> modules;
  std::vector<ExecSpec> execs;
  std::vector<RunnerSpec> runners;
  uint32_t runner_start_timeout_ms = 30'000;
  uint32_t prefetch_max = 2048;
  uint32_t drain_timeout_ms = 30'000;
  TimeLimits time_limits;
  ChildLimits child_limits;
  uint32_t kill_grace_ms = 2000;
  TaskOutput task_output = TaskOutput::kLog;
  std::string pid_file;    // absolute
  std::string ready_file;  // likewise
  bool burst = false;
  uint32_t burst_idle_ms = 1000;
  uint32_t burst_wait_ms = 30'000;
  std::string user;               // "": who started it
  std::string group;              // "": the user's own
  std::string working_directory;  // "": where it was started
  ChildEnvironment environment;
};

// Fills `options`, and enters the working directory. Otherwise the exit status: 0 after --help and --version,
// 2 for bad input, with one line on standard error that names what and why.
std::optional<int> ParseWorkerOptions(int argc, char** argv, WorkerOptions& options);

}  // namespace joinq
