// The life of a task: waiting, failing, ending, dead and back again.
#include <algorithm>
#include <cassert>

#include "absl/strings/str_cat.h"
#include "common/backoff.h"
#include "common/names.h"
#include "server/core/broker.h"

namespace joinq::core {
namespace {

// A task begins to be unfinished, or comes back from its holder.
void CountAsWaiting(Task* task) {
  Queue* queue = task->queue();
  queue->waiting_bytes += task->payload_size;
  if (task->state == TaskState::kNew || task->state == TaskState::kDead) queue->bytes += task->payload_size;
}

}  // namespace

void Broker::SetPayload(Task* task, Blob payload) {
  resident_bytes_ -= task->payload.footprint();
  payload_bytes_ -= task->payload_size;
  StopReading(task);
  task->payload = std::move(payload);
  task->payload_size = static_cast<uint32_t>(task->payload.size());
  task->evicted = false;
  resident_bytes_ += task->payload.footprint();
  payload_bytes_ += task->payload_size;
}

// Its row is current and on disk: the payload leaves memory.
void Broker::Evict(Task* task) {
  assert(task->has_row && !task->evicted);
  StopReading(task);
  resident_bytes_ -= task->payload.footprint();
  task->payload = Blob();
  task->evicted = true;
  if (task->state == TaskState::kReady) ++task->queue()->evicted_ready;
}

void Broker::MakeReady(Task* task, bool back_again, Time since) {
  Queue* queue = task->queue();
  if (task->state == TaskState::kDelayed) {
    queue->delayed.Remove(task);
    --queue->delayed_count;
  } else {
    CountAsWaiting(task);
  }
  task->MoveTo(TaskState::kReady);
  task->when = since;
  // Its time may have run out while it was leased.
  if (back_again && task->expires() != kNever)
    timers_.Add(task->expires(), TimerKind::kTaskExpiry, Raw(task->id));
  queue->ready.Push(task, back_again);
  if (task->evicted) ++queue->evicted_ready;
  // Its row is as good as it was when it was handed out.
  if (task->has_row && !task->evicted && resident_bytes_ > limits_.memory_budget_bytes &&
      evictable_.size() < kEvictableMax)
    evictable_.push_back(task->id);
}

void Broker::MakeDelayed(Task* task, Time due) {
  Queue* queue = task->queue();
  CountAsWaiting(task);
  task->MoveTo(TaskState::kDelayed);
  task->when = due;
  queue->delayed.PushBack(task);
  ++queue->delayed_count;
  timers_.Add(due, TimerKind::kTaskDue, Raw(task->id));
  if (task->expires() != kNever) timers_.Add(task->expires(), TimerKind::kTaskExpiry, Raw(task->id));
}

// A waiting task leaves its queue's lines; its state changes next.
void Broker::TakeFromLine(Task* task) {
  Queue* queue = task->queue();
  queue->waiting_bytes -= task->payload_size;
  if (task->state == TaskState::kDelayed) {
    queue->delayed.Remove(task);
    --queue->delayed_count;
    return;
  }
  queue->ready.Remove(task);
  if (task->evicted) --queue->evicted_ready;
  StopReading(task);
  if (queue->ahead > 0) --queue->ahead;
}

// The journal learns what state it is in.
void Broker::Changed(Task* task, const Change& change) {
  ProgressRecord record = ProgressOf(*task);
  record.completed = change.completed;
  record.buried = change.buried;
  record.exhumed = change.exhumed;
  if (change.last_attempt_only) {
    record.history = record.history.last(std::min<size_t>(1, record.history.size()));
    record.history_whole = false;
  }
  JournalOf(*task->queue())->TaskChanged(record);
  Touch(task);
}

// A task leaves its line or its holder; its state changes next.
void Broker::TakeOut(Task* task) {
  if (task->waiting()) {
    TakeFromLine(task);
  } else {
    Unlease(task);
  }
}

// One attempt of a leased task did not succeed: retry or end, as its budgets say.
// The caller dispatches.
void Broker::FailAttempt(Task* task, const TaskError& error, Verdict verdict) {
  Extra& extra = task->more();
  extra.error = std::make_unique<TaskError>(error);
  extra.error->message.resize(std::min(extra.error->message.size(), kErrorMessageBytesMax));
  extra.error->detail.resize(std::min(extra.error->detail.size(), kErrorDetailBytesMax));
  extra.progress.reset();
  Attempt attempt;
  attempt.delivery = task->deliveries;
  attempt.ended = now_;
  attempt.kind = error.kind;
  attempt.message = extra.error->message.substr(0, kHistoryMessageBytesMax);
  if (task->ties->holder != nullptr) attempt.holder = task->ties->holder->profile.name;
  extra.history.push_back(std::move(attempt));
  if (extra.history.size() > kHistoryMax) extra.history.erase(extra.history.begin());
  const bool crash = IsCrash(error.kind);
  const bool final =
      error.final || error.kind == FailureKind::kUnknownHandler || error.kind == FailureKind::kBadArguments;
  ++(crash ? extra.crashes : extra.attempts);
  const TaskPolicy& policy = task->policy();
  if (final || extra.crashes >= policy.max_crashes || extra.attempts >= policy.max_attempts) {
    return Bury(task, crash && !final ? Outcome::kCrashed : Outcome::kFailed, verdict);
  }
  Time due = now_;
  if (!crash) {
    const auto whole = ExponentialDelay(Millis(policy.retry_delay_ms), Millis(policy.retry_delay_max_ms),
                                        extra.attempts - 1u);
    std::uniform_int_distribution<int64_t> jitter(whole.count() - whole.count() / 4, whole.count());
    due += Millis(jitter(random_));
  }
  if (extra.expires <= due) return End(task, Outcome::kExpired, {}, {}, verdict);
  const CompletedLease completed = CompletionOf(*task, verdict);
  Unlease(task);
  if (crash) {
    MakeReady(task, /*back_again=*/true);
  } else {
    MakeDelayed(task, due);
  }
  Changed(task, {.completed = completed, .last_attempt_only = true});
}

CompletedLease Broker::CompletionOf(const Task& task, Verdict verdict) const {
  return verdict == Verdict::kNone || task.ties == nullptr ? CompletedLease{}
                                                           : CompletedLease{task.ties->token, verdict};
}

// A task failed for good: it is kept for replay, or ends where nothing is kept.
void Broker::Bury(Task* task, Outcome outcome, Verdict verdict) {
  Queue* queue = task->queue();
  if (queue->options.dead_max == 0) return End(task, outcome, {}, {}, verdict);
  const CompletedLease completed = CompletionOf(*task, verdict);
  TakeOut(task);
  ReleaseUnique(task, /*ended=*/true);
  if (task->bound) Unbind(task);
  queue->bytes -= task->payload_size;
  queue->Count(outcome);
  task->MoveTo(TaskState::kDead);
  task->outcome = outcome;
  task->when = now_;
  queue->dead_tasks.PushBack(task);
  ++queue->dead_count;
  Changed(task, {.completed = completed, .last_attempt_only = true, .buried = true});
  Touch(queue);
  TellOutcome(task);
  DropProducerRef(task);
  task->ties.reset();
  if (queue->dead_count > queue->options.dead_max) DropDead(queue->dead_tasks.front());
  Drained(queue);
}

void Broker::DropDead(Task* task) {
  Queue* queue = task->queue();
  queue->dead_tasks.Remove(task);
  --queue->dead_count;
  JournalOf(*queue)->TaskDropped(task->id);
  Erase(task);
}

// A dead task lives again, with fresh budgets. The caller dispatches.
void Broker::Exhume(Task* task) {
  Queue* queue = task->queue();
  queue->dead_tasks.Remove(task);
  --queue->dead_count;
  ++queue->retried_total;
  Extra& extra = task->more();
  extra.attempts = extra.crashes = 0;
  extra.expires = kNever;
  extra.deadline_ms = 0;
  task->outcome = Outcome::kUnfinished;
  MakeReady(task, /*back_again=*/false);
  Changed(task, {.completed = {}, .exhumed = true});
  Touch(queue);
}

// Its outcome, to whoever waits for it. Whether one of them wants it forgotten.
bool Broker::TellOutcome(Task* task) {
  if (task->watched() && task->ties->producer->stream != kNobody) {
    effects_.results.push_back(NoticeOf(*task, task->ties->producer->stream));
  }
  return !result_waiters_.empty() && AnswerResultWaiters(*task);
}

// The one way out of `unfinished`, besides Bury.
void Broker::End(Task* task, Outcome outcome, std::string_view result, std::string_view content_type,
                 Verdict verdict) {
  Queue* queue = task->queue();
  EndRecord end;
  end.completed = CompletionOf(*task, verdict);
  TakeOut(task);
  ReleaseUnique(task, /*ended=*/true);
  if (task->bound) Unbind(task);
  queue->bytes -= task->payload_size;
  task->MoveTo(TaskState::kEnded);
  task->outcome = outcome;
  queue->Count(outcome);
  if (outcome == Outcome::kSucceeded && task->extra != nullptr) task->extra->error.reset();
  const bool kept = task->policy().result_ttl_ms > 0;
  KeepResult(task, result, content_type);
  end.id = task->id;
  end.queue = queue->id;
  end.outcome = outcome;
  end.kept = kept;
  end.deliveries = task->deliveries;
  if (kept) {
    end.expiry = task->when;
    end.payload = task->payload.view();
    end.content_type = content_type;
    end.error = task->error();
    end.process = task->process();
  }
  JournalOf(*queue)->TaskEnded(end);
  Touch(queue);
  const bool forget = TellOutcome(task);
  if (kept && !forget) {
    Touch(task);
  } else if (kept) {
    ForgetResult(task);
  } else {
    Erase(task);
  }
  Drained(queue);
}

// Tells those who wait for 0, if it is 0.
void Broker::Drained(Queue* queue) {
  if (queue->unfinished() != 0) return;
  if (!queue->joins.empty()) AnswerJoins(queue, absl::OkStatus());
  if (queue->closed && !queue->gets.empty()) AnswerDrainedGets(queue);
}

// The task leaves the broker's memory and, if it had one, its row.
void Broker::Erase(Task* task) {
  if (task->has_row) sink_->DeleteTaskRow(task->id);
  ReleaseUnique(task, /*ended=*/true);
  if (task->bound) Unbind(task);
  DropProducerRef(task);
  resident_bytes_ -= task->payload.footprint();
  payload_bytes_ -= task->payload_size;
  Shape* shape = task->shape;
  tasks_.Erase(task);
  shapes_.Release(shape);
}

// It leaves its line, or its payload has come or never will.
void Broker::StopReading(Task* task) {
  if (task->loading) ahead_bytes_ -= task->payload_size;
  if (task->read_back) {
    ahead_bytes_ -= task->payload_size;
    --read_back_standing_;
  }
  task->loading = task->read_back = false;
}

void Broker::PayloadLoaded(TaskId id, std::string_view headers, std::string_view payload) {
  Task* task = tasks_.Find(id);
  if (task == nullptr || !task->evicted) return;
  if (payload.size() != task->payload_size) return PayloadLost(id);
  StopReading(task);
  task->payload = Blob(headers, payload);
  task->evicted = false;
  resident_bytes_ += task->payload.footprint();
  if (task->state != TaskState::kReady) return;
  --task->queue()->evicted_ready;
  task->read_back = true;
  ahead_bytes_ += task->payload_size;
  ++read_back_standing_;
  read_back_.push_back(id);
  if (read_back_.size() > 2 * read_back_standing_ + 1024) {
    std::erase_if(read_back_, [this](TaskId each) {
      const Task* standing = tasks_.Find(each);
      return standing == nullptr || !standing->read_back;
    });
  }
  Dispatch(task->queue());
}

// Its row is damaged or gone: nobody can be given it any more.
void Broker::PayloadLost(TaskId id) {
  Task* task = tasks_.Find(id);
  if (task == nullptr || !task->evicted) return;
  Queue* queue = task->queue();
  StopReading(task);
  if (!task->waiting()) return;
  task->more().error = std::make_unique<TaskError>();
  task->extra->error->message = "its payload could not be read back from the broker's disk";
  Bury(task, Outcome::kFailed, Verdict::kNone);
  Dispatch(queue);
}

absl::StatusOr<TaskView> Broker::RetryTask(TaskId id) {
  Task* task = tasks_.Find(id);
  if (task == nullptr) return UnknownTask(id);
  Queue* queue = task->queue();
  if (task->state == TaskState::kDead) {
    if (queue->closed) return queue->ClosedError();
    Exhume(task);
  } else if (task->state == TaskState::kDelayed) {
    MakeReady(task, /*back_again=*/false);
    Changed(task);
  } else {
    return FieldError(
        absl::StatusCode::kFailedPrecondition, "task_id",
        absl::StrCat("task ", Raw(id), " is neither dead nor delayed: there is nothing to retry"));
  }
  TaskView view = ViewOf(*task);
  Dispatch(queue);
  return view;
}

absl::Status Broker::UnknownTask(TaskId task) {
  return FieldError(
      absl::StatusCode::kNotFound, "task_id",
      absl::StrCat("no task ", Raw(task), ": unknown, or it has ended and no result of it is kept"));
}

}  // namespace joinq::core
