// Rounds, time and callers.
#include "server/core/broker.h"

#include <cassert>
#include <cstdlib>

#include "absl/strings/str_cat.h"

namespace joinq::core {
namespace {

constexpr Millis kPauseNoticed{2'000};
constexpr Millis kPauseGrace{2'000};
constexpr int kTimersPerTick = 20'000;

}  // namespace

Broker::Broker(Limits limits, uint64_t epoch, uint64_t first_entry, ChangeSink* sink, uint64_t seed)
    : limits_(limits),
      epoch_(epoch),
      sink_(sink),
      journaled_(sink->keeps()),
      ledger_(first_entry),
      random_(seed),
      completed_(std::make_unique<std::array<Completed, kCompletedSlots>>()) {}

Broker::~Broker() = default;

void Broker::BeginRound(Time now) {
  if (now < now_) now = now_;
  if (now - now_ > kPauseNoticed) no_expiry_before_ = now + kPauseGrace;
  now_ = now;
  cancels_left_ = limits_.sweep_per_round;
}

Time Broker::Tick() {
  Timer timer;
  for (int done = 0; done < kTimersPerTick && timers_.PopDue(now_, &timer); ++done) {
    const bool expiry = timer.kind == TimerKind::kLeaseEnd || timer.kind == TimerKind::kSession;
    if (expiry && now_ < no_expiry_before_) {
      if (timer.kind == TimerKind::kSession) {
        if (auto it = sessions_.find(timer.subject);
            it != sessions_.end() && it->second->timer == timer.when) {
          ArmSessionTimer(it->second.get(), no_expiry_before_);
        }
      } else {
        timers_.Add(no_expiry_before_, timer.kind, timer.subject);
      }
      continue;
    }
    switch (timer.kind) {
      case TimerKind::kTaskDue: {
        Task* task = tasks_.Find(TaskId(timer.subject));
        if (task == nullptr || task->state != TaskState::kDelayed || task->when > now_) break;
        Queue* queue = task->queue();
        if (!sweeps_.empty() && IsPurged(*task)) {
          End(task, Outcome::kCancelled, {}, {});
        } else {
          MakeReady(task, /*back_again=*/false);
        }
        Dispatch(queue);
        break;
      }
      case TimerKind::kTaskExpiry: {
        Task* task = tasks_.Find(TaskId(timer.subject));
        if (task == nullptr || !task->waiting() || task->expires() > now_) break;
        Queue* queue = task->queue();
        End(task, Outcome::kExpired, {}, {});
        Dispatch(queue);  // there is room now
        break;
      }
      case TimerKind::kLeaseEnd: {
        Task* task = tasks_.Find(TaskId(timer.subject));
        if (task == nullptr || task->state != TaskState::kLeased || task->when > now_) break;
        LeaseEnded(task);
        break;
      }
      case TimerKind::kWaiter:
        if (waiters_.Has(timer.subject)) {
          Waiter waiter = waiters_.Take(timer.subject);
          Queue* queue = waiter.kind == WaiterKind::kPut ? waiter.queue : nullptr;
          Answer(std::move(waiter), absl::DeadlineExceededError(""));
          if (queue != nullptr) Dispatch(queue);  // whoever stood behind it may fit
        }
        break;
      case TimerKind::kResults:
        ExpireResults(static_cast<int64_t>(timer.subject));
        break;
      case TimerKind::kSession:
        CheckSessionTimer(timer.subject, timer.when);
        break;
      case TimerKind::kProducer:
        CheckProducerTimer(timer.subject);
        break;
      case TimerKind::kKey:
        if (KeyEntry* entry = keys_.Find(timer.subject); entry != nullptr && entry->until <= now_)
          ForgetKey(entry);
        break;
      case TimerKind::kMarkSession:
        if (auto it = sessions_.find(timer.subject); it != sessions_.end())
          MarkLeases(&it->second->leases, timer.kind, timer.subject);
        break;
      case TimerKind::kMarkQueue:
        if (auto it = queues_by_id_.find(QueueId(static_cast<uint32_t>(timer.subject)));
            it != queues_by_id_.end())
          MarkLeases(&it->second->direct_leases, timer.kind, timer.subject);
        break;
    }
  }
  timers_.Prune([this](const Timer& each) { return Means(each); });
  if (!ended_sessions_.empty()) CancelBound();
  RunSweeps();
  return sweeps_.empty() && ended_sessions_.empty() ? timers_.next() : now_;
}

// Whether the timer would do anything when it comes due.
bool Broker::Means(const Timer& timer) const {
  switch (timer.kind) {
    case TimerKind::kTaskDue: {
      const Task* task = tasks_.Find(TaskId(timer.subject));
      return task != nullptr && task->state == TaskState::kDelayed && task->when <= timer.when;
    }
    case TimerKind::kTaskExpiry: {
      const Task* task = tasks_.Find(TaskId(timer.subject));
      return task != nullptr && task->expires() <= timer.when;
    }
    case TimerKind::kLeaseEnd: {
      const Task* task = tasks_.Find(TaskId(timer.subject));
      return task != nullptr && task->state == TaskState::kLeased && task->when <= timer.when;
    }
    case TimerKind::kWaiter:
      return waiters_.Has(timer.subject);
    case TimerKind::kResults:
      return results_by_second_.contains(static_cast<int64_t>(timer.subject));
    case TimerKind::kSession: {
      auto it = sessions_.find(timer.subject);
      return it != sessions_.end() && it->second->timer == timer.when;
    }
    case TimerKind::kProducer: {
      auto it = producers_.find(timer.subject);
      return it != producers_.end() && it->second->ends == timer.when;
    }
    case TimerKind::kKey: {
      const KeyEntry* entry = keys_.Find(timer.subject);
      return entry != nullptr && entry->until <= timer.when;
    }
    case TimerKind::kMarkSession:
    case TimerKind::kMarkQueue:
      return true;  // one a list at a time
  }
  return true;
}

void Broker::EndRound() {
  Relocate();
  ledger_.Close(sink_->journal_bytes());
}

void Broker::SetDiskLevel(DiskLevel level) {
  if (!journaled_ || level == disk_level_) return;
  const bool better = level < disk_level_;
  disk_level_ = level;
  if (better) {
    for (auto& [name, queue] : queues_) Dispatch(queue.get());
  }
}

// Every parked call ends here, whatever ended it.
void Broker::Answer(Waiter&& waiter, const absl::Status& status) {
  const bool timed_out = status.code() == absl::StatusCode::kDeadlineExceeded;
  absl::Status answer = status;
  if (timed_out) {
    switch (waiter.kind) {
      case WaiterKind::kPut:
        answer = absl::DeadlineExceededError(absl::StrCat(
            "queue \"", waiter.queue->name.str(), "\" is full (maxsize ", waiter.queue->options.maxsize,
            ", max_bytes ", waiter.queue->options.max_bytes, ")"));
        break;
      case WaiterKind::kGet:
        answer = absl::DeadlineExceededError(absl::StrCat(
            "queue \"", waiter.queue->name.str(), "\" is ", waiter.queue->paused ? "paused" : "empty",
            waiter.queues.size() > 1 ? ", and so are the others" : ""));
        break;
      case WaiterKind::kJoin:
        answer =
            absl::DeadlineExceededError(absl::StrCat("queue \"", waiter.queue->name.str(), "\" still has ",
                                                     waiter.queue->unfinished(), " unfinished task(s)"));
        break;
      case WaiterKind::kResult:
        answer = absl::DeadlineExceededError(absl::StrCat("task ", Raw(waiter.task), " is not finished yet"));
        break;
      case WaiterKind::kCancel:
        answer = absl::OkStatus();  // it is cancelled; the end of its work is not known
        break;
      case WaiterKind::kLog:
        answer = LogTimedOut(waiter);
        break;
    }
  }
  if (waiter.producer != nullptr) {
    for (NewTask& task : waiter.tasks) {
      waiter.producer->tags.erase(task.tag);
      effects_.put_refusals.push_back({waiter.caller, task.tag, answer});
    }
    return;
  }
  Unparked(waiter);
  // Its stream ends, and it will watch again.
  if (waiter.kind == WaiterKind::kResult && waiter.watch_tag != 0) return;
  Reply reply;
  reply.to = waiter.caller;
  reply.status = std::move(answer);
  effects_.replies.push_back(std::move(reply));
}

void Broker::Unparked(const Waiter& waiter) {
  if (waiter.kind == WaiterKind::kLog) log_asks_.erase(waiter.id);
  if (waiter.kind != WaiterKind::kResult) return;
  auto list = result_waiters_.find(waiter.task);
  if (list != result_waiters_.end() && list->second.empty()) result_waiters_.erase(list);
}

void Broker::CallerGone(CallerId caller) {
  std::vector<Queue*> freed;
  for (uint64_t id : waiters_.Of(caller)) {
    Waiter waiter = waiters_.Take(id);
    if (waiter.producer != nullptr) {
      for (NewTask& task : waiter.tasks) waiter.producer->tags.erase(task.tag);
    }
    Unparked(waiter);
    if (waiter.kind == WaiterKind::kPut && (freed.empty() || freed.back() != waiter.queue))
      freed.push_back(waiter.queue);
  }
  for (Sweep& sweep : sweeps_) {
    if (sweep.caller == caller) sweep.caller = kNobody;  // what it began goes on
  }
  // Whoever stood behind a put that is gone may fit now.
  for (Queue* queue : freed) Dispatch(queue);
  if (auto it = producers_by_stream_.find(caller); it != producers_by_stream_.end()) {
    Producer* producer = it->second;
    producers_by_stream_.erase(it);
    producer->stream = kNobody;
    Detach(producer);
  }
  if (auto it = sessions_by_stream_.find(caller); it != sessions_by_stream_.end()) {
    Session* session = it->second;
    sessions_by_stream_.erase(it);
    session->stream = kNobody;
    AsksLost(*session);
    session->credit = 0;
    const bool leaves = session->draining && session->cancelled.empty();
    const bool needless =
        leaves || (session->kind == SessionKind::kClient && !bound_.Has(session->profile.id));
    if (session->leases.count == 0 && needless) {
      EndSession(session);
    } else {
      session->ends = now_ + limits_.worker_grace;
      ArmSessionTimer(session, session->ends);
    }
  }
}

void Broker::Shutdown() {
  stopping_ = true;
  for (uint64_t id : waiters_.All()) {
    Answer(waiters_.Take(id), absl::UnavailableError("the broker is stopping"));
  }
  for (Sweep& sweep : sweeps_) {
    AnswerSweep(sweep, absl::UnavailableError("the broker is stopping"));
  }
  sweeps_.clear();
}

}  // namespace joinq::core
