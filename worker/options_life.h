// The options about the worker's life as a process: its files, its end, and what its
// children find around them.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "worker/options.h"

namespace joinq {

struct RawLife {
  std::string pid_file;
  std::string ready_file;
  std::string user;
  std::string group;
  std::string working_directory;
  bool clean_environment = false;
  std::vector<std::string> environment;
  bool burst = false;
  double burst_idle = 1;
  double burst_wait = 30;
};

void DeclareLife(CLI::App& app, RawLife& raw);
// Before paths of handlers are looked at. The files of the worker itself stay where they were meant to be.
absl::Status EnterWorkingDirectory(const RawLife& raw, WorkerOptions& options);
// Fills the life's part of `options`, or says which flag is wrong and why.
absl::Status CheckLife(const RawLife& raw, WorkerOptions& options);

}  // namespace joinq
