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
#include "worker/child/child_main.h"
#include "worker/child/exec_handler.h"
#include "worker/child/module.h"
#include "worker/child/registry.h"
#include "worker/child/runner.h"
#include "worker/daemon.h"
#include "worker/options.h"
#include "worker/pid_file.h"
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

ZygoteProgram ProgramOf(const WorkerOptions& options, const Runners& runners) {
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
  program.run_child = [&options, &runners](const ChildPlace& place) {
    if (auto status = ApplyChildLimits(options.child_limits); !status.ok()) {
      std::fprintf(stderr, "joinq-worker: a child's limits: %s\n", std::string(status.message()).c_str());
      return 1;
    }
    const int status = RunChild(place, Registry::Global(),
                                {options.queues, options.child_limits, options.concurrency_per_child});
    for (const auto& runner : runners) runner->Stop();
    return status;
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

  const ZygoteProgram program = ProgramOf(options, runners);
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
  return Daemon(options, *std::move(keeper), *std::move(zygote)).Run();
}

}  // namespace joinq
