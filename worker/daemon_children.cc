// Children: births, results, deaths, and the watch over slow ones.
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include <boost/asio/post.hpp>

#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"
#include "worker/daemon.h"

namespace joinq {
namespace {

constexpr uint32_t kSpawningMax = 16;  // requests to the zygote that are not answered
constexpr auto kHealthyLife = std::chrono::seconds(1);
constexpr auto kLastWordsTime = std::chrono::seconds(2);  // to give tasks back when the zygote died
// A dying child's channel closes just before its death is reported.
constexpr auto kDeathAfterClose = std::chrono::milliseconds(200);

}  // namespace

void Daemon::WatchZygote() {
  zygote_readable_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                              [this](boost::system::error_code error) {
                                if (!error) OnZygoteReadable();
                              });
}

void Daemon::OnZygoteReadable() {
  for (;;) {
    ZygoteReport report;
    SpawnedChild spawned;
    switch (zygote_.Receive(report, spawned)) {
      case Zygote::Next::kNone:
        return WatchZygote();
      case Zygote::Next::kGone:
        return OnZygoteGone();
      case Zygote::Next::kReport:
        break;
    }
    if (report.type == ZygoteReport::kSpawned) OnSpawned(std::move(spawned));
    if (report.type == ZygoteReport::kSpawnFailed) OnSpawnFailed(report.child, report.text);
    if (report.type == ZygoteReport::kExited) OnExited(report);
  }
}

void Daemon::OnZygoteGone() {
  absl::MutexLock lock(&mutex_);
  if (phase_ == Phase::kClosing) return;
  spdlog::error("the zygote died; giving all tasks back");
  exit_status_ = 1;
  phase_ = Phase::kHurrying;
  pool_.SetPaused(true);
  link_->SetDraining();
  for (auto& child : children_) {
    if (!child) continue;
    // The kernel ends the child itself; this is for the rest of its group.
    kill(-child->channel.pid(), SIGKILL);
    Bury(*child);
    if (auto running = pool_.ChildDied(child->slot, child->channel.page().begun.load())) Release({*running});
    child.reset();
  }
  Release(pool_.TakeWaiting(0));
  link_->Flush();
  deadline_timer_.expires_after(kLastWordsTime);
  deadline_timer_.async_wait([this](boost::system::error_code error) {
    if (!error) io_.stop();
  });
  CloseIfDone();
}

void Daemon::StartSpawns() {
  for (; !to_spawn_.empty() && spawning_ < kSpawningMax; ++spawning_) {
    if (!zygote_.Spawn(to_spawn_.back()).ok()) return;  // its end will be seen
    to_spawn_.pop_back();
  }
}

void Daemon::OnSpawned(SpawnedChild spawned) {
  --spawning_;
  StartSpawns();
  const uint32_t slot = spawned.child;
  const pid_t pid = spawned.pid;
  auto channel = ChildChannel::Adopt(std::move(spawned));
  if (!channel.ok()) {
    zygote_.Kill(pid, SIGKILL).IgnoreError();
    return OnSpawnFailed(slot, std::string(channel.status().message()));
  }
  auto child = std::make_shared<Child>(io_, slot, *std::move(channel));
  {
    absl::MutexLock lock(&mutex_);
    children_[slot] = child;
  }
  WatchReadable(child);
  WatchOutput(child);
}

void Daemon::OnSpawnFailed(uint32_t slot, const std::string& why) {
  --spawning_;
  spdlog::error("cannot start a child: {}", why);
  Respawn(slot, false);
}

void Daemon::Respawn(uint32_t slot, bool healthy) {
  const auto delay = respawn_.OnDeath(healthy);
  if (!healthy && respawn_.just_tripped()) {
    spdlog::error("{} children in a row died at start; no tasks are taken while none lives",
                  RespawnPolicy::kTripAfter);
  }
  if (delay.count() == 0) {
    to_spawn_.push_back(slot);
    return StartSpawns();
  }
  auto timer = std::make_shared<boost::asio::steady_timer>(io_, delay);
  timer->async_wait([this, slot, timer](boost::system::error_code error) {
    if (error) return;
    to_spawn_.push_back(slot);
    StartSpawns();
  });
}

void Daemon::WatchReadable(const ChildPtr& child) {
  child->readable.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                             [this, child](boost::system::error_code error) {
                               if (!error && !child->dead) OnReadable(child);
                             });
}

