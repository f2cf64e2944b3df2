// The keeper and its zygotes: loading modules anew, replacing a zygote that died.
#include <signal.h>
#include <unistd.h>

#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "spdlog/spdlog.h"
#include "worker/daemon.h"
#include "worker/process/offspring.h"

namespace joinq {
namespace {

constexpr auto kLastWordsTime = std::chrono::seconds(2);  // to give tasks back when the keeper died
constexpr auto kZygotePatience = std::chrono::seconds(10);
constexpr int kDeathMs = 1000;               // a killed process is gone long before that
constexpr size_t kHandlersMax = kNoHandler;  // that there ever were

}  // namespace

Daemon::Brood::Brood(boost::asio::io_context& io, Zygote zygote)
    : zygote(std::move(zygote)), readable(io, dup(this->zygote.control_fd())) {}

void Daemon::WatchKeeper() {
  keeper_readable_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                              [this](boost::system::error_code error) {
                                if (!error) OnKeeperReadable();
                              });
}

void Daemon::OnKeeperReadable() {
  for (;;) {
    KeeperReport report;
    UniqueFd control;
    switch (keeper_.Receive(report, control)) {
      case Keeper::Next::kNone:
        return WatchKeeper();
      case Keeper::Next::kGone:
        return OnKeeperGone();
      case Keeper::Next::kReport:
        break;
    }
    switch (report.type) {
      case KeeperReport::kForked:
        loading_ = std::make_shared<Brood>(io_, Zygote(report.pid, std::move(control)));
        WatchZygote(loading_);
        break;
      case KeeperReport::kForkFailed:
        EndLoading(absl::InternalError(absl::StrCat("cannot fork a zygote: ", report.text)));
        break;
      case KeeperReport::kEnded:
        // One that serves is seen to end by itself.
        if (loading_ && loading_->zygote.pid() == report.pid)
          EndLoading(loading_->start.ErrorOfEnd(report.wait_status));
        break;
    }
  }
}

void Daemon::OnKeeperGone() {
  absl::MutexLock lock(&mutex_);
  if (phase_ == Phase::kClosing) return;
  spdlog::error("the keeper of the zygotes died; giving all tasks back");
  exit_status_ = 1;
  phase_ = Phase::kHurrying;
  LifeChanged();
  pool_.SetPaused(true);
  link_->SetDraining();
  BuryAll(nullptr);
  // What its children had started has come to this process.
  EndOffspring([](pid_t) { return false; });
  Release(pool_.TakeWaiting());
  link_->Flush();
  deadline_timer_.expires_after(kLastWordsTime);
  deadline_timer_.async_wait([this](boost::system::error_code error) {
    if (!error) io_.stop();
  });
  CloseIfDone();
}

void Daemon::WatchZygote(const BroodPtr& brood) {
  brood->readable.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                             [this, brood](boost::system::error_code error) {
                               if (error) return;
                               if (brood == loading_) return OnLoading(brood);
                               OnZygoteReadable(brood);
                             });
}

void Daemon::OnZygoteReadable(const BroodPtr& brood) {
  while (brood->readable.is_open()) {
    ZygoteReport report;
    SpawnedChild spawned;
    switch (brood->zygote.Receive(report, spawned)) {
      case Zygote::Next::kNone:
        return WatchZygote(brood);
      case Zygote::Next::kGone:
        return OnZygoteGone(brood);
      case Zygote::Next::kReport:
        break;
    }
    brood->heard = std::chrono::steady_clock::now();
    if (report.type == ZygoteReport::kSpawned) OnSpawned(brood, std::move(spawned));
    if (report.type == ZygoteReport::kSpawnFailed) OnSpawnFailed(report.child, report.text);
    if (report.type == ZygoteReport::kExited) OnExited(report);
  }
}

void Daemon::OnZygoteGone(const BroodPtr& brood) {
  absl::MutexLock lock(&mutex_);
  if (phase_ == Phase::kClosing) return;
  spdlog::error("the zygote died; what its children ran goes back");
  const bool newest = brood == brood_;
  if (newest) brood_.reset();
  BuryAll(brood);
  LetGo(brood);
  if (newest && phase_ == Phase::kRunning) OnStart(false, "the zygote died");
  if (!taking()) Release(pool_.TakeWaiting());
  LifeChanged();
  WantChildren();
  link_->Flush();
  CloseIfDone();
}

void Daemon::BuryAll(const BroodPtr& brood) {
  const auto of_it = [&](uint32_t slot) {
    mutex_.AssertHeld();
    return places_[slot].brood && (!brood || places_[slot].brood == brood);
  };
  for (uint32_t slot = 0; slot < places_.size(); ++slot) {
    // The kernel ends the child itself; this is for the rest of its group as well.
    if (of_it(slot) && children_[slot]) kill(-children_[slot]->channel.pid(), SIGKILL);
    if (of_it(slot) && children_[slot]) children_[slot]->channel.Kill();
  }
  for (uint32_t slot = 0; slot < places_.size(); ++slot) {
    if (!of_it(slot)) continue;
    if (const ChildPtr child = children_[slot]) {
      // Only what is dead for certain may run elsewhere.
      if (!child->channel.WaitDead(kDeathMs)) spdlog::error("child {} does not die", child->channel.pid());
      Bury(*child);
      const auto running = pool_.ChildDied(slot, child->channel.page().begun.load());
      if (IsPastTime(child->end)) {
        ChildEnd end{};
        end.pid = child->channel.pid();
        end.wait_status = SIGKILL;
        for (Pool::Ticket ticket : running) JudgeCulprit(*child, ticket, end, nullptr);
      } else {
        Release(running);
      }
    }
    FreeUp(slot);
  }
}

