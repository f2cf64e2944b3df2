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

void Daemon::HoldTo(TimeLimit limit) {
  if (limit.first_ms() == 0) return;
  const uint64_t first_ns = std::max(limit.first_ms() * kNsPerMs, kLookNs);
  if (first_limit_ns_ == 0 || first_ns < first_limit_ns_) first_limit_ns_ = first_ns;
}

void Daemon::WatchSent(uint32_t slot, uint64_t& now) {
  const bool may_be_stuck = pool_.MayBeStuck(slot);
  if (!may_be_stuck && first_limit_ns_ == 0) return;
  // Without limits every look is that near: the clock need not be read.
  if (first_limit_ns_ == 0 && watch_.Pending(slot + 1)) return;
  if (now == 0) now = NowNs();
  WantLook(slot + 1, now + (may_be_stuck ? kLookNs : first_limit_ns_));
}

void Daemon::WatchWaiting(uint64_t& now) {
  if (pool_.waiting() == 0 || watch_.Pending(0)) return;
  if (now == 0) now = NowNs();
  WantLook(0, now + kLookNs);
}

void Daemon::WantLook(uint32_t what, uint64_t at) {
  if (!watch_.Want(what, at)) return;
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
  watch_.RunDue(now, [&](uint32_t what) {
    mutex_.AssertHeld();
    if (what == 0) return LookAtWaiting(now);
    const ChildPtr child = children_[what - 1];
    return child ? LookAt(child, now) : WatchTimes::kNever;
  });
  Dispatch();
  link_->Flush();
  ArmWatch();
}

uint64_t Daemon::LookAt(const ChildPtr& child, uint64_t now) {
  if (child->end != EndReason::kNo) return WatchTimes::kNever;  // its end has a timer of its own
  StatusPage& page = child->channel.page();
  uint64_t next = WatchTimes::kNever;
  uint32_t running = 0;
  for (StatusLane& lane : LanesOf(page)) {
    const uint64_t number = lane.number.load(std::memory_order_acquire);
    if (number == 0) continue;
    ++running;
    const uint64_t start = lane.start_ns.load(std::memory_order_relaxed);
    const auto ticket = pool_.Sent(child->slot, number);
    if (!ticket || first_limit_ns_ == 0) continue;
    next = std::min(next, CheckTimeLimit(child, *ticket, lane, start, now));
    if (child->end != EndReason::kNo) return WatchTimes::kNever;
  }
  const uint64_t begun_ns = page.begun_ns.load(std::memory_order_relaxed);
  const uint64_t age = running > 0 && now > begun_ns ? now - begun_ns : 0;
  running = std::max(running, 1u);
  if (pool_.MayBeStuck(child->slot, running)) {
    // Results it gathered before it took on something long.
    if (age > kPeekAfterNs && child->channel.Peek()) TakeResults(*child);
    if (age > kStalledAfterNs && pool_.MayBeStuck(child->slot, running)) {
      pool_.SetStalled(child->slot);
      Recall(child);
    }
    if (pool_.MayBeStuck(child->slot, running)) next = std::min(next, now + kLookNs);
  }
  // Another may begin meanwhile.
  if (first_limit_ns_ > 0 && pool_.in_flight(child->slot) > 0) next = std::min(next, now + first_limit_ns_);
  return next;
}

uint64_t Daemon::LookAtWaiting(uint64_t now) {
  if (pool_.waiting() == 0) return WatchTimes::kNever;
  // All are busy for long, and there will be no more of them: others may be free for what waits here.
  const bool can_grow = alive_ < size_.most() && !holding_starts_;
  bool all_long = !can_grow && starting_ == 0;
  for (const auto& child : children_) {
    if (!all_long) break;
    if (!child || child->single || !child->ready) continue;
    StatusPage& page = child->channel.page();
    const auto lanes = LanesOf(page);
    const auto runs = std::count_if(lanes.begin(), lanes.end(),
                                    [](const StatusLane& lane) { return lane.number.load() != 0; });
    const bool full = runs == std::ssize(lanes) || (runs > 0 && pool_.stalled(child->slot));
    all_long = full && now > page.begun_ns.load(std::memory_order_relaxed) + kHandBackAfterNs;
  }
  if (all_long) Release(pool_.HandBack());
  return pool_.waiting() > 0 ? now + kLookNs : WatchTimes::kNever;
}

uint64_t Daemon::CheckTimeLimit(const ChildPtr& child, Pool::Ticket ticket, StatusLane& lane, uint64_t start,
                                uint64_t now) {
  const auto& task = pool_.task(ticket);
  const TimeLimit limit = task.limit;
  const uint64_t soft_at = start + limit.soft_ms * kNsPerMs, hard_at = start + limit.hard_ms * kNsPerMs;
  const bool past_hard = limit.hard_ms > 0 && now >= hard_at;
  const bool past_deadline = task.deadline_ns > 0 && now >= task.deadline_ns;
  if (const uint64_t other = past_hard ? WhoHeldUp(child, task.number, limit.hard_ms * kNsPerMs, now) : 0) {
    const auto holder = pool_.Sent(child->slot, other);
    spdlog::warn("{} has held up child {} until task {} was past its time limit; ending the child",
                 holder ? absl::StrCat("task ", pool_.task(*holder).id, " (",
                                       handlers_[pool_.task(*holder).handler], ")")
                        : "what an ended task left behind",
                 child->channel.pid(), task.id);
    child->end_start_ns = child->channel.page().current_ns.load();
    End(child, EndReason::kHeldUpOthers, other);
    return WatchTimes::kNever;
  }
  if (past_hard || past_deadline) {
    spdlog::warn("task {} ({}) is past its {}; ending child {}", task.id, handlers_[task.handler],
                 past_hard ? absl::StrCat("time limit of ", limit.hard_ms / 1000.0, " s") : "deadline",
                 child->channel.pid());
    child->end_start_ns = start;
    End(child, past_hard ? EndReason::kTimeLimit : EndReason::kDeadline, task.number);
    return WatchTimes::kNever;
  }
  uint64_t next = limit.hard_ms > 0 ? hard_at : WatchTimes::kNever;
  if (task.deadline_ns > 0) next = std::min(next, task.deadline_ns);
  if (limit.soft_ms > 0 && lane.soft_number.load() != task.number) {
    if (now < soft_at) return std::min(next, soft_at);
    lane.soft_number.store(task.number, std::memory_order_seq_cst);
    child->brood->zygote.Signal(child->channel.pid(), kAskSignal).IgnoreError();
  }
  return next;
}

