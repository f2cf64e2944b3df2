#include "worker/options_limits.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/names.h"

namespace joinq {
namespace {

constexpr uint32_t kMemoryMibMin = 32;  // a child itself needs a few

// SECONDS and HANDLER=SECONDS, separated by commas or lines, into `set(handler or "", ms)`.
template <typename Set>
absl::Status ReadTimes(const char* flag, const std::vector<std::string>& raw, Set set) {
  for (const auto& list : raw) {
    for (absl::string_view part : absl::StrSplit(list, absl::ByAnyChar(",\n"), absl::SkipWhitespace())) {
      std::string handler;
      absl::string_view number = part;
      if (const size_t equals = part.find('='); equals != part.npos) {
        handler = std::string(part.substr(0, equals));
        number = part.substr(equals + 1);
        if (auto status = CheckName(flag, handler); !status.ok()) return status;
      }
      double seconds = 0;
      if (!absl::SimpleAtod(number, &seconds)) {
        return InvalidField(flag, absl::StrCat("\"", part, "\" is neither SECONDS nor HANDLER=SECONDS"));
      }
      auto ms = SecondsToMs(flag, seconds);
      if (!ms.ok()) return ms.status();
      set(handler, *ms);
    }
  }
  return absl::OkStatus();
}

absl::Status CheckTimes(const RawLimits& raw, TimeLimits& limits) {
  std::map<std::string, uint32_t> soft, hard;
  if (auto status = ReadTimes("--soft-time-limit", raw.soft_time_limit,
                              [&](const std::string& handler, uint32_t ms) { soft[handler] = ms; });
      !status.ok())
    return status;
  if (auto status = ReadTimes("--time-limit", raw.time_limit,
                              [&](const std::string& handler, uint32_t ms) { hard[handler] = ms; });
      !status.ok())
    return status;
  limits.others = {soft[""], hard[""]};
  for (const auto* times : {&soft, &hard}) {
    for (const auto& [handler, ms] : *times) {
      if (!handler.empty()) limits.handlers.emplace(handler, limits.others);
    }
  }
  auto check = [](const std::string& handler, TimeLimit limit) {
    if (limit.soft_ms == 0 || limit.hard_ms == 0 || limit.soft_ms < limit.hard_ms) return absl::OkStatus();
    return InvalidField(
        "--soft-time-limit",
        absl::StrCat("must be below --time-limit",
                     handler.empty() ? "" : absl::StrCat(" for \"", handler, "\""), ": ",
                     limit.soft_ms / 1000.0, " s is not below ", limit.hard_ms / 1000.0, " s"));
  };
  for (auto& [handler, limit] : limits.handlers) {
    if (const auto it = soft.find(handler); it != soft.end()) limit.soft_ms = it->second;
    if (const auto it = hard.find(handler); it != hard.end()) limit.hard_ms = it->second;
    if (auto status = check(handler, limit); !status.ok()) return status;
  }
  return check("", limits.others);
}

}  // namespace

void DeclareLimits(CLI::App& app, RawLimits& raw) {
  auto times = [&app](const char* flag, std::vector<std::string>& value, const char* text,
                      const char* variable) {
    app.add_option(flag, value, text)
        ->envname(variable)
        ->type_name("[HANDLER=]SECONDS")
        ->expected(1)
        ->take_all();
  };
  times("--soft-time-limit", raw.soft_time_limit,
        "A task that runs longer gets SIGUSR1 and sees a flag, so that it can end in order; for all handlers "
        "or one, repeatable; 0 is none [0]",
        "JOINQ_SOFT_TIME_LIMIT");
  times("--time-limit", raw.time_limit,
        "A task that runs longer is ended (TERM to its processes, KILL after --kill-grace) and its attempt "
        "failed; for all handlers or one, repeatable; 0 is none [0]",
        "JOINQ_TIME_LIMIT");
  app.add_option("--kill-grace", raw.kill_grace,
                 "Seconds between asking a task to end and TERM (cancel), and between TERM and KILL")
      ->envname("JOINQ_KILL_GRACE")
      ->type_name("SECONDS")
      ->capture_default_str();
  app.add_option(
         "--max-memory-per-child", raw.memory_mib,
         "MiB of memory a child may have: with a cgroup it and all it starts together, past it they are "
         "killed; without, each of them, and allocations beyond it fail (see --cgroup); 0 is no limit, "
         "else at least 32 [0]")
      ->envname("JOINQ_MAX_MEMORY_PER_CHILD")
      ->type_name("MIB");
  app.add_option(
         "--cgroup", raw.cgroup,
         "Whether a cgroup (version 2) keeps each child within --max-memory-per-child: auto (where the "
         "worker's own is delegated to it, with the memory controller), off, or require (or do not start)")
      ->envname("JOINQ_CGROUP")
      ->type_name("auto|off|require")
      ->capture_default_str();
  app.add_option("--max-cpu-per-child", raw.cpu_seconds,
                 "Seconds of CPU time a child, and each program it starts, may use in its life: at the limit "
                 "it is killed; one that used half of it is replaced between tasks; 0 is no limit [0]")
      ->envname("JOINQ_MAX_CPU_PER_CHILD")
      ->type_name("SECONDS")
      ->check(CLI::Range(0u, 1'000'000'000u));
  app.add_option("--max-open-files", raw.open_files,
                 "Descriptors a child, and each program it starts, may have open; 0: as the worker, else at "
                 "least 16 [0]")
      ->envname("JOINQ_MAX_OPEN_FILES")
      ->type_name("N");
  app.add_option("--max-tasks-per-child", raw.tasks, "A child is replaced after N tasks; 0 is no limit [0]")
      ->envname("JOINQ_MAX_TASKS_PER_CHILD")
      ->type_name("N");
  app.add_option(
         "--task-output", raw.task_output,
         "What tasks write to stdout and stderr (of programs: stderr): log (a line each, up to 64 KiB a "
         "task), discard, or inherit (the worker's own); unless inherited, its end goes with failures")
      ->envname("JOINQ_TASK_OUTPUT")
      ->type_name("log|discard|inherit")
      ->capture_default_str();
}

absl::Status CheckLimits(const RawLimits& raw, WorkerOptions& options) {
  if (auto status = CheckTimes(raw, options.time_limits); !status.ok()) return status;
  auto grace = SecondsToMs("--kill-grace", raw.kill_grace);
  if (!grace.ok()) return grace.status();
  options.kill_grace_ms = *grace;
  if (raw.memory_mib > 0 && raw.memory_mib < kMemoryMibMin)
    return InvalidField("--max-memory-per-child",
                        absl::StrCat("must be 0 or at least ", kMemoryMibMin, " MiB"));
  if (raw.cgroup != "auto" && raw.cgroup != "off" && raw.cgroup != "require")
    return InvalidField("--cgroup", absl::StrCat("must be auto, off or require, not \"", raw.cgroup, "\""));
  if (raw.cgroup == "require" && raw.memory_mib == 0)
    return InvalidField("--cgroup", "require goes with --max-memory-per-child");
  options.child_limits.memory_keeper = raw.cgroup == "off"       ? MemoryKeeper::kRlimit
                                       : raw.cgroup == "require" ? MemoryKeeper::kCgroup
                                                                 : MemoryKeeper::kCgroupOrRlimit;
  if (raw.open_files > 0 && raw.open_files < 16)
    return InvalidField("--max-open-files", "must be 0 or at least 16");
  if (raw.task_output == "log") {
    options.task_output = TaskOutput::kLog;
  } else if (raw.task_output == "discard") {
    options.task_output = TaskOutput::kDiscard;
  } else if (raw.task_output == "inherit") {
    options.task_output = TaskOutput::kInherit;
  } else {
    return InvalidField("--task-output",
                        absl::StrCat("must be log, discard or inherit, not \"", raw.task_output, "\""));
  }
  options.child_limits.memory_bytes = static_cast<uint64_t>(raw.memory_mib) << 20;
  options.child_limits.cpu_seconds = raw.cpu_seconds;
  options.child_limits.open_files = raw.open_files;
  options.child_limits.tasks = raw.tasks;
  return absl::OkStatus();
}

}  // namespace joinq
