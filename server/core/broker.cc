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
}

Time Broker::Tick() {
  Timer timer;
  for (int done = 0; done < kTimersPerTick && timers_.PopDue(now_, &timer); ++done) {
    const bool expiry = timer.kind == TimerKind::kLeaseEnd || timer.kind == TimerKind::kWorker;
    if (expiry && now_ < no_expiry_before_) {
      if (timer.kind == TimerKind::kWorker) {
        if (auto it = workers_.find(timer.subject); it != workers_.end() && it->second->timer == timer.when) {
          ArmWorkerTimer(it->second.get(), no_expiry_before_);
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
        MakeReady(task, /*front=*/false);
        Dispatch(task->queue);
        break;
      }
      case TimerKind::kLeaseEnd: {
        Task* task = tasks_.Find(TaskId(timer.subject));
        if (task == nullptr || task->state != TaskState::kLeased || task->holder != nullptr ||
            task->when > now_)
          break;
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
      case TimerKind::kWorker:
        CheckWorkerTimer(timer.subject, timer.when);
        break;
      case TimerKind::kProducer:
        CheckProducerTimer(timer.subject);
        break;
    }
  }
  timers_.Prune([this](const Timer& each) { return Means(each); });
  return timers_.next();
}

// Whether the timer would do anything when it comes due.
bool Broker::Means(const Timer& timer) const {
  switch (timer.kind) {
    case TimerKind::kTaskDue: {
      const Task* task = tasks_.Find(TaskId(timer.subject));
      return task != nullptr && task->state == TaskState::kDelayed && task->when <= timer.when;
    }
    case TimerKind::kLeaseEnd: {
      const Task* task = tasks_.Find(TaskId(timer.subject));
      return task != nullptr && task->state == TaskState::kLeased && task->holder == nullptr &&
             task->when <= timer.when;
    }
    case TimerKind::kWaiter:
      return waiters_.Has(timer.subject);
    case TimerKind::kResults:
      return results_by_second_.contains(static_cast<int64_t>(timer.subject));
    case TimerKind::kWorker: {
      auto it = workers_.find(timer.subject);
      return it != workers_.end() && it->second->timer == timer.when;
    }
    case TimerKind::kProducer: {
      auto it = producers_.find(timer.subject);
      return it != producers_.end() && it->second->ends == timer.when;
    }
  }
  return true;
}

void Broker::EndRound() {
  Relocate();
  ledger_.Close(sink_->journal_bytes());
}

// Every parked call ends here, whatever ended it.
void Broker::Answer(Waiter&& waiter, const absl::Status& status) {
  const bool timed_out = status.code() == absl::StatusCode::kDeadlineExceeded;
  absl::Status answer = status;
  if (timed_out) {
    switch (waiter.kind) {
      case WaiterKind::kPut:
        answer = absl::DeadlineExceededError(absl::StrCat("queue \"", waiter.queue->name.str(),
                                                          "\" is full (maxsize ",
                                                          waiter.queue->options.maxsize, ")"));
        break;
      case WaiterKind::kGet:
        answer =
            absl::DeadlineExceededError(absl::StrCat("queue \"", waiter.queue->name.str(), "\" is empty"));
        break;
      case WaiterKind::kJoin:
        answer =
            absl::DeadlineExceededError(absl::StrCat("queue \"", waiter.queue->name.str(), "\" still has ",
                                                     waiter.queue->unfinished(), " unfinished task(s)"));
        break;
      case WaiterKind::kResult:
        answer = absl::DeadlineExceededError(absl::StrCat("task ", Raw(waiter.task), " is not finished yet"));
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
  if (waiter.kind == WaiterKind::kResult) {
    auto list = result_waiters_.find(waiter.task);
    if (list != result_waiters_.end() && list->second.empty()) result_waiters_.erase(list);
  }
  Reply reply;
  reply.to = waiter.caller;
  reply.status = std::move(answer);
  effects_.replies.push_back(std::move(reply));
}

void Broker::CallerGone(CallerId caller) {
  std::vector<Queue*> freed;
  for (uint64_t id : waiters_.Of(caller)) {
    Waiter waiter = waiters_.Take(id);
    if (waiter.producer != nullptr) {
      for (NewTask& task : waiter.tasks) waiter.producer->tags.erase(task.tag);
    }
    if (waiter.kind == WaiterKind::kResult) {
      auto list = result_waiters_.find(waiter.task);
      if (list != result_waiters_.end() && list->second.empty()) result_waiters_.erase(list);
    }
    if (waiter.kind == WaiterKind::kPut && (freed.empty() || freed.back() != waiter.queue))
      freed.push_back(waiter.queue);
  }
  // Whoever stood behind a put that is gone may fit now.
  for (Queue* queue : freed) Dispatch(queue);
  if (auto it = producers_by_stream_.find(caller); it != producers_by_stream_.end()) {
    Producer* producer = it->second;
    producers_by_stream_.erase(it);
    producer->stream = kNobody;
    producer->ends = now_ + limits_.producer_grace;
    timers_.Add(producer->ends, TimerKind::kProducer, producer->id);
  }
  if (auto it = workers_by_stream_.find(caller); it != workers_by_stream_.end()) {
    WorkerSession* worker = it->second;
    workers_by_stream_.erase(it);
    worker->stream = kNobody;
    worker->credit = 0;
    if (worker->draining && worker->lease_count == 0) {
      EndWorker(worker);
    } else {
      worker->ends = now_ + limits_.worker_grace;
      ArmWorkerTimer(worker, worker->ends);
    }
  }
}

void Broker::Shutdown() {
  stopping_ = true;
  for (uint64_t id : waiters_.All()) {
    Answer(waiters_.Take(id), absl::UnavailableError("the broker is stopping"));
  }
}

std::string Broker::CheckInvariants() const {
  absl::flat_hash_map<const Queue*, QueueStats> counted;
  std::string problem;
  const_cast<TaskTable&>(tasks_).ForEach([&](Task* task) {
    QueueStats& stats = counted[task->queue];
    switch (task->state) {
      case TaskState::kReady:
        ++stats.ready;
        break;
      case TaskState::kDelayed:
        ++stats.delayed;
        break;
      case TaskState::kLeased:
        ++stats.leased;
        break;
      case TaskState::kEnded:
        if (task->outcome == Outcome::kUnfinished)
          problem = absl::StrCat("task ", Raw(task->id), " ended without outcome");
        return;
      case TaskState::kNew:
        problem = absl::StrCat("task ", Raw(task->id), " has no state");
        return;
    }
    stats.bytes += task->payload.size();
  });
  for (const auto& [name, queue] : queues_) {
    const QueueStats& stats = counted[queue.get()];
    if (stats.ready != queue->ready_count || stats.delayed != queue->delayed_count ||
        stats.leased != queue->leased_count || stats.bytes != queue->bytes) {
      problem = absl::StrCat("queue ", name, " counts ", queue->ready_count, "/", queue->delayed_count, "/",
                             queue->leased_count, "/", queue->bytes, " but holds ", stats.ready, "/",
                             stats.delayed, "/", stats.leased, "/", stats.bytes);
    }
    if (queue->unfinished() == 0 && !queue->joins.empty())
      problem = absl::StrCat("queue ", name, ": a join sleeps at 0");
    if (queue->ready_count > 0 && !queue->gets.empty())
      problem = absl::StrCat("queue ", name, ": a get sleeps on a ready task");
    if (!queue->puts.empty() && queue->HasRoomFor(queue->puts.front().tasks.size())) {
      problem = absl::StrCat("queue ", name, ": a put sleeps though there is room");
    }
  }
  return problem;
}

}  // namespace joinq::core
