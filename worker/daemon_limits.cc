// The watch over slow tasks, time limits, and ends of children by our own hand.
#include <signal.h>
#include <time.h>

#include <boost/asio/post.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "spdlog/spdlog.h"
#include "worker/daemon.h"

namespace joinq {
namespace {

constexpr uint64_t kNsPerMs = 1'000'000;
constexpr uint64_t kLookNs = 5 * kNsPerMs;  // looks are never closer together
constexpr uint64_t kPeekAfterNs = 2 * kNsPerMs;
constexpr uint64_t kStalledAfterNs = 5 * kNsPerMs;
constexpr uint64_t kHandBackAfterNs = 100 * kNsPerMs;

uint64_t NowNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace

void Daemon::SetTimeLimits() {
  for (const auto& handler : handlers_) {
    const TimeLimit limit = options_.time_limits.Of(handler);
    time_limits_.push_back(limit);
    const uint64_t first_ns = limit.first_ms() * kNsPerMs;
    if (first_ns > 0 && (first_limit_ns_ == 0 || first_ns < first_limit_ns_)) first_limit_ns_ = first_ns;
  }
  if (first_limit_ns_ > 0) first_limit_ns_ = std::max(first_limit_ns_, kLookNs);
}

void Daemon::WatchSent(uint32_t slot, uint64_t& now) {
  const bool may_be_stuck = pool_.MayBeStuck(slot);
  if (!may_be_stuck && first_limit_ns_ == 0) return;
  // Without limits every look is that near: the clock need not be read.
  if (first_limit_ns_ == 0 && watch_.Pending(slot)) return;
  if (now == 0) now = NowNs();
  WantLook(slot, now + (may_be_stuck ? kLookNs : first_limit_ns_));
}

void Daemon::WatchWaiting(uint64_t& now) {
  if (pool_.waiting() <= pool_.ready_children() || watch_.Pending(options_.concurrency)) return;
  if (now == 0) now = NowNs();
  WantLook(options_.concurrency, now + kLookNs);
}

void Daemon::WantLook(uint32_t slot, uint64_t at) {
  if (!watch_.Want(slot, at)) return;
  boost::asio::post(io_, [this] {
    absl::MutexLock lock(&mutex_);
    ArmWatch();
  });
}

void Daemon::ArmWatch() {
  if (watch_.next() == WatchTimes::kNever) return;
  const uint64_t at = std::max(watch_.next(), last_look_ns_ + kLookNs);
  watch_timer_.expires_at(std::chrono::steady_clock::time_point(std::chrono::nanoseconds(at)));
  watch_timer_.async_wait([this](boost::system::error_code error) {
    if (!error) Look();
  });
}

void Daemon::Look() {
  const uint64_t now = last_look_ns_ = NowNs();
  absl::MutexLock lock(&mutex_);
  watch_.RunDue(now, [&](uint32_t slot) {
    mutex_.AssertHeld();
    if (slot == options_.concurrency) return LookAtWaiting(now);
    return children_[slot] ? LookAt(children_[slot], now) : WatchTimes::kNever;
  });
  Dispatch();
  link_->Flush();
  ArmWatch();
}

uint64_t Daemon::LookAt(const ChildPtr& child, uint64_t now) {
  if (child->end != EndReason::kNo) return WatchTimes::kNever;  // its end has a timer of its own
  const StatusPage& page = child->channel.page();
  const uint64_t done = page.done.load(std::memory_order_acquire);
  const uint64_t begun = page.begun.load(std::memory_order_acquire);
  const uint64_t start = page.start_ns.load(std::memory_order_relaxed);
  const bool runs = begun != done;
  const uint64_t age = runs && now > start ? now - start : 0;
  uint64_t next = WatchTimes::kNever;
  if (const auto ticket = pool_.Sent(child->slot, begun); runs && ticket && first_limit_ns_ > 0) {
    next = CheckTimeLimit(child, *ticket, start, now);
    if (child->end != EndReason::kNo) return WatchTimes::kNever;
  }
  if (pool_.MayBeStuck(child->slot)) {
    // Results it gathered before it took on something long.
    if (age > kPeekAfterNs && child->channel.Peek()) TakeResults(*child);
    if (age > kStalledAfterNs && pool_.MayBeStuck(child->slot)) {
      pool_.SetStalled(child->slot);
      Recall(child);
    }
    if (pool_.MayBeStuck(child->slot)) next = std::min(next, now + kLookNs);
  }
  // Another may begin meanwhile.
  if (first_limit_ns_ > 0 && pool_.in_flight(child->slot) > 0) next = std::min(next, now + first_limit_ns_);
  return next;
}

uint64_t Daemon::LookAtWaiting(uint64_t now) {
  if (pool_.waiting() <= pool_.ready_children()) {
    stalled_since_ns_ = 0;
    return WatchTimes::kNever;
  }
  // All are busy for long: others may be free for what waits here.
  if (!pool_.all_stalled()) {
    stalled_since_ns_ = 0;
  } else if (stalled_since_ns_ == 0) {
    stalled_since_ns_ = now;
  } else if (now - stalled_since_ns_ >= kHandBackAfterNs) {
    Release(pool_.TakeWaiting(pool_.ready_children()));
  }
  return now + kLookNs;
}

uint64_t Daemon::CheckTimeLimit(const ChildPtr& child, Pool::Ticket ticket, uint64_t start, uint64_t now) {
  const auto& task = pool_.task(ticket);
  const TimeLimit limit = time_limits_[task.handler];
  const uint64_t soft_at = start + limit.soft_ms * kNsPerMs, hard_at = start + limit.hard_ms * kNsPerMs;
  if (limit.hard_ms > 0 && now >= hard_at) {
    spdlog::warn("task {} ({}) is past its time limit of {} s; ending child {}", task.id,
                 handlers_[task.handler], limit.hard_ms / 1000.0, child->channel.pid());
    child->end_start_ns = start;
    End(child, EndReason::kTimeLimit, task.number);
    return WatchTimes::kNever;
  }
  uint64_t next = limit.hard_ms > 0 ? hard_at : WatchTimes::kNever;
  if (limit.soft_ms > 0 && child->soft_number != task.number) {
    if (now < soft_at) return std::min(next, soft_at);
    child->soft_number = task.number;
    child->channel.page().soft_number.store(task.number, std::memory_order_seq_cst);
    zygote_.Signal(child->channel.pid(), kAskSignal).IgnoreError();
  }
  return next;
}

void Daemon::FailPastTime(const Child& child, Pool::Ticket ticket, std::string detail) {
  const TimeLimit limit = time_limits_[pool_.task(ticket).handler];
  Fail(Complete(ticket, v1::Completion::FAILED, detail.size() + 256), v1::FAILURE_KIND_TIME_LIMIT,
       absl::StrFormat("hard time limit of %g s (--time-limit) passed; it was ended after %.3f s",
                       limit.hard_ms / 1000.0, static_cast<double>(NowNs() - child.end_start_ns) / 1e9),
       std::move(detail), false);
}

void Daemon::AskToEnd(const ChildPtr& child, Pool::Ticket ticket) {
  const uint64_t number = pool_.task(ticket).number;
  child->channel.page().cancel_number.store(number, std::memory_order_seq_cst);
  zygote_.Signal(child->channel.pid(), kAskSignal).IgnoreError();
  // Nothing new for it until it answers.
  pool_.SetStalled(child->slot);
  After(child, std::chrono::milliseconds(options_.kill_grace_ms), [this, child, number] {
    absl::MutexLock lock(&mutex_);
    // It may have answered meanwhile; then another task would be hit.
    if (child->end != EndReason::kNo || !pool_.Sent(child->slot, number)) return;
    End(child, EndReason::kCancelled, number);
    Dispatch();
    link_->Flush();
  });
}

void Daemon::End(const ChildPtr& child, EndReason why, uint64_t number) {
  child->end = why;
  child->end_number = number;
  pool_.Retire(child->slot);
  Recall(child);
  zygote_.Kill(child->channel.pid(), SIGTERM).IgnoreError();
  KillAfterGrace(child);
}

void Daemon::EndIfSpent(const ChildPtr& child) {
  if (child->dead || !child->ready || !pool_.Spent(child->slot)) return;
  if (child->end == EndReason::kRecycled) return;
  if (child->end != EndReason::kNo) {
    // It answered within its grace: nothing is left to wait for.
    zygote_.Kill(child->channel.pid(), SIGKILL).IgnoreError();
    return;
  }
  child->end = EndReason::kRecycled;
  pool_.Retire(child->slot);
  child->channel.CloseWrites();
  KillAfterGrace(child);
}

void Daemon::KillAfterGrace(const ChildPtr& child) {
  After(child, std::chrono::milliseconds(options_.kill_grace_ms),
        [this, child] { zygote_.Kill(child->channel.pid(), SIGKILL).IgnoreError(); });
}

void Daemon::After(const ChildPtr& child, std::chrono::milliseconds delay, std::function<void()> act) {
  child->end_timer.expires_after(delay);
  child->end_timer.async_wait([child, act = std::move(act)](boost::system::error_code error) {
    if (!error && !child->dead) act();
  });
}

}  // namespace joinq
