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
constexpr auto kTickTime = std::chrono::milliseconds(5);
constexpr uint64_t kPeekAfterNs = 2'000'000;
constexpr uint64_t kStalledAfterNs = 5'000'000;
constexpr int kHandBackTicks = 20;
constexpr auto kHealthyLife = std::chrono::seconds(1);
constexpr auto kKillGrace = std::chrono::seconds(2);

uint64_t NowNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

std::string DescribeDeath(pid_t pid, int wait_status) {
  if (WIFSIGNALED(wait_status)) {
    const int number = WTERMSIG(wait_status);
    return absl::StrCat("child ", pid, " died: signal ", number, " (", strsignal(number), ")");
  }
  return absl::StrCat("child ", pid, " died: exit status ", WEXITSTATUS(wait_status),
                      " in the middle of a task");
}

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
  deadline_timer_.expires_after(kKillGrace);
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
    Dispatch();
    link_->Flush();
    CloseIfDone();
  }
  if (!end) WatchReadable(child);  // after the end, the zygote reports the death
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
  child.kill_timer.cancel();
  boost::system::error_code ignored;
  child.readable.close(ignored);
}

void Daemon::OnExited(const ZygoteReport& report) {
  absl::MutexLock lock(&mutex_);
  ChildPtr child = children_[report.child];
  if (!child || child->channel.pid() != report.pid) return;
  Bury(*child);
  const auto culprit = pool_.ChildDied(child->slot, child->channel.page().begun.load());
  children_[report.child].reset();
  ++child_deaths_total_;
  const std::string death = DescribeDeath(report.pid, report.wait_status);
  if (phase_ != Phase::kRunning) {
    if (phase_ == Phase::kHurrying && culprit) {
      Complete(*culprit, v1::Completion::RELEASED, 0);
    } else if (culprit) {
      Fail(Complete(*culprit, v1::Completion::FAILED, death.size()), v1::FAILURE_KIND_CRASH, death, "",
           false);
    }
    Release(pool_.TakeWaiting(0));
  } else {
    if (culprit && pool_.task(*culprit).dropped) {
      pool_.Free(*culprit);
    } else if (culprit && child->ending) {
      Complete(*culprit, v1::Completion::RELEASED, 0);
    } else if (culprit) {
      spdlog::warn("{}; it ran task {}", death, pool_.task(*culprit).id);
      Fail(Complete(*culprit, v1::Completion::FAILED, death.size()), v1::FAILURE_KIND_CRASH, death,
           absl::StrCat("peak memory ", report.max_rss_kib, " KiB"), false);
    } else {
      spdlog::warn("child {} ended between tasks (wait status {})", report.pid, report.wait_status);
    }
    // A life that did something was no failed start; what ended it was most likely a task.
    const bool healthy = culprit || child->answered ||
                         (child->ready && std::chrono::steady_clock::now() - child->born > kHealthyLife);
    Respawn(report.child, healthy);
    Dispatch();
  }
  link_->Flush();
  CloseIfDone();
}

void Daemon::KillGently(const ChildPtr& child) {
  zygote_.Kill(child->channel.pid(), SIGTERM).IgnoreError();
  child->kill_timer.expires_after(kKillGrace);
  child->kill_timer.async_wait([this, child](boost::system::error_code error) {
    if (!error && !child->dead) zygote_.Kill(child->channel.pid(), SIGKILL).IgnoreError();
  });
}

void Daemon::ArmTick() {
  tick_timer_.expires_after(kTickTime);
  tick_timer_.async_wait([this](boost::system::error_code error) {
    if (!error) Tick();
  });
}

void Daemon::Tick() {
  const uint64_t now = NowNs();
  absl::MutexLock lock(&mutex_);
  bool again = false;
  for (const auto& child : children_) {
    if (!child || !pool_.MayBeStuck(child->slot)) continue;
    const StatusPage& page = child->channel.page();
    const uint64_t done = page.done.load(std::memory_order_acquire);
    const uint64_t begun = page.begun.load(std::memory_order_acquire);
    const uint64_t start = page.start_ns.load(std::memory_order_relaxed);
    const uint64_t age = begun != done && now > start ? now - start : 0;
    // Results it gathered before it took on something long.
    if (age > kPeekAfterNs && child->channel.Peek()) TakeResults(*child);
    if (age > kStalledAfterNs && pool_.MayBeStuck(child->slot)) {
      pool_.SetStalled(child->slot);
      Recall(child);
    }
    again = again || pool_.MayBeStuck(child->slot);
  }
  // All are busy for long: others may be free for what waits here.
  stalled_ticks_ = pool_.all_stalled() ? stalled_ticks_ + 1 : 0;
  if (stalled_ticks_ >= kHandBackTicks) Release(pool_.TakeWaiting(pool_.ready_children()));
  tick_armed_ = again || pool_.waiting() > pool_.ready_children();
  if (tick_armed_) ArmTick();
  Dispatch();
  link_->Flush();
}

}  // namespace joinq