void Daemon::OnReadable(const ChildPtr& child) {
  bool end = false;
  if (child->channel.Receive(scratch_.data(), scratch_.size(), end)) {
    absl::MutexLock lock(&mutex_);
    TakeResults(*child);
    EndIfSpent(child);
    Dispatch();
    link_->Flush();
    CloseIfDone();
  }
  if (!end) return WatchReadable(child);
  // The zygote reports the death now; or else the child lives on and can answer nothing any more.
  absl::MutexLock lock(&mutex_);
  if (child->end != EndReason::kNo) return;
  After(child, kDeathAfterClose, [this, child] {
    absl::MutexLock lock(&mutex_);
    if (child->end != EndReason::kNo) return;
    spdlog::warn("child {} closed its channel; ending it", child->channel.pid());
    End(child, EndReason::kClosedChannel, child->channel.page().begun.load());
    Dispatch();
    link_->Flush();
  });
}

void Daemon::WatchWritable(const ChildPtr& child) {
  child->readable.async_wait(boost::asio::posix::stream_descriptor::wait_write,
                             [this, child](boost::system::error_code error) {
                               if (error || child->dead) return;
                               absl::MutexLock lock(&mutex_);
                               child->waiting_writable = false;
                               SendTo(child);
                             });
}

void Daemon::Bury(Child& child) {
  // What it wrote or gathered before it died counts.
  bool end = false;
  while (child.channel.Receive(scratch_.data(), scratch_.size(), end)) {
  }
  child.channel.Peek();
  TakeResults(child);
  child.dead = true;
  child.end_timer.cancel();
  boost::system::error_code ignored;
  child.readable.close(ignored);
  child.output_timer.cancel();
  child.progress_timer.cancel();
  child.output.close(ignored);  // others may hold it open
}

void Daemon::OnExited(const ZygoteReport& report) {
  absl::MutexLock lock(&mutex_);
  ChildPtr child = children_[report.child];
  if (!child || child->channel.pid() != report.pid) return;
  Bury(*child);
  const auto culprit = pool_.ChildDied(child->slot, child->channel.page().begun.load());
  children_[report.child].reset();
  ++child_deaths_total_;
  if (culprit) {
    JudgeCulprit(*child, *culprit,
                 {report.pid, report.wait_status, report.max_rss_kib, report.user_ms, report.system_ms});
  } else if (child->end == EndReason::kNo) {
    spdlog::warn("child {} ended between tasks (wait status {})", report.pid, report.wait_status);
  }
  if (phase_ != Phase::kRunning) {
    Release(pool_.TakeWaiting(0));
  } else {
    // A life that did something was no failed start; what ended it was most likely a task.
    const bool healthy = culprit || child->answered || child->end != EndReason::kNo ||
                         (child->ready && std::chrono::steady_clock::now() - child->born > kHealthyLife);
    Respawn(report.child, healthy);
    Dispatch();
  }
  link_->Flush();
  CloseIfDone();
}

void Daemon::JudgeCulprit(Child& child, Pool::Ticket culprit, const ChildEnd& end) {
  const auto& task = pool_.task(culprit);
  EndOutput(child, task.id);
  const bool to_blame = child.end == EndReason::kNo || task.number == child.end_number;
  if (task.dropped) return pool_.Free(culprit);
  if (phase_ == Phase::kHurrying || !to_blame || child.end == EndReason::kCancelled ||
      child.end == EndReason::kRecycled) {
    Complete(culprit, v1::Completion::RELEASED, 0);
    return;
  }
  if (child.end == EndReason::kTimeLimit)
    return FailPastTime(child, culprit, WithOutput(DescribeUse(end), task));
  const uint64_t oom_kills = end.killed() ? OomKills() : oom_kills_;
  DeathReport death = DescribeDeath(end, options_.child_limits, OutputOf(task), oom_kills > oom_kills_);
  oom_kills_ = oom_kills;
  if (child.end != EndReason::kNo) {
    death.cause = DeathCause::kCrash;
    death.message =
        absl::StrCat("child ", end.pid,
                     child.end == EndReason::kClosedChannel
                         ? " closed its channel to the worker, so it can answer nothing; it was ended"
                         : " broke the protocol of its channel; it was killed");
  }
  spdlog::warn("{}; it ran task {} ({})", death.message, task.id, handlers_[task.handler]);
  const auto kind = death.cause == DeathCause::kCpuLimit      ? v1::FAILURE_KIND_TIME_LIMIT
                    : death.cause == DeathCause::kOutOfMemory ? v1::FAILURE_KIND_OUT_OF_MEMORY
                                                              : v1::FAILURE_KIND_CRASH;
  death.detail = WithOutput(std::move(death.detail), task);
  Fail(Complete(culprit, v1::Completion::FAILED, death.message.size() + death.detail.size()), kind,
       death.message, death.detail, false);
}

}  // namespace joinq
