#include "client/cli/put_options.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "client/cli/times.h"

namespace joinq::cli {
namespace {

constexpr uint64_t kAttemptsMax = 1000;
constexpr int kPriorityMax = 1000;

// Sets the scope and the window of `options` from what --unique-scope says.
void ParseScope(const std::string& text, PutOptions* options) {
  if (text.empty() || text == "unfinished") {
    options->unique_scope = UniqueScope::unfinished;
  } else if (text == "waiting") {
    options->unique_scope = UniqueScope::waiting;
  } else {
    const auto seconds = ParseNumber(text);
    if (!seconds || !(*seconds > 0))
      throw UsageError("--unique-scope: must be unfinished, waiting or a number of seconds above 0, not \"" +
                       text + "\"");
    options->unique_scope = UniqueScope::window;
    options->unique_window = ToMillis("--unique-scope", *seconds);
  }
}

}  // namespace

void PutFlags::AddTo(CLI::App* command) {
  command->add_option("--priority", priority, "-1000 to 1000, lower is more urgent; for queues of that order")
      ->transform(Integer(-kPriorityMax, kPriorityMax));
  CLI::Option* delays = command->add_option("--delay", delay, "Seconds before it may be handed out");
  command->add_option("--eta", eta, "Not handed out before this: ISO 8601 or Unix seconds")->excludes(delays);
  CLI::Option* ttls =
      command->add_option("--ttl", ttl, "Seconds after which it expires if it was not handed out");
  command->add_option("--deadline", deadline, "Seconds after which it must have ended, handed out or not")
      ->excludes(ttls);
  command->add_option("--time-limit", time_limit,
                      "Seconds one attempt may run before its process is ended; default: the worker's");
  command->add_option("--soft-time-limit", soft_time_limit,
                      "Seconds one attempt may run before its handler is asked to end");
  command->add_flag("--process", process, "Run it in a process made for it alone");
  command->add_option("--result-ttl", result_ttl, "Seconds the outcome stays readable");
  AddUnsigned(command, "--max-attempts", &max_attempts, "Failed attempts before it is dead; default 1", 0,
              kAttemptsMax);
  AddUnsigned(command, "--max-crashes", &max_crashes, "Crashes of its holder before it is dead; default 3", 0,
              kAttemptsMax);
  command->add_option("--retry-delay", retry_delay,
                      "Seconds of the first backoff between attempts; default 1");
  command->add_option("-H,--header", headers, "NAME=VALUE, may be repeated")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
}

void PutFlags::AddKeysTo(CLI::App* command) {
  CLI::Option* key = command->add_option(
      "--unique-key", unique_key, "Put nothing while another task of the queue stands for the same key");
  command
      ->add_option("--unique-scope", unique_scope,
                   "How long it stands for its key: unfinished (default), waiting, or SECONDS")
      ->needs(key);
  command->add_option("--request-id", request_id,
                      "Puts with the same id within 10 minutes are one task, so that they may be repeated");
}

void PutFlags::AddDaemonTo(CLI::App* command) {
  command->add_flag("--daemon", daemon, "Tie it to this command: it is cancelled when the command ends");
}

Headers PutFlags::ParsedHeaders() const {
  Headers parsed;
  for (const std::string& header : headers) {
    const size_t end = header.find_first_of("=:");
    if (end == std::string::npos || end == 0)
      throw UsageError("--header: \"" + header + "\" is not NAME=VALUE");
    // As in HTTP, where a blank follows the colon.
    const size_t value = header[end] == '=' ? end + 1 : header.find_first_not_of(' ', end + 1);
    parsed.emplace_back(header.substr(0, end), value == std::string::npos ? "" : header.substr(value));
  }
  return parsed;
}

std::optional<TimePoint> PutFlags::ParsedEta() const {
  if (eta.empty()) return std::nullopt;
  if (delay != 0) throw UsageError("--eta: excludes --delay; give one of them");
  return ParseTime("--eta", eta);
}

PutOptions PutFlags::ForPut(const std::string& handler) const {
  PutOptions options;
  options.handler = handler;
  options.headers = ParsedHeaders();
  options.delay = ToMillis("--delay", delay);
  options.max_attempts = max_attempts;
  options.max_crashes = max_crashes;
  options.retry_delay = ToMillis("--retry-delay", retry_delay);
  options.result_ttl = ToMillis("--result-ttl", result_ttl);
  options.eta = ParsedEta();
  options.ttl = ToMillis("--ttl", ttl);
  options.priority = priority;
  options.unique_key = unique_key;
  ParseScope(unique_scope, &options);
  options.request_id = request_id;
  options.time_limit = ToMillis("--time-limit", time_limit);
  options.soft_time_limit = ToMillis("--soft-time-limit", soft_time_limit);
  if (options.time_limit.count() > 0 && options.soft_time_limit >= options.time_limit)
    throw UsageError("--soft-time-limit: must be less than --time-limit");
  options.deadline = ToMillis("--deadline", deadline);
  if (options.deadline.count() > 0 && options.ttl.count() > 0)
    throw UsageError("--deadline: excludes --ttl; give one of them");
  options.fresh_process = process;
  options.daemon = daemon;
  return options;
}

PoolOptions PutFlags::ForPool() const {
  const PutOptions put = ForPut({});
  PoolOptions options;
  options.max_attempts = put.max_attempts;
  options.max_crashes = put.max_crashes;
  options.retry_delay = put.retry_delay;
  options.delay = put.delay;
  if (result_ttl != 0) options.result_ttl = put.result_ttl;
  options.headers = put.headers;
  options.create_queue = false;
  options.eta = put.eta;
  options.ttl = put.ttl;
  options.priority = put.priority;
  options.time_limit = put.time_limit;
  options.soft_time_limit = put.soft_time_limit;
  options.deadline = put.deadline;
  options.fresh_process = put.fresh_process;
  options.daemon = put.daemon;
  return options;
}

void NoteExisting(uint64_t id) {
  fmt::print(stderr, "joinq: task {} is there already; nothing was put\n", id);
}

}  // namespace joinq::cli
