// What the world outside is told of the worker's life: the ready file, the service
// manager. And the end of a burst.
#include <boost/asio/post.hpp>

#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"
#include "worker/daemon.h"
#include "worker/text.h"

namespace joinq {

std::string Daemon::Blocked() const {
  if (!link_->connected())
    return absl::StrCat("the broker at ", options_.broker.ToString(), " is not reached");
  if (!trouble_.empty()) return OneLine(trouble_);
  return paused_ ? "paused by the broker" : "";
}

void Daemon::LifeChanged() {
  const bool stopping = phase_ != Phase::kRunning;
  const bool ready = taking() && link_->connected() && trouble_.empty() && pool_.ready_children() > 0;
  if (ready != ready_ || stopping != stopping_) {
    ready_ = ready;
    stopping_ = stopping;
    boost::asio::post(io_, [this] { TellLife(); });
  }
  if (options_.burst) CheckBurst();
}

void Daemon::TellLife() {
  bool ready, stopping;
  std::string status_line;
  {
    absl::MutexLock lock(&mutex_);
    ready = ready_;
    stopping = stopping_;
    status_line = StatusLine();
  }
  ready_file_.Set(ready);
  if (ready && !std::exchange(told_ready_, true)) service_manager_.Ready();
  if (stopping) service_manager_.Stopping();
  service_manager_.Status(status_line);
}

std::string Daemon::StatusLine() const {
  if (!service_manager_.listens()) return "";
  if (phase_ != Phase::kRunning) return absl::StrCat("stopping, ", pool_.in_hand(), " tasks in hand");
  if (const std::string blocked = Blocked(); !blocked.empty())
    return absl::StrCat(blocked, "; ", pool_.in_hand(), " tasks in hand");
  if (!ready_) return "starting a child";
  return absl::StrCat(pool_.busy_children(), " of ", size_.most(), " children busy, ", pool_.in_hand(),
                      " tasks in hand, ", done_total_, " done, ", failed_total_, " failed");
}

void Daemon::TellReloading() {
  absl::MutexLock lock(&mutex_);
  // Ready would follow: it must not be the first, nor come after Stopping.
  if (!told_ready_ || phase_ != Phase::kRunning) return;
  told_reloading_ = true;
  service_manager_.Reloading();
}

void Daemon::EndReload() {
  if (std::exchange(reload_again_, false)) return Reload();
  if (std::exchange(told_reloading_, false)) service_manager_.Ready();
}

void Daemon::KeepAlive() {
  if (service_manager_.watchdog().count() == 0) return;
  {
    // Nobody sits on it: the other thread lives as well.
    absl::MutexLock lock(&mutex_);
  }
  service_manager_.KeepAlive();
  watchdog_timer_.expires_after(service_manager_.watchdog() / 2);
  watchdog_timer_.async_wait([this](boost::system::error_code error) {
    if (!error) KeepAlive();
  });
}

void Daemon::CheckBurst() {
  Burst burst = Burst::kBusy;
  if (pool_.in_hand() == 0 && !Blocked().empty()) {
    burst = Burst::kBlocked;
  } else if (pool_.in_hand() == 0 && pool_.outstanding() > 0 && link_->pending_completions() == 0) {
    burst = Burst::kIdle;
  }
  if (burst == burst_) return;
  burst_ = burst;
  if (std::exchange(burst_posted_, true)) return;
  boost::asio::post(io_, [this] { ArmBurst(); });
}

void Daemon::ArmBurst() {
  absl::MutexLock lock(&mutex_);
  burst_posted_ = false;
  burst_timer_.cancel();
  if (burst_ == Burst::kBusy) return;
  burst_timer_.expires_after(
      std::chrono::milliseconds(burst_ == Burst::kIdle ? options_.burst_idle_ms : options_.burst_wait_ms));
  burst_timer_.async_wait([this](boost::system::error_code error) {
    if (!error) EndBurst();
  });
}

void Daemon::EndBurst() {
  {
    absl::MutexLock lock(&mutex_);
    // It may have changed just now: then the timer is set anew.
    if (burst_posted_ || burst_ == Burst::kBusy || phase_ != Phase::kRunning) return;
    if (burst_ == Burst::kBlocked) {
      spdlog::error("--burst: no task could be taken for {} s: {}", options_.burst_wait_ms / 1000.0,
                    Blocked());
      exit_status_ = 1;
    }
  }
  StartDrain("burst");
}

}  // namespace joinq