uint64_t Daemon::WhoHeldUp(const ChildPtr& child, uint64_t number, uint64_t ns, uint64_t now) {
  const StatusPage& page = child->channel.page();
  const uint64_t current = page.current.load(std::memory_order_acquire);
  const uint64_t since = page.current_ns.load(std::memory_order_relaxed);
  if (options_.concurrency_per_child == 1 || current == 0 || current == number || now < since + ns / 2)
    return 0;
  return current == kNobody || pool_.Sent(child->slot, current) ? current : 0;
}

v1::Completion& Daemon::FailPastTime(const Child& child, Pool::Ticket ticket, std::string detail) {
  const TimeLimit limit = pool_.task(ticket).limit;
  const bool deadline = child.end == EndReason::kDeadline;
  if (child.end == EndReason::kHeldUpOthers) {
    const double seconds = static_cast<double>(NowNs() - child.end_start_ns) / 1e9;
    auto& completion = Complete(ticket, v1::Completion::FAILED, detail.size() + 256);
    Fail(completion, v1::FAILURE_KIND_TIME_LIMIT,
         absl::StrFormat("computed for %.3f s without a pause, and held up others that run in the same child "
                         "past their time limit",
                         seconds),
         std::move(detail), false);
    return completion;
  }
  const double seconds = static_cast<double>(NowNs() - child.end_start_ns) / 1e9;
  auto& completion = Complete(ticket, v1::Completion::FAILED, detail.size() + 256);
  Fail(completion, v1::FAILURE_KIND_TIME_LIMIT,
       deadline ? absl::StrFormat("its deadline passed; it was ended after %.3f s", seconds)
                : absl::StrFormat("hard time limit of %g s passed; it was ended after %.3f s",
                                  limit.hard_ms / 1000.0, seconds),
       std::move(detail), deadline);
  return completion;
}

void Daemon::AskToEnd(const ChildPtr& child, Pool::Ticket ticket) {
  const uint64_t number = pool_.task(ticket).number;
  StatusLane* const lane = LaneOf(child->channel.page(), number);
  if (lane == nullptr) return;  // it has ended just now
  lane->cancel_number.store(number, std::memory_order_seq_cst);
  child->brood->zygote.Signal(child->channel.pid(), kAskSignal).IgnoreError();
  // Nothing new for it until it answers.
  pool_.SetStalled(child->slot);
  const auto grace = std::chrono::milliseconds(options_.kill_grace_ms);
  child->asked.emplace_back(number, std::chrono::steady_clock::now() + grace);
  if (child->asked.size() == 1) EndAsked(child);
}

void Daemon::EndAsked(const ChildPtr& child) {
  if (child->asked.empty()) return;
  After(child, child->asked.front().second - std::chrono::steady_clock::now(), [this, child] {
    absl::MutexLock lock(&mutex_);
    const uint64_t number = child->asked.front().first;
    child->asked.pop_front();
    // It may have answered meanwhile; then another task would be hit.
    if (child->end != EndReason::kNo) return;
    if (!pool_.Sent(child->slot, number)) return EndAsked(child);
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
  child->brood->zygote.Kill(child->channel.pid(), SIGTERM).IgnoreError();
  KillAfterGrace(child);
}

void Daemon::EndIfSpent(const ChildPtr& child) {
  if (child->dead || child->single || !child->ready || !pool_.Spent(child->slot)) return;
  if (child->end == EndReason::kRecycled) return;
  if (child->end != EndReason::kNo) {
    // It answered within its grace: nothing is left to wait for.
    KillNow(*child);
    return;
  }
  child->end = EndReason::kRecycled;
  pool_.Retire(child->slot);
  child->channel.CloseWrites();
  KillAfterGrace(child);
}

void Daemon::KillAfterGrace(const ChildPtr& child) {
  After(child, std::chrono::milliseconds(options_.kill_grace_ms), [this, child] { KillNow(*child); });
}

void Daemon::KillNow(Child& child) {
  child.brood->zygote.Kill(child.channel.pid(), SIGKILL).IgnoreError();
  child.channel.Kill();  // the zygote may be stopped
  child.killed_at = std::chrono::steady_clock::now();
}

void Daemon::After(const ChildPtr& child, std::chrono::steady_clock::duration delay,
                   std::function<void()> act) {
  child->end_timer.expires_after(delay);
  child->end_timer.async_wait([child, act = std::move(act)](boost::system::error_code error) {
    if (!error && !child->dead) act();
  });
}

}  // namespace joinq
