// How many children there are: made when tasks wait, replaced, let go.
#include <signal.h>

#include <boost/asio/post.hpp>

#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"
#include "worker/daemon.h"

namespace joinq {
namespace {
constexpr uint32_t kRequestedMax = 16;  // of a zygote, and not answered
}  // namespace

void Daemon::WantChildren() {
  if (start_posted_ || holding_starts_ || phase_ != Phase::kRunning) return;
  if (ChildrenToStart() == 0 && ProcessesToStart() == 0) return;
  start_posted_ = true;
  boost::asio::post(io_, [this] { StartChildren(); });
}

uint32_t Daemon::ChildrenToStart() const {
  const uint64_t lanes = options_.concurrency_per_child;
  return size_.ToStart(alive_, starting_, pool_.leaving_children(), (pool_.waiting() + lanes - 1) / lanes);
}

uint32_t Daemon::ProcessesToStart() const {
  const auto waiting = static_cast<uint32_t>(pool_.waiting_apart());
  if (waiting <= processes_requested_ || processes_ >= options_.processes_max) return 0;
  return std::min(waiting - processes_requested_, options_.processes_max - processes_);
}

void Daemon::StartChildren() {
  absl::MutexLock lock(&mutex_);
  start_posted_ = false;
  if (holding_starts_ || phase_ != Phase::kRunning) return;
  uint32_t children = ChildrenToStart(), processes = ProcessesToStart();
  if (children + processes > 0 && !brood_) return Reload();
  for (; children > 0 && requested_ < kRequestedMax; --children) StartChild(false);
  for (; processes > 0 && requested_ < kRequestedMax; --processes) StartChild(true);
}

void Daemon::StartChild(bool single) {
  const uint32_t slot = FreeSlot();
  if (!brood_->zygote.Spawn(slot, single).ok()) return;  // its end will be seen
  places_[slot] = {brood_, single, false};
  ++brood_->children;
  if (brood_->requested++ == 0) brood_->heard = std::chrono::steady_clock::now();
  ++requested_;
  if (single) {
    ++processes_;
    ++processes_requested_;
  } else {
    ++alive_;
    ++starting_;
  }
}

uint32_t Daemon::FreeSlot() {
  for (uint32_t slot = 0; slot < places_.size(); ++slot) {
    if (!places_[slot].brood) return slot;
  }
  places_.emplace_back();
  children_.emplace_back();
  watch_.AddChild();
  return pool_.AddSlot();
}

void Daemon::FreeUp(uint32_t slot) {
  const Place place = std::exchange(places_[slot], {});
  if (!children_[slot]) {
    --requested_;
    --place.brood->requested;
    if (place.single) --processes_requested_;
  }
  children_[slot].reset();
  if (place.single) {
    --processes_;
  } else {
    --alive_;
    if (!place.ready) --starting_;
  }
  --place.brood->children;
  LetGo(place.brood);
}

void Daemon::OnSpawned(const BroodPtr& brood, SpawnedChild spawned) {
  absl::MutexLock lock(&mutex_);
  const uint32_t slot = spawned.child;
  const pid_t pid = spawned.pid;
  auto channel = ChildChannel::Adopt(std::move(spawned));
  if (!channel.ok()) {
    brood->zygote.Kill(pid, SIGKILL).IgnoreError();
    return StartFailed(slot, std::string(channel.status().message()));
  }
  auto child =
      std::make_shared<Child>(io_, slot, brood, *std::move(channel), options_.concurrency_per_child > 1);
  child->single = places_[slot].single;
  children_[slot] = child;
  --requested_;
  --brood->requested;
  if (child->single) --processes_requested_;
  WatchReadable(child);
  WatchOutput(child);
  if (child->single) {
    StartProcess(child);
  } else if (brood != brood_) {
    Replace(child);
  } else {
    After(child, std::chrono::milliseconds(options_.child_start_timeout_ms), [this, child] {
      absl::MutexLock lock(&mutex_);
      if (child->ready || child->end != EndReason::kNo) return;
      child->start_error =
          absl::StrCat("was not ready after ", options_.child_start_timeout_ms / 1000.0, " s");
      End(child, EndReason::kSlowStart, 0);
    });
  }
  WantChildren();
}

void Daemon::OnSpawnFailed(uint32_t slot, const std::string& why) {
  absl::MutexLock lock(&mutex_);
  StartFailed(slot, why);
}

void Daemon::StartFailed(uint32_t slot, const std::string& why) {
  spdlog::error("cannot start a child: {}", why);
  FreeUp(slot);
  OnStart(false, why);
  WantChildren();
}

void Daemon::OnStart(bool healthy, const std::string& why) {
  if (healthy) {
    respawn_.OnHealthy();
    if (!trouble_.empty()) {
      spdlog::info("children live again");
      trouble_.clear();
      AddStatus();
    }
    pool_.SetGrowing(true);
    LifeChanged();
    return;
  }
  const auto delay = respawn_.OnFailure();
  if (respawn_.tripped()) {
    if (trouble_.empty())
      spdlog::error("{} children in a row died at start; no tasks are taken while none lives: {}",
                    RespawnPolicy::kTripAfter, why);
    trouble_ = absl::StrCat("children die at start: ", why);
    pool_.SetGrowing(false);
    AddStatus();
    if (pool_.ready_children() == 0) Release(pool_.TakeWaiting());
  }
  LifeChanged();
  holding_starts_ = true;
  start_timer_.expires_after(delay);
  start_timer_.async_wait([this](boost::system::error_code error) {
    if (error) return;
    {
      absl::MutexLock lock(&mutex_);
      holding_starts_ = false;
    }
    StartChildren();
  });
}

void Daemon::CheckTrouble() {
  if (trouble_.empty()) return;
  const auto now = std::chrono::steady_clock::now();
  for (const auto& child : children_) {
    if (child && !child->single && child->ready && child->end == EndReason::kNo &&
        now - child->born > kHealthyLife)
      return OnStart(true, "");
  }
}

void Daemon::Replace(const ChildPtr& child) {
  if (child->end != EndReason::kNo) return;
  if (!child->ready) {
    child->end = EndReason::kRecycled;
    KillNow(*child);
    return;
  }
  pool_.Retire(child->slot);
  Recall(child);
  EndIfSpent(child);
}

void Daemon::LetChildrenGo(uint32_t count, bool idle_only) {
  // Idle ones first; the newest of them, as the old ones are the warm ones.
  for (const bool idle : {true, false}) {
    if (!idle && idle_only) return;
    for (auto slot = static_cast<uint32_t>(children_.size()); slot-- > 0 && count > 0;) {
      const ChildPtr child = children_[slot];
      if (!child || child->single || child->end != EndReason::kNo || pool_.retired(slot)) continue;
      if (idle && (pool_.in_flight(slot) > 0 || !child->ready)) continue;
      Replace(child);
      --count;
    }
  }
}

void Daemon::Resize(uint32_t most) {
  spdlog::info("resized from {} to {} children by the broker", size_.most(), most);
  size_.Resize(most);
  pool_.SetCapacity(most);
  const uint32_t leaving = pool_.leaving_children();
  const uint32_t beyond = size_.Beyond(alive_);
  if (beyond > leaving) LetChildrenGo(beyond - leaving, false);
  AddStatus();
  Dispatch();
}

void Daemon::EndWindow() {
  {
    absl::MutexLock lock(&mutex_);
    LetChildrenGo(size_.Unneeded(alive_, pool_.TakeBusyPeak()), true);
  }
  window_timer_.expires_after(std::chrono::milliseconds(options_.autoscale_idle_ms));
  window_timer_.async_wait([this](boost::system::error_code error) {
    if (!error) EndWindow();
  });
}

}  // namespace joinq
