#include "client/cli/put_options.h"

namespace joinq::cli {
namespace {

constexpr uint64_t kAttemptsMax = 1000;

}  // namespace

void PutFlags::AddTo(CLI::App* command) {
  command->add_option("--delay", delay, "Seconds before it may be handed out");
  AddUnsigned(command, "--max-attempts", &max_attempts, "Failed attempts before it is dead; default 1", 0,
              kAttemptsMax);
  AddUnsigned(command, "--max-crashes", &max_crashes, "Crashes of its holder before it is dead; default 3", 0,
              kAttemptsMax);
  command->add_option("--retry-delay", retry_delay,
                      "Seconds of the first backoff between attempts; default 1");
  command->add_option("--result-ttl", result_ttl, "Seconds the outcome stays readable");
  command->add_option("-H,--header", headers, "NAME:VALUE, may be repeated")->expected(1)->take_all();
}

Headers PutFlags::ParsedHeaders() const {
  Headers parsed;
  for (const std::string& header : headers) {
    const size_t colon = header.find(':');
    if (colon == std::string::npos || colon == 0)
      throw UsageError("--header: \"" + header + "\" is not NAME:VALUE");
    const size_t value = header.find_first_not_of(' ', colon + 1);
    parsed.emplace_back(header.substr(0, colon), value == std::string::npos ? "" : header.substr(value));
  }
  return parsed;
}

PutOptions PutFlags::ForPut(const std::string& handler) const {
  return {.handler = handler,
          .headers = ParsedHeaders(),
          .delay = ToMillis("--delay", delay),
          .max_attempts = max_attempts,
          .max_crashes = max_crashes,
          .retry_delay = ToMillis("--retry-delay", retry_delay),
          .result_ttl = ToMillis("--result-ttl", result_ttl)};
}

PoolOptions PutFlags::ForPool() const {
  PoolOptions options;
  options.max_attempts = max_attempts;
  options.max_crashes = max_crashes;
  options.retry_delay = ToMillis("--retry-delay", retry_delay);
  options.delay = ToMillis("--delay", delay);
  if (result_ttl != 0) options.result_ttl = ToMillis("--result-ttl", result_ttl);
  options.headers = ParsedHeaders();
  options.create_queue = false;
  return options;
}

}  // namespace joinq::cli
