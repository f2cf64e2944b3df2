// Cancelling tasks, and what becomes of the work on those that were leased. A task ends
// at once; its work ends when the holder of the lease says so or is gone. Nothing of that
// is on disk: after a restart nobody waits for it any more.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/names.h"
#include "server/core/broker.h"

namespace joinq::core {

absl::StatusOr<TaskView> Broker::CancelTask(TaskId id) {
  auto answer = CancelTask(kNobody, id, {});
  if (!answer.ok()) return answer.status();
  return std::move(answer->task);
}

absl::StatusOr<CancelAnswer> Broker::CancelTask(CallerId caller, TaskId id, const CancelSpec& spec) {
  if (spec.wait_ms > kCancelWaitMsMax) {
    return InvalidField("wait_ms",
                        absl::StrCat("is ", spec.wait_ms, "; at most ", kCancelWaitMsMax, " is allowed"));
  }
  Task* task = tasks_.Find(id);
  CancelAnswer answer;
  if (task == nullptr) {
    const Completed& last = (*completed_)[Raw(id) % kCompletedSlots];
    if (last.task != id || !last.cancelled) return UnknownTask(id);
    answer.task.id = id;  // repeated, and nothing else is known any more
    answer.task.state = TaskState::kEnded;
    answer.task.outcome = Outcome::kCancelled;
    return CancelAgain(caller, std::move(answer), spec);
  }
  if (task->state == TaskState::kEnded && task->outcome == Outcome::kCancelled) {
    answer.task = ViewOf(*task);
    return CancelAgain(caller, std::move(answer), spec);
  }
  if (task->state == TaskState::kEnded || task->state == TaskState::kDead) {
    return FieldError(
        absl::StatusCode::kFailedPrecondition, "task_id",
        absl::StrCat("task ", Raw(id), task->state == TaskState::kDead ? " is dead" : " has ended",
                     "; only a waiting or a running one can be cancelled"));
  }
  const bool leased = task->state == TaskState::kLeased;
  Session* holder = leased ? task->ties->holder : nullptr;
  const bool park = spec.wait_ms > 0 && holder != nullptr;
  if (absl::Status no = park ? MayPark(caller) : absl::OkStatus(); !no.ok()) return no;
  Queue* queue = task->queue();
  answer.task = ViewOf(*task);
  answer.task.state = TaskState::kEnded;
  answer.task.outcome = Outcome::kCancelled;
  answer.task.token = {};
  CancelledWork* work = Cancel(task, spec.terminate);
  Dispatch(queue);
  if (park) {
    ParkCancel(caller, id, work, spec.wait_ms);
    answer.parked = true;
  } else if (spec.wait_ms > 0) {
    answer.work_end = leased ? WorkEnd::kUnspecified : WorkEnd::kNotRunning;
  }
  return answer;
}

// An unfinished task ends, and whoever holds it is told. The caller dispatches.
CancelledWork* Broker::Cancel(Task* task, bool terminate) {
  const bool leased = task->state == TaskState::kLeased;
  Session* holder = leased ? task->ties->holder : nullptr;
  (*completed_)[Raw(task->id) % kCompletedSlots] = {
      .task = task->id,
      .token = {},
      .cancelled = true,
      .work_end = leased ? WorkEnd::kUnspecified : WorkEnd::kNotRunning};
  CancelledWork* work =
      holder == nullptr ? nullptr : Cancelled(holder, task->id, task->ties->token, terminate);
  End(task, Outcome::kCancelled, {}, {});
  return work;
}

absl::StatusOr<CancelAnswer> Broker::CancelAgain(CallerId caller, CancelAnswer answer,
                                                 const CancelSpec& spec) {
  const TaskId id = answer.task.id;
  auto found = cancelled_work_.find(id);
  if (found == cancelled_work_.end()) {
    const Completed& last = (*completed_)[Raw(id) % kCompletedSlots];
    if (spec.wait_ms > 0 && last.task == id && last.cancelled) answer.work_end = last.work_end;
    return answer;
  }
  CancelledWork& work = found->second;
  if (absl::Status no = spec.wait_ms > 0 ? MayPark(caller) : absl::OkStatus(); !no.ok()) return no;
  if (spec.terminate && !work.terminate) {
    work.terminate = true;
    TellHolder(work, id);
  }
  if (spec.wait_ms > 0) {
    ParkCancel(caller, id, &work, spec.wait_ms);
    answer.parked = true;
  }
  return answer;
}

CancelledWork* Broker::Cancelled(Session* holder, TaskId task, Token token, bool terminate) {
  if (holder->cancelled.size() >= kCancelledWorkMax)
    WorkEnded(holder->cancelled.front(), WorkEnd::kUnspecified);
  CancelledWork& work = cancelled_work_[task];
  work.holder = holder;
  work.token = token;
  work.terminate = terminate;
  holder->cancelled.push_back(task);
  TellHolder(work, task);
  return &work;
}

void Broker::TellHolder(const CancelledWork& work, TaskId task) {
  if (work.holder->stream == kNobody) return;  // told when it is back
  effects_.cancels.push_back({work.holder->stream, {task, work.token}, work.terminate});
}

// On a new stream: what was said on the old one, by either side, may be lost.
void Broker::TellAllCancelled(const Session& worker) {
  for (TaskId task : worker.cancelled) TellHolder(cancelled_work_.find(task)->second, task);
}

void Broker::ParkCancel(CallerId caller, TaskId task, CancelledWork* work, uint32_t wait_ms) {
  Waiter waiter;
  waiter.kind = WaiterKind::kCancel;
  waiter.caller = caller;
  waiter.task = task;
  const uint64_t id = waiters_.Park(&work->waiters, std::move(waiter));
  timers_.Add(now_ + Millis(wait_ms), TimerKind::kWaiter, id);
}

// Whoever waits for it is told, and so is who asks once more.
void Broker::WorkEnded(TaskId id, WorkEnd end) {
  auto found = cancelled_work_.find(id);
  CancelledWork& work = found->second;
  if (Completed& last = (*completed_)[Raw(id) % kCompletedSlots]; last.task == id && last.cancelled)
    last.work_end = end;
  while (!work.waiters.empty()) {
    Reply reply;
    reply.to = waiters_.Take(work.waiters.front()).caller;
    reply.work_end = end;
    effects_.replies.push_back(std::move(reply));
  }
  std::deque<TaskId>& cancelled = work.holder->cancelled;
  cancelled.erase(std::find(cancelled.begin(), cancelled.end(), id));
  cancelled_work_.erase(found);
}

void Broker::WorkerStopped(CallerId stream, const LeaseRef& lease, WorkEnd end) {
  const Session* worker = SessionOf(stream, SessionKind::kWorker);
  auto found = cancelled_work_.find(lease.task);
  if (worker == nullptr || found == cancelled_work_.end() || found->second.holder != worker ||
      found->second.token != lease.token)
    return;
  const bool sayable = end == WorkEnd::kNotRunning || end == WorkEnd::kReturned || end == WorkEnd::kKilled;
  WorkEnded(lease.task, sayable ? end : WorkEnd::kUnspecified);
}

// Its completion was on the way when it was cancelled.
void Broker::CompletedCancelled(const Session& worker, const Completion& completion) {
  auto found = cancelled_work_.find(completion.lease.task);
  if (found == cancelled_work_.end() || found->second.holder != &worker ||
      found->second.token != completion.lease.token)
    return;
  const bool crashed = completion.verdict == Verdict::kFailed && IsCrash(completion.error.kind);
  WorkEnded(completion.lease.task, completion.verdict == Verdict::kReleased ? WorkEnd::kNotRunning
                                   : crashed                                ? WorkEnd::kKilled
                                                                            : WorkEnd::kReturned);
}

}  // namespace joinq::core
