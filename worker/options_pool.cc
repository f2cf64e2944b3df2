#include "worker/options_pool.h"

#include <sched.h>

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/names.h"
#include "worker/process/status_page.h"

namespace joinq {
namespace {

constexpr uint32_t kConcurrencyMax = 1024;

uint32_t CountCpus() {
  cpu_set_t cpus;
  if (sched_getaffinity(0, sizeof cpus, &cpus) != 0) return 1;
  return std::clamp<uint32_t>(static_cast<uint32_t>(CPU_COUNT(&cpus)), 1, kConcurrencyMax);
}

absl::Status CheckAutoscale(const RawPool& raw, WorkerOptions& options) {
  if (raw.autoscale.empty()) return absl::OkStatus();
  if (raw.concurrency != 0) return InvalidField("--autoscale", "says what -c says; give one of them");
  const std::vector<std::string> parts = absl::StrSplit(raw.autoscale, ',');
  uint32_t most = 0, least = 0;
  if (parts.size() != 2 || !absl::SimpleAtoi(parts[0], &most) || !absl::SimpleAtoi(parts[1], &least)) {
    return InvalidField("--autoscale", absl::StrCat("\"", raw.autoscale, "\" is not MAX,MIN, such as 8,2"));
  }
  if (least < 1 || most < least || most > kConcurrencyMax) {
    return InvalidField("--autoscale", absl::StrCat("MAX,MIN must be 1 <= MIN <= MAX <= ", kConcurrencyMax));
  }
  options.concurrency = most;
  options.autoscale_min = least;
  return absl::OkStatus();
}

}  // namespace

void DeclarePool(CLI::App& app, RawPool& raw) {
  app.add_option(
         "-c,--concurrency", raw.concurrency,
         "Children that run tasks at most, 1 to 1024; one is there from the start, the others are made "
         "when tasks wait for them, and kept [one for each CPU]")
      ->envname("JOINQ_CONCURRENCY")
      ->type_name("N")
      ->check(CLI::Range(1u, kConcurrencyMax));
  app.add_option("--concurrency-per-child", raw.concurrency_per_child,
                 "Tasks that each child runs at once: for handlers that are coroutines "
                 "(JOINQ_ASYNC_TASK) and mostly wait; others and programs hold up the child they run in")
      ->envname("JOINQ_CONCURRENCY_PER_CHILD")
      ->type_name("N")
      ->check(CLI::Range(1u, kLanesMax))
      ->capture_default_str();
  app.add_option(
         "--autoscale", raw.autoscale,
         "Instead of -c: never fewer than MIN children, up to MAX when tasks wait; those that are not "
         "needed end after --autoscale-idle")
      ->envname("JOINQ_AUTOSCALE")
      ->type_name("MAX,MIN");
  app.add_option("--autoscale-idle", raw.autoscale_idle,
                 "Seconds after which --autoscale lets children go that were not needed meanwhile")
      ->envname("JOINQ_AUTOSCALE_IDLE")
      ->type_name("SECONDS")
      ->capture_default_str();
  app.add_option("--child-start-timeout", raw.child_start_timeout,
                 "Seconds a child's initializers (JOINQ_CHILD_INIT) may take")
      ->envname("JOINQ_CHILD_START_TIMEOUT")
      ->type_name("SECONDS")
      ->capture_default_str();
  app.add_option(
         "--processes-max", raw.processes_max,
         "Tasks that ask for a process of their own which run at once, beside the children; others wait")
      ->envname("JOINQ_PROCESSES_MAX")
      ->type_name("N")
      ->check(CLI::Range(1u, 65536u))
      ->capture_default_str();
  app.add_option(
         "--prefetch-max", raw.prefetch_max,
         "Most tasks held at once, running ones included, when tasks are tiny; never less than one a child")
      ->envname("JOINQ_PREFETCH_MAX")
      ->type_name("N")
      ->check(CLI::Range(1u, 65536u))
      ->capture_default_str();
}

absl::Status CheckPool(const RawPool& raw, WorkerOptions& options) {
  options.concurrency = raw.concurrency == 0 ? CountCpus() : raw.concurrency;
  if (auto status = CheckAutoscale(raw, options); !status.ok()) return status;
  const struct {
    const char* flag;
    double seconds;
    uint32_t& ms;
  } times[] = {{"--autoscale-idle", raw.autoscale_idle, options.autoscale_idle_ms},
               {"--child-start-timeout", raw.child_start_timeout, options.child_start_timeout_ms}};
  for (const auto& time : times) {
    auto ms = SecondsToMs(time.flag, time.seconds);
    if (!ms.ok()) return ms.status();
    if (*ms == 0) return InvalidField(time.flag, "must be more than 0 seconds");
    time.ms = *ms;
  }
  options.concurrency_per_child = raw.concurrency_per_child;
  options.processes_max = raw.processes_max;
  options.prefetch_max = raw.prefetch_max;
  return absl::OkStatus();
}

}  // namespace joinq
