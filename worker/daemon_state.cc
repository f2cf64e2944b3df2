// USR1: the state of the worker and of each child, to the log.
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "spdlog/spdlog.h"
#include "worker/daemon.h"

namespace joinq {
namespace {

using Clock = std::chrono::steady_clock;

std::string Seconds(Clock::duration time) {
  return absl::StrFormat("%.1f s", std::chrono::duration<double>(time).count());
}

}  // namespace

void Daemon::LogState() {
  absl::MutexLock lock(&mutex_);
  spdlog::info(
      "state: {} {}; children {} ready, {} busy, {} at most, {} processes; tasks {} in hand, {} waiting, {} "
      "asked for (aim {}); mean service {:.1f} us; {} done, {} failed, {} child deaths; {} completions not "
      "acknowledged",
      options_.name, link_->connected() ? "connected" : "not connected", pool_.ready_children(),
      pool_.busy_children(), size_.most(), processes_, pool_.in_hand(), pool_.waiting(), pool_.outstanding(),
      pool_.credit_target(), pool_.mean_service_us(), done_total_, failed_total_, child_deaths_total_,
      link_->pending_completions());
  if (const std::string blocked = Blocked(); !blocked.empty())
    spdlog::info("state: takes no tasks: {}", blocked);
  for (const auto& child : children_) {
    if (child) spdlog::info("state: {}", DescribeChild(*child));
  }
}

std::string Daemon::DescribeChild(const Child& child) {
  bool runs = false;
  std::string text = absl::StrCat(child.single ? "process " : "child ", child.channel.pid(), ", ",
                                  Seconds(Clock::now() - child.born), " old: ");
  for (const StatusLane& lane : LanesOf(child.channel.page())) {
    const uint64_t number = lane.number.load();
    if (number == 0) continue;
    absl::StrAppend(&text, runs ? "," : "runs");
    runs = true;
    // A task that nobody waits for any more may have been forgotten here.
    if (const auto ticket = pool_.Sent(child.slot, number)) {
      const auto& task = pool_.task(*ticket);
      absl::StrAppend(&text, " task ", task.id, " (", handlers_[task.handler], ")");
    }
    const Clock::time_point start{std::chrono::nanoseconds(lane.start_ns.load())};
    absl::StrAppend(&text, " for ", Seconds(Clock::now() - start));
  }
  if (!runs) absl::StrAppend(&text, child.ready ? "idle" : "starting");
  if (child.end != EndReason::kNo) {
    absl::StrAppend(&text, ", being ended");
  } else if (pool_.retired(child.slot)) {
    absl::StrAppend(&text, ", to be replaced");
  }
  return text;
}

}  // namespace joinq
