// The start order of a worker, and its reverse. The zygote is forked before
// anything could have started a thread.
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/log.h"
#include "joinq/worker.h"
#include "spdlog/spdlog.h"
#include "worker/child/child_main.h"
#include "worker/child/exec_handler.h"
#include "worker/child/module.h"
#include "worker/child/registry.h"
#include "worker/child/runner.h"
#include "worker/daemon.h"
#include "worker/options.h"
#include "worker/pid_file.h"
#include "worker/process/cgroup.h"
#include "worker/process/child_limits.h"
#include "worker/process/keeper.h"
#include "worker/ready_file.h"
#include "worker/user.h"

namespace joinq {
namespace {

int Refuse(const absl::Status& status) {
  std::fprintf(stderr, "joinq-worker: %s\n", std::string(status.message()).c_str());
  return 2;
}

// A child takes five descriptors. Children keep what this process began with: they are forked elsewhere.
void OpenManyFiles() {
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
}

// It was entered with the caller's rights.
absl::Status CheckWorkingDirectory(const std::string& directory) {
  if (directory.empty() || chdir(".") == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--working-directory: --user cannot enter ", directory, ": ", strerror(errno)));
}

// Cgroups for the children if they are wanted and can be had; `limits` tells which it is from then on.
absl::StatusOr<std::unique_ptr<ChildCgroups>> OpenCgroups(ChildLimits& limits) {
  if (limits.memory_bytes == 0) return nullptr;
  absl::StatusOr<std::unique_ptr<ChildCgroups>> cgroups = nullptr;
  std::string why_not = "--cgroup is off";
  if (limits.memory_keeper != MemoryKeeper::kRlimit) {
    const auto own = OwnCgroup();
    cgroups = own.ok() ? ChildCgroups::Open(*own, "memory", MemorySettings(limits.memory_bytes))
                       : absl::StatusOr<std::unique_ptr<ChildCgroups>>(own.status());
    why_not = std::string(cgroups.status().message());
  }
  const bool required = limits.memory_keeper == MemoryKeeper::kCgroup;
  if (!cgroups.ok() && required)
    return absl::FailedPreconditionError(absl::StrCat("--cgroup require: ", why_not));
  if (cgroups.ok() && *cgroups != nullptr) {
    limits.memory_keeper = MemoryKeeper::kCgroup;
    spdlog::info("--max-memory-per-child: kept by a cgroup for each child, below {}", (*cgroups)->folder());
    return cgroups;
  }
  limits.memory_keeper = MemoryKeeper::kRlimit;
  spdlog::info("--max-memory-per-child: kept by RLIMIT_DATA, {}", why_not);
  return nullptr;
}

using Runners = std::vector<std::shared_ptr<Runner>>;

// Their programs are started in the children, each in its own.
Runners AddRunners(const WorkerOptions& options, Registry& registry) {
  Runners runners;
  for (const auto& spec : options.runners) {
    auto runner = std::make_shared<Runner>(spec, options.runner_start_timeout_ms);
    for (const auto& name : spec.names) {
      registry.Add(name, [runner](const TaskContext& task, std::string_view payload) {
        return runner->Run(task, payload);
      });
    }
    runners.push_back(std::move(runner));
  }
  return runners;
}

ZygoteProgram ProgramOf(const WorkerOptions& options, const Runners& runners, const ChildCgroups* cgroups) {
  ZygoteProgram program;
  program.load = [&options](const std::function<void(const std::string&)>& announce) -> absl::Status {
    for (const auto& module : options.modules) {
      announce("--module " + module);
      if (auto status = LoadModule(module); !status.ok()) {
        return absl::InvalidArgumentError(absl::StrCat("--module ", module, ": ", status.message()));
      }
    }
    return absl::OkStatus();
  };
  program.handler_names = [] { return Registry::Global().names(); };
  program.capture_output = options.task_output != TaskOutput::kInherit;
  program.environment = options.environment;
  program.run_child = [&options, &runners, cgroups](const ChildPlace& place) {
    absl::Status status = cgroups != nullptr ? cgroups->Enter() : absl::OkStatus();
    status.Update(ApplyChildLimits(options.child_limits));
    if (!status.ok()) {
      std::fprintf(stderr, "joinq-worker: a child's limits: %s\n", std::string(status.message()).c_str());
      return 1;
    }
    const int exit_status = RunChild(place, Registry::Global(),
                                     {options.queues, options.child_limits, options.concurrency_per_child});
    for (const auto& runner : runners) runner->Stop();
    return exit_status;
  };
  return program;
}

}  // namespace

int WorkerMain(int argc, char** argv) {
  WorkerOptions options;
  if (auto exit_status = ParseWorkerOptions(argc, argv, options)) return *exit_status;
  if (auto status = InitLog("joinq-worker", options.log_level); !status.ok()) return Refuse(status);
  // The last that the caller's rights are good for.
  PidFile pid_file(options.pid_file);
  if (auto status = pid_file.Write(); !status.ok()) return Refuse(status);
  if (auto status = BecomeUser(options.user, options.group); !status.ok()) return Refuse(status);
  if (auto status = CheckWorkingDirectory(options.working_directory); !status.ok()) return Refuse(status);
  if (auto status = ReadyFile(options.ready_file).Clear(); !status.ok()) return Refuse(status);
  auto& registry = Registry::Global();
  AddBuiltinHandlers(registry);
  for (const auto& exec : options.execs) registry.Add(exec.name, MakeExecHandler(exec));
  const Runners runners = AddRunners(options, registry);
  if (!registry.error().ok()) return Refuse(registry.error());

  const auto cgroups = OpenCgroups(options.child_limits);  // before there are other processes to move
  if (!cgroups.ok()) return Refuse(cgroups.status());
  const ZygoteProgram program = ProgramOf(options, runners, cgroups->get());
  auto keeper = Keeper::Fork(program);
  if (!keeper.ok()) return Refuse(keeper.status());
  auto zygote = keeper->StartZygote();
  if (!zygote.ok()) return Refuse(zygote.status());
  const auto& handlers = zygote->handlers;
  for (const auto& [handler, limit] : options.time_limits.handlers) {
    if (std::find(handlers.begin(), handlers.end(), handler) != handlers.end()) continue;
    return Refuse(absl::InvalidArgumentError(
        absl::StrCat("--time-limit, --soft-time-limit: no handler is named \"", handler,
                     "\"; this worker has: ", absl::StrJoin(handlers, ", "))));
  }
  signal(SIGPIPE, SIG_IGN);
  OpenManyFiles();
  return Daemon(options, *std::move(keeper), *std::move(zygote), cgroups->get()).Run();
}

}  // namespace joinq
