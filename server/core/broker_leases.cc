// The life of a task after its put: ready, leased, given back, ended.
#include <algorithm>
#include <cassert>

#include "absl/strings/str_cat.h"
#include "common/backoff.h"
#include "common/names.h"
#include "server/core/broker.h"

namespace joinq::core {
namespace {

absl::Status StaleLease(const LeaseRef& lease) {
  return FieldError(
      absl::StatusCode::kFailedPrecondition, "lease",
      absl::StrCat("stale lease ", Raw(lease.task), "-", lease.token.epoch, "-", lease.token.sequence,
                   ": it ran out, was given back, or belongs to an older delivery"));
}

}  // namespace

void Broker::MakeReady(Task* task, bool front) {
  Queue* queue = task->queue;
  if (task->state == TaskState::kDelayed) {
    TaskList::Remove(task);
    --queue->delayed_count;
  }
  task->MoveTo(TaskState::kReady);
  task->when = now_;
  if (front) {
    queue->ready.PushFront(task);
  } else {
    queue->ready.PushBack(task);
  }
  ++queue->ready_count;
}

void Broker::MakeDelayed(Task* task, Time due) {
  task->MoveTo(TaskState::kDelayed);
  task->when = due;
  task->queue->delayed.PushBack(task);
  ++task->queue->delayed_count;
  timers_.Add(due, TimerKind::kTaskDue, Raw(task->id));
}

Delivery Broker::Lease(Task* task, CallerId to, WorkerSession* holder, Time lease_end) {
  Queue* queue = task->queue;
  TaskList::Remove(task);
  --queue->ready_count;
  ++queue->leased_count;
  task->MoveTo(TaskState::kLeased);
  task->lease_sequence = next_sequence_++;
  task->holder = holder;
  task->when = lease_end;
  if (task->deliveries++ > 0) ++queue->redelivered_total;
  if (holder != nullptr) {
    holder->leases.PushBack(task);
    ++holder->lease_count;
    --holder->credit;
  } else {
    queue->direct_leases.PushBack(task);
  }
  Delivery delivery;
  delivery.to = to;
  delivery.task = task->id;
  delivery.token = {epoch_, task->lease_sequence};
  delivery.attempt = task->deliveries;
  delivery.queue = queue->name;
  delivery.handler = task->handler;
  delivery.content_type = task->content_type;
  delivery.payload = task->payload;
  delivery.headers = task->headers;
  return delivery;
}

// Takes the task off its holder; the state changes next.
void Broker::Unlease(Task* task) {
  TaskList::Remove(task);
  --task->queue->leased_count;
  if (task->holder != nullptr) {
    --task->holder->lease_count;
    task->holder = nullptr;
  }
}

Task* Broker::FindLease(const LeaseRef& lease, Verdict verdict, bool* repeated) const {
  *repeated = false;
  if (lease.token.epoch != epoch_) return nullptr;
  Task* task = tasks_.Find(lease.task);
  if (task != nullptr && task->state == TaskState::kLeased && task->lease_sequence == lease.token.sequence)
    return task;
  const Completed& last = (*completed_)[Raw(lease.task) % kCompletedSlots];
  *repeated = last.task == lease.task && last.sequence == lease.token.sequence && last.verdict == verdict;
  return nullptr;
}

// The leased tasks, without those whose completion is a repetition.
absl::StatusOr<std::vector<Task*>> Broker::FindLeases(std::string_view queue_name,
                                                      std::span<const LeaseRef> leases, Verdict verdict) {
  auto found = FindQueue(queue_name);
  if (!found.ok()) return found.status();
  if (leases.empty()) return InvalidField("leases", "must not be empty");
  std::vector<Task*> tasks;
  for (const LeaseRef& lease : leases) {
    bool repeated = false;
    Task* task = FindLease(lease, verdict, &repeated);
    if (repeated) continue;
    if (task == nullptr) return StaleLease(lease);
    if (task->queue != *found) {
      return InvalidField("queue",
                          absl::StrCat("task ", Raw(task->id), " is in queue \"", task->queue->name.str(),
                                       "\", not in \"", (*found)->name.str(), "\""));
    }
    if (std::find(tasks.begin(), tasks.end(), task) == tasks.end()) tasks.push_back(task);
  }
  return tasks;
}

void Broker::RememberCompletion(const Task& task, Verdict verdict) {
  (*completed_)[Raw(task.id) % kCompletedSlots] = {task.id, task.lease_sequence, verdict};
}

// Hands ready tasks to whoever waits for them, then lets parked puts in.
void Broker::Dispatch(Queue* queue) {
  for (;;) {
    while (queue->ready_count > 0 && !queue->gets.empty()) {
      Waiter waiter = waiters_.Take(queue->gets.front().id);
      ServeGet(queue, waiter);
    }
    size_t idle = 0;
    while (queue->ready_count > 0 && idle < queue->workers.size()) {
      if (queue->next_worker >= queue->workers.size()) queue->next_worker = 0;
      WorkerSession* worker = queue->workers[queue->next_worker++];
      if (worker->credit == 0) {
        ++idle;
        continue;
      }
      idle = 0;
      effects_.deliveries.push_back(Lease(queue->ready.front(), worker->stream, worker, kNever));
    }
    const size_t parked = queue->puts.size();
    AdmitPuts(queue);
    if (queue->puts.size() == parked) return;
  }
}

// Answers a get with what is ready; false if nothing is.
bool Broker::ServeGet(Queue* queue, Waiter& waiter) {
  if (queue->ready_count == 0) return false;
  Reply reply;
  reply.to = waiter.caller;
  const uint32_t lease_ms = waiter.get.lease_ms != 0 ? waiter.get.lease_ms : queue->options.lease_ms;
  for (uint32_t i = 0; i < waiter.get.max_tasks && queue->ready_count > 0; ++i) {
    Task* task = queue->ready.front();
    const Time lease_end = now_ + Millis(lease_ms);
    Delivery delivery = Lease(task, waiter.caller, nullptr, lease_end);
    delivery.lease_ms = lease_ms;
    if (waiter.get.ack) {
      delivery.token = {};
      End(task, Outcome::kSucceeded, {}, {});
    } else {
      timers_.Add(lease_end, TimerKind::kLeaseEnd, Raw(task->id));
    }
    reply.deliveries.push_back(std::move(delivery));
  }
  effects_.replies.push_back(std::move(reply));
  return true;
}

void Broker::Get(CallerId caller, std::string_view name, const GetSpec& spec) {
  Waiter waiter;
  waiter.kind = WaiterKind::kGet;
  waiter.caller = caller;
  waiter.get = spec;
  auto found = FindQueue(name);
  if (!found.ok()) return Answer(std::move(waiter), found.status());
  Queue* queue = waiter.queue = *found;
  if (spec.max_tasks < 1 || spec.max_tasks > 1000) {
    return Answer(std::move(waiter), InvalidField("max_tasks", absl::StrCat("is ", spec.max_tasks,
                                                                            "; it must be from 1 to 1000")));
  }
  if (spec.lease_ms != 0 && (spec.lease_ms < kLeaseMsMin || spec.lease_ms > kLeaseMsMax)) {
    return Answer(std::move(waiter),
                  InvalidField("lease_ms", absl::StrCat("is ", spec.lease_ms, "; it must be from ",
                                                        kLeaseMsMin, " to ", kLeaseMsMax)));
  }
  if (spec.timeout_ms > kDurationMsMax) {
    return Answer(std::move(waiter),
                  InvalidField("timeout_ms", absl::StrCat("is ", spec.timeout_ms, "; at most ",
                                                          kDurationMsMax, " is allowed")));
  }
  if (ServeGet(queue, waiter)) return Dispatch(queue);
  if (queue->closed && queue->unfinished() == 0) {
    return Answer(std::move(waiter),
                  FieldError(absl::StatusCode::kFailedPrecondition, "closed",
                             absl::StrCat("queue \"", queue->name.str(), "\" is closed and drained")));
  }
  if (spec.no_wait) return Answer(std::move(waiter), absl::DeadlineExceededError(""));
  if (absl::Status no = MayPark(caller); !no.ok()) return Answer(std::move(waiter), no);
  const uint64_t id = waiters_.Park(&queue->gets, std::move(waiter));
  if (spec.timeout_ms > 0) timers_.Add(now_ + Millis(spec.timeout_ms), TimerKind::kWaiter, id);
}

absl::Status Broker::Done(std::string_view queue, std::span<const LeaseRef> leases, std::string_view result,
                          std::string_view content_type) {
  if (leases.size() > 1 && !result.empty()) return InvalidField("result", "goes with one lease only");
  if (result.size() > limits_.max_payload_bytes) {
    return InvalidField("result", absl::StrCat("has ", result.size(), " bytes; at most ",
                                               limits_.max_payload_bytes, " are allowed"));
  }
  auto tasks = FindLeases(queue, leases, Verdict::kDone);
  if (!tasks.ok()) return tasks.status();
  for (Task* task : *tasks) {
    RememberCompletion(*task, Verdict::kDone);
    End(task, Outcome::kSucceeded, result, content_type);
  }
  return absl::OkStatus();
}

absl::Status Broker::Fail(std::string_view queue, std::span<const LeaseRef> leases, const TaskError& error) {
  auto tasks = FindLeases(queue, leases, Verdict::kFailed);
  if (!tasks.ok()) return tasks.status();
  for (Task* task : *tasks) {
    RememberCompletion(*task, Verdict::kFailed);
    FailAttempt(task, error);
  }
  if (!tasks->empty()) Dispatch(*FindQueue(queue));
  return absl::OkStatus();
}

absl::Status Broker::Release(std::string_view queue, std::span<const LeaseRef> leases, uint32_t delay_ms) {
  if (delay_ms > kDurationMsMax)
    return InvalidField("delay_ms",
                        absl::StrCat("is ", delay_ms, "; at most ", kDurationMsMax, " is allowed"));
  auto tasks = FindLeases(queue, leases, Verdict::kReleased);
  if (!tasks.ok()) return tasks.status();
  // The last one first, so that they stand at the head in their old order.
  for (auto it = tasks->rbegin(); it != tasks->rend(); ++it) {
    Task* task = *it;
    RememberCompletion(*task, Verdict::kReleased);
    Unlease(task);
    if (delay_ms > 0) {
      MakeDelayed(task, now_ + Millis(delay_ms));
      sink_->TaskRetried(RecordOf(*task));
      Touch(task);
    } else {
      MakeReady(task, /*front=*/true);
    }
  }
  if (!tasks->empty()) Dispatch(*FindQueue(queue));
  return absl::OkStatus();
}

absl::Status Broker::Extend(std::string_view queue, std::span<const LeaseRef> leases, uint32_t lease_ms) {
  auto found = FindQueue(queue);
  if (!found.ok()) return found.status();
  if (lease_ms == 0) lease_ms = (*found)->options.lease_ms;
  if (lease_ms < kLeaseMsMin || lease_ms > kLeaseMsMax) {
    return InvalidField(
        "lease_ms", absl::StrCat("is ", lease_ms, "; it must be from ", kLeaseMsMin, " to ", kLeaseMsMax));
  }
  auto tasks = FindLeases(queue, leases, Verdict::kNone);
  if (!tasks.ok()) return tasks.status();
  for (Task* task : *tasks) {
    if (task->holder != nullptr) continue;  // its session renews it
    task->when = now_ + Millis(lease_ms);
    timers_.Add(task->when, TimerKind::kLeaseEnd, Raw(task->id));
  }
  return absl::OkStatus();
}

void Broker::ReturnUndelivered(std::span<const LeaseRef> leases) {
  for (auto it = leases.rbegin(); it != leases.rend(); ++it) {
    bool repeated = false;
    Task* task = FindLease(*it, Verdict::kNone, &repeated);
    if (task == nullptr) continue;
    Unlease(task);
    MakeReady(task, /*front=*/true);
    Dispatch(task->queue);
  }
}

void Broker::LeaseEnded(Task* task) {
  Queue* queue = task->queue;
  TaskError error;
  error.kind = FailureKind::kHostLost;
  error.message = "the consumer's lease ran out";
  FailAttempt(task, error);
  Dispatch(queue);
}

// One attempt of a leased task did not succeed: retry or end, as its budgets say.
// The caller dispatches.
void Broker::FailAttempt(Task* task, const TaskError& error) {
  task->error = std::make_unique<TaskError>(error);
  task->error->message.resize(std::min(task->error->message.size(), kErrorMessageBytesMax));
  task->error->detail.resize(std::min(task->error->detail.size(), kErrorDetailBytesMax));
  const bool crash = IsCrash(error.kind);
  const bool final =
      error.final || error.kind == FailureKind::kUnknownHandler || error.kind == FailureKind::kBadArguments;
  if (crash) {
    ++task->crashes;
  } else {
    ++task->attempts;
  }
  if (final || task->crashes >= task->policy.max_crashes || task->attempts >= task->policy.max_attempts) {
    End(task, crash && !final ? Outcome::kCrashed : Outcome::kFailed, {}, {});
    return;
  }
  Unlease(task);
  if (crash) {
    MakeReady(task, /*front=*/true);
  } else {
    const auto whole = ExponentialDelay(Millis(task->policy.retry_delay_ms),
                                        Millis(task->policy.retry_delay_max_ms), task->attempts - 1u);
    std::uniform_int_distribution<int64_t> jitter(whole.count() - whole.count() / 4, whole.count());
    MakeDelayed(task, now_ + Millis(jitter(random_)));
  }
  sink_->TaskRetried(RecordOf(*task));
  Touch(task);
}

// The one way out of `unfinished`.
void Broker::End(Task* task, Outcome outcome, std::string_view result, std::string_view content_type) {
  Queue* queue = task->queue;
  switch (task->state) {
    case TaskState::kReady:
      TaskList::Remove(task);
      --queue->ready_count;
      break;
    case TaskState::kDelayed:
      TaskList::Remove(task);
      --queue->delayed_count;
      break;
    default:
      Unlease(task);
      break;
  }
  task->MoveTo(TaskState::kEnded);
  task->outcome = outcome;
  if (outcome == Outcome::kSucceeded) {
    ++queue->done_total;
    task->error.reset();
  } else if (outcome == Outcome::kCancelled) {
    ++queue->cancelled_total;
  } else {
    ++queue->dead;
  }
  queue->bytes -= task->payload.size();
  const bool kept = task->policy.result_ttl_ms > 0;
  KeepResult(task, result, content_type);
  EndRecord end;
  end.id = task->id;
  end.queue = queue->id;
  end.outcome = outcome;
  end.kept = kept;
  end.deliveries = task->deliveries;
  if (kept) {
    end.expiry = task->when;
    end.payload = task->payload.view();
    end.content_type = task->content_type.view();
    end.error = task->error.get();
  }
  sink_->TaskEnded(end);
  Touch(queue);
  if (task->watched && task->producer != nullptr && task->producer->stream != kNobody) {
    effects_.results.push_back(NoticeOf(*task, task->producer->stream));
  }
  const bool forget = !result_waiters_.empty() && AnswerResultWaiters(*task);
  if (kept && !forget) {
    Touch(task);
  } else if (kept) {
    DropResult(task);
  } else {
    Erase(task);
  }
  if (queue->unfinished() == 0) {
    if (!queue->joins.empty()) AnswerJoins(queue, absl::OkStatus());
    if (queue->closed && !queue->gets.empty()) {
      AnswerAllParked(queue, &queue->gets,
                      FieldError(absl::StatusCode::kFailedPrecondition, "closed",
                                 absl::StrCat("queue \"", queue->name.str(), "\" is closed and drained")));
    }
  }
}

// The task leaves the broker's memory and, if it had one, its row.
void Broker::Erase(Task* task) {
  if (task->has_row) sink_->DeleteTaskRow(task->id);
  memory_used_ -= MemoryOf(*task);
  DropProducerRef(task);
  tasks_.Erase(task->id);
}

}  // namespace joinq::core
