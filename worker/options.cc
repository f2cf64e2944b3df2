#include "worker/options.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/names.h"
#include "worker/options_life.h"
#include "worker/options_limits.h"
#include "worker/options_pool.h"
#include "worker/version.h"

namespace joinq {
namespace {

constexpr char kProgram[] = "joinq-worker";

struct Raw {
  std::string config;
  std::string url = "127.0.0.1:7420";
  std::vector<std::string> queues{"default"};
  RawPool pool;
  std::string name;
  std::string log_level = "info";
  std::vector<std::string> modules;
  std::vector<std::string> execs;
  std::vector<std::string> runners;
  double runner_start_timeout = 30;
  double drain_timeout = 30;
  RawLimits limits;
  RawLife life;
};

std::string HostName() {
  char host[256] = {};
  if (gethostname(host, sizeof host - 1) != 0 || host[0] == '\0') return "localhost";
  return host;
}

// "host-pid", with what a name may not contain replaced.
std::string DefaultName(std::string host) {
  host = host.substr(0, 100);
  for (char& c : host) {
    if (!CheckName("name", std::string_view(&c, 1)).ok()) c = '_';
  }
  return absl::StrCat(host, "-", getpid());
}

int Refuse(std::string_view message) {
  std::string line(message.substr(0, message.find('\n')));
  std::fprintf(stderr, "%s: %s\n", kProgram, line.c_str());
  return 2;
}

void Declare(CLI::App& app, Raw& raw) {
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.set_version_flag("--version", absl::StrCat(kProgram, " ", kVersion));
  app.add_option("--config", raw.config,
                 "Read options from FILE (TOML: name = value); flags and environment come first")
      ->envname("JOINQ_WORKER_CONFIG")
      ->type_name("FILE");
  app.add_option("-u,--url", raw.url, "Broker: HOST:PORT, HOST or unix:PATH")
      ->envname("JOINQ_URL")
      ->type_name("ADDRESS")
      ->capture_default_str();
  app.add_option("-Q,--queues", raw.queues,
                 "Queues to serve, separated by commas; created if they do not exist")
      ->envname("JOINQ_QUEUES")
      ->type_name("NAME,...")
      ->capture_default_str()
      ->expected(1)
      ->take_all();
  DeclarePool(app, raw.pool);
  app.add_option("-n,--name", raw.name, "Name shown to people [HOST-PID]")
      ->envname("JOINQ_NAME")
      ->type_name("NAME");
  app.add_option("-l,--log-level", raw.log_level, "trace, debug, info, warn, error or off")
      ->envname("JOINQ_LOG_LEVEL")
      ->type_name("LEVEL")
      ->capture_default_str();
  app.add_option("--module", raw.modules, "Load handlers (JOINQ_TASK) from a shared object; repeatable")
      ->envname("JOINQ_MODULE")
      ->type_name("FILE")
      ->expected(1)
      ->take_all();
  app.add_option(
         "--exec", raw.execs,
         "Handler NAME runs a program for each task: payload on stdin, result on stdout (up to 1 MiB), exit "
         "status 0 is success; no shell; repeatable (in the environment: one a line)")
      ->envname("JOINQ_EXEC")
      ->type_name("NAME='CMD ARGS'")
      ->expected(1)
      ->take_all();
  app.add_option(
         "--runner", raw.runners,
         "Handlers in a long-lived program: each child starts it once, at the first task for one of the "
         "NAMEs, and talks with it on descriptors 3 and 4 as docs/child-protocol.md says; no shell; "
         "repeatable "
         "(in the environment: one a line)")
      ->envname("JOINQ_RUNNER")
      ->type_name("NAME[,NAME...]='CMD ARGS'")
      ->expected(1)
      ->take_all();
  app.add_option("--runner-start-timeout", raw.runner_start_timeout,
                 "Seconds a --runner program has from its start to its hello; more than 0")
      ->envname("JOINQ_RUNNER_START_TIMEOUT")
      ->type_name("SECONDS")
      ->capture_default_str();
  app.add_option("--drain-timeout", raw.drain_timeout,
                 "Seconds that TERM or INT leaves running tasks before they are killed and given back")
      ->envname("JOINQ_DRAIN_TIMEOUT")
      ->type_name("SECONDS")
      ->capture_default_str();
  DeclareLimits(app, raw.limits);
  DeclareLife(app, raw.life);
}

// CLI11's own reading of configuration files would put them before the environment.
void ReadConfig(CLI::App& app, const std::string& file) {
  for (const auto& item : CLI::ConfigTOML().from_file(file)) {
    CLI::Option* option =
        item.parents.empty() && item.name != "config" && item.name != "help" && item.name != "version"
            ? app.get_option_no_throw("--" + item.name)
            : nullptr;
    if (option == nullptr)
      throw CLI::ValidationError("--config " + file, "no option is named \"" + item.fullname() + "\"");
    if (option->count() > 0) continue;
    for (const auto& value : item.inputs) option->add_result(value);
    option->run_callback();
  }
}

absl::Status Check(Raw raw, WorkerOptions& options) {
  if (auto status = EnterWorkingDirectory(raw.life, options); !status.ok()) return status;
  auto broker = ParseNetAddress("--url", raw.url, kGrpcPort);
  if (!broker.ok()) return broker.status();
  options.broker = *std::move(broker);
  if (options.broker.port == 0 && !options.broker.is_unix())
    return InvalidField("--url", "port 0 cannot be reached");
  for (const std::string& queue :
       std::vector<std::string>(absl::StrSplit(absl::StrJoin(raw.queues, ","), ','))) {
    if (auto status = CheckName("--queues", queue); !status.ok()) return status;
    if (std::find(options.queues.begin(), options.queues.end(), queue) != options.queues.end()) {
      return InvalidField("--queues", absl::StrCat("\"", queue, "\" is named twice"));
    }
    options.queues.push_back(queue);
  }
  if (options.queues.empty() || options.queues.size() > 100)
    return InvalidField("--queues", "1 to 100 can be served");
  options.host = HostName();
  options.name = raw.name.empty() ? DefaultName(options.host) : raw.name;
  if (auto status = CheckName("--name", options.name); !status.ok()) return status;
  if (auto status = CheckPool(raw.pool, options); !status.ok()) return status;
  auto drain = SecondsToMs("--drain-timeout", raw.drain_timeout);
  if (!drain.ok()) return drain.status();
  options.drain_timeout_ms = *drain;
  if (auto status = CheckLimits(raw.limits, options); !status.ok()) return status;
  for (const auto& lines : raw.execs) {
    for (absl::string_view line : absl::StrSplit(lines, '\n', absl::SkipWhitespace())) {
      auto exec = ParseExec(std::string_view(line.data(), line.size()));
      if (!exec.ok()) return InvalidField("--exec", std::string(exec.status().message()));
      options.execs.push_back(*std::move(exec));
    }
  }
  for (const auto& lines : raw.runners) {
    for (absl::string_view line : absl::StrSplit(lines, '\n', absl::SkipWhitespace())) {
      auto runner = ParseRunner(std::string_view(line.data(), line.size()));
      if (!runner.ok()) return InvalidField("--runner", std::string(runner.status().message()));
      options.runners.push_back(*std::move(runner));
    }
  }
  auto start = SecondsToMs("--runner-start-timeout", raw.runner_start_timeout);
  if (!start.ok()) return start.status();
  if (*start == 0) return InvalidField("--runner-start-timeout", "must be more than 0 seconds");
  options.runner_start_timeout_ms = *start;
  options.modules = std::move(raw.modules);
  options.log_level = std::move(raw.log_level);
  return CheckLife(raw.life, options);
}

}  // namespace

std::optional<int> ParseWorkerOptions(int argc, char** argv, WorkerOptions& options) {
  Raw raw;
  CLI::App app("Runs tasks of a joinq broker in a pool of child processes.", kProgram);
  Declare(app, raw);
  try {
    app.parse(argc, argv);
    if (!raw.config.empty()) ReadConfig(app, raw.config);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    return Refuse(error.what());
  }
  if (auto status = Check(std::move(raw), options); !status.ok()) {
    return Refuse(std::string_view(status.message().data(), status.message().size()));
  }
  return std::nullopt;
}

}  // namespace joinq
