#include "worker/options_life.h"

#include <string.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/names.h"

namespace joinq {
namespace {

std::string Absolute(const std::string& file) {
  std::error_code error;
  auto absolute = std::filesystem::absolute(file, error);
  return file.empty() || error ? file : absolute.string();
}

absl::Status AddVariable(const std::string& text, ChildEnvironment& environment) {
  const std::string name = text.substr(0, text.find('='));
  if (name.empty()) return InvalidField("--env", absl::StrCat("\"", text, "\" is not NAME or NAME=VALUE"));
  if (!MayReachChildren(name)) {
    return InvalidField("--env", absl::StrCat(name, " is the worker's own and never reaches children"));
  }
  if (name.size() == text.size()) {
    environment.keep.push_back(name);
  } else {
    environment.set.emplace_back(name, text.substr(name.size() + 1));
  }
  return absl::OkStatus();
}

absl::Status CheckUser(const RawLife& raw, WorkerOptions& options) {
  options.group = raw.group;
  const size_t colon = raw.user.find(':');
  options.user = raw.user.substr(0, colon);
  if (colon == std::string::npos) return absl::OkStatus();
  if (!raw.group.empty()) return InvalidField("--group", "--user names a group too; give one of them");
  options.group = raw.user.substr(colon + 1);
  if (options.user.empty() || options.group.empty())
    return InvalidField("--user", absl::StrCat("\"", raw.user, "\" is not NAME or NAME:GROUP"));
  return absl::OkStatus();
}

}  // namespace

void DeclareLife(CLI::App& app, RawLife& raw) {
  app.add_option("--pid-file", raw.pid_file, "Write the process id to FILE while running")
      ->envname("JOINQ_PID_FILE")
      ->type_name("FILE");
  app.add_option(
         "--ready-file", raw.ready_file,
         "FILE exists exactly while tasks are taken: the broker is connected, a child is ready, and the "
         "worker is neither paused nor draining")
      ->envname("JOINQ_READY_FILE")
      ->type_name("FILE");
  app.add_flag("--burst", raw.burst,
               "End with status 0 when the queues have had nothing more for --burst-idle seconds; tasks that "
               "wait for a delay or run elsewhere do not count")
      ->envname("JOINQ_BURST");
  app.add_option("--burst-idle", raw.burst_idle, "Seconds without a task after which --burst ends")
      ->envname("JOINQ_BURST_IDLE")
      ->type_name("SECONDS")
      ->capture_default_str();
  app.add_option(
         "--burst-wait", raw.burst_wait,
         "Seconds after which --burst ends with status 1 if no task could be taken meanwhile: no broker, "
         "children that die at start, paused")
      ->envname("JOINQ_BURST_WAIT")
      ->type_name("SECONDS")
      ->capture_default_str();
  app.add_option("--user", raw.user,
                 "Become this user after --pid-file was written and before anything is loaded; for root only")
      ->envname("JOINQ_USER")
      ->type_name("NAME[:GROUP]");
  app.add_option("--group", raw.group, "Become this group instead of the user's own; for root only")
      ->envname("JOINQ_GROUP")
      ->type_name("NAME");
  app.add_option("--working-directory", raw.working_directory,
                 "Change to DIR before anything is loaded: handlers run there, and paths of --module, --exec "
                 "and --runner are relative to it")
      ->envname("JOINQ_WORKING_DIRECTORY")
      ->type_name("DIR");
  app.add_flag(
         "--clean-environment", raw.clean_environment,
         "Handlers get only PATH, HOME, USER, LOGNAME, LANG, LC_*, TZ, TMPDIR and --env of the worker's "
         "environment")
      ->envname("JOINQ_CLEAN_ENVIRONMENT");
  app.add_option("--env", raw.environment,
                 "Handlers get this variable: with VALUE, or as the worker has it, which --clean-environment "
                 "then keeps; repeatable (in the environment: one a line)")
      ->envname("JOINQ_ENV")
      ->type_name("NAME[=VALUE]")
      ->expected(1)
      ->take_all();
}

absl::Status EnterWorkingDirectory(const RawLife& raw, WorkerOptions& options) {
  options.pid_file = Absolute(raw.pid_file);
  options.ready_file = Absolute(raw.ready_file);
  options.working_directory = raw.working_directory;
  if (raw.working_directory.empty() || chdir(raw.working_directory.c_str()) == 0) return absl::OkStatus();
  return InvalidField("--working-directory",
                      absl::StrCat("cannot enter ", raw.working_directory, ": ", strerror(errno)));
}

absl::Status CheckLife(const RawLife& raw, WorkerOptions& options) {
  if (auto status = CheckUser(raw, options); !status.ok()) return status;
  options.burst = raw.burst;
  auto idle = SecondsToMs("--burst-idle", raw.burst_idle);
  if (!idle.ok()) return idle.status();
  if (*idle == 0)
    return InvalidField("--burst-idle", "must be more than 0 seconds: tasks take a moment to come");
  options.burst_idle_ms = *idle;
  auto wait = SecondsToMs("--burst-wait", raw.burst_wait);
  if (!wait.ok()) return wait.status();
  options.burst_wait_ms = *wait;
  options.environment.clean = raw.clean_environment;
  for (const auto& lines : raw.environment) {
    for (const std::string& line : std::vector<std::string>(absl::StrSplit(lines, '\n'))) {
      if (line.empty() && !lines.empty()) continue;  // of several lines
      if (auto status = AddVariable(line, options.environment); !status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

}  // namespace joinq