void Daemon::Reload() {
  if (reloading_) {
    reload_again_ = true;
    return;
  }
  reloading_ = keeper_.ForkZygote().ok();  // if not, the keeper's end will be seen
}

void Daemon::OnLoading(const BroodPtr& brood) {
  switch (brood->start.Take(brood->zygote)) {
    case ZygoteStart::State::kLoading:
      return WatchZygote(brood);
    case ZygoteStart::State::kReady:
      return Serve(brood);
    case ZygoteStart::State::kFailed:
      return EndLoading(brood->start.error());
    case ZygoteStart::State::kGone:
      return;  // the keeper reports how it ended
  }
}

void Daemon::EndLoading(const absl::Status& error) {
  absl::MutexLock lock(&mutex_);
  const BroodPtr failed = std::exchange(loading_, nullptr);
  if (failed) LetGo(failed);
  reloading_ = false;
  spdlog::error("{}{}", std::string(error.message()),
                brood_ ? "; nothing was reloaded, the worker goes on as it is" : "");
  EndReload();
  if (reloading_ || brood_) return;
  OnStart(false, std::string(error.message()));
  WantChildren();
  link_->Flush();
}

void Daemon::Serve(const BroodPtr& brood) {
  absl::MutexLock lock(&mutex_);
  const auto& names = brood->start.handlers();
  std::vector<std::string> before;
  for (const auto& [name, index] : handler_index_) before.push_back(name);
  if (!NameHandlers(*brood, names)) {
    mutex_.Unlock();
    EndLoading(absl::ResourceExhaustedError("too many handlers since the worker started; restart it"));
    mutex_.Lock();
    return;
  }
  loading_.reset();
  reloading_ = false;
  const BroodPtr old = std::exchange(brood_, brood);
  WatchZygote(brood);
  spdlog::info("{} handlers: {}", old ? "reloaded;" : "a new zygote serves;", absl::StrJoin(names, ", "));
  for (const auto& child : children_) {
    if (!child || child->brood == brood || child->single) continue;
    Replace(child);
  }
  if (old) LetGo(old);
  // The broker learns of handlers from the hello of a stream.
  std::vector<std::string> now = names;
  std::sort(before.begin(), before.end());
  std::sort(now.begin(), now.end());
  if (before != now) link_->Renew();
  Dispatch();
  WantChildren();
  link_->Flush();
  EndReload();
}

bool Daemon::NameHandlers(Brood& brood, const std::vector<std::string>& names) {
  absl::flat_hash_map<std::string, uint16_t> known;
  for (size_t i = 0; i < handlers_.size(); ++i) known.emplace(handlers_[i], static_cast<uint16_t>(i));
  if (handlers_.size() + names.size() > kHandlersMax) return false;
  handler_index_.clear();
  for (size_t i = 0; i < names.size(); ++i) {
    const auto [it, fresh] = known.emplace(names[i], static_cast<uint16_t>(handlers_.size()));
    if (fresh) {
      handlers_.push_back(names[i]);
      time_limits_.push_back(options_.time_limits.Of(names[i]));
      HoldTo(time_limits_.back());
    }
    handler_index_.emplace(names[i], it->second);
    brood.zygote.NameHandler(it->second, static_cast<uint16_t>(i)).IgnoreError();  // its end will be seen
  }
  return true;
}

std::string Daemon::HandlersServed() const {
  std::vector<std::string> names;
  for (const auto& [name, index] : handler_index_) names.push_back(name);
  std::sort(names.begin(), names.end());
  return absl::StrJoin(names, ", ");
}

void Daemon::CheckZygotes() {
  const auto now = std::chrono::steady_clock::now();
  const auto end = [](const BroodPtr& brood, const char* why) {
    spdlog::error("zygote {} {}; killing it", brood->zygote.pid(), why);
    kill(brood->zygote.pid(), SIGKILL);  // its end will be seen
  };
  for (const auto& place : places_) {
    if (place.brood && place.brood->requested > 0 && now - place.brood->heard > kZygotePatience)
      return end(place.brood, "has not answered for 10 s");
  }
  for (const auto& child : children_) {
    if (!child || !child->killed_at || now - *child->killed_at < kZygotePatience) continue;
    // One that is stuck in the kernel is not the zygote's fault.
    if (child->channel.WaitDead(0)) return end(child->brood, "does not say that a child has died");
  }
}

void Daemon::LetGo(const BroodPtr& brood) {
  if (brood != brood_ && brood != loading_ && brood->children == 0) Close(*brood);
}

void Daemon::Close(Brood& brood) {
  boost::system::error_code ignored;
  brood.readable.close(ignored);  // a duplicate: it would keep the zygote waiting
  brood.zygote.Stop();
}

}  // namespace joinq
