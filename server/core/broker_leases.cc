// Leases: granted, ended by their holders or by time, marked on disk.
#include <cassert>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "common/names.h"
#include "server/core/broker.h"

namespace joinq::core {
namespace {

absl::Status StaleLease(const LeaseRef& lease) {
  return FieldError(
      absl::StatusCode::kFailedPrecondition, "lease",
      absl::StrCat("stale lease ", Raw(lease.task), "-", lease.token.epoch, "-", lease.token.sequence,
                   ": it ran out, was given back or cancelled, or belongs to an older delivery"));
}

}  // namespace

LeaseList& Broker::LeasesOf(const Task& task) {
  return task.ties->holder != nullptr ? task.ties->holder->leases : task.queue()->direct_leases;
}

// From its queue's line to its holder.
void Broker::Grant(Task* task, Session* holder, Token token, Time lease_end) {
  Queue* queue = task->queue();
  TakeFromLine(task);
  ReleaseUnique(task, /*ended=*/false);
  const Time since = task->when;
  task->MoveTo(TaskState::kLeased);
  ++queue->leased_count;
  if (task->deliveries > 0) ++queue->redelivered_total;
  if (task->deliveries < UINT16_MAX) ++task->deliveries;
  task->fresh = false;
  if (task->extra != nullptr) task->extra->process.reset();  // the one before's
  task->when = lease_end;
  Ties& ties = task->tied();
  ties.holder = holder;
  ties.token = token;
  ties.granted = now_;
  ties.since = since;
  ties.marked = false;
  LeaseList& leases = LeasesOf(*task);
  leases.Add(task);
  if (!journaled_ || leases.mark_armed) return;
  leases.mark_armed = true;
  if (holder != nullptr) {
    timers_.Add(now_ + limits_.mark_after, TimerKind::kMarkSession, holder->profile.id);
  } else {
    timers_.Add(now_ + limits_.mark_after, TimerKind::kMarkQueue, Raw(queue->id));
  }
}

Delivery Broker::Lease(Task* task, CallerId to, Session* holder, Time lease_end) {
  Grant(task, holder, {epoch_, next_sequence_++}, lease_end);
  if (holder != nullptr && holder->kind == SessionKind::kWorker) --holder->credit;
  Delivery delivery;
  delivery.to = to;
  delivery.task = task->id;
  delivery.token = task->ties->token;
  delivery.attempt = task->deliveries;
  const TaskPolicy& policy = task->policy();
  delivery.time_limit_ms = policy.time_limit_ms;
  delivery.soft_time_limit_ms = policy.soft_time_limit_ms;
  delivery.fresh_process = policy.fresh_process;
  delivery.deadline = task->deadline();
  delivery.queue = task->queue()->name;
  delivery.handler = task->shape->handler;
  delivery.content_type = task->shape->content_type;
  delivery.payload = task->payload;
  return delivery;
}

// Takes the task off its holder; the state changes next. Whether the disk knew of the lease.
bool Broker::Unlease(Task* task) {
  LeasesOf(*task).Remove(task);
  --task->queue()->leased_count;
  const bool marked = task->ties->marked;
  if (task->watched()) {
    task->ties->holder = nullptr;
    task->ties->token = {};
    task->ties->marked = false;
  } else {
    task->ties.reset();
  }
  return marked;
}

// Back to the head of its line, at no cost. The caller dispatches.
void Broker::GiveBack(Task* task, Verdict verdict) {
  const CompletedLease completed = CompletionOf(*task, verdict);
  const bool marked = Unlease(task);
  if (task->extra != nullptr) task->extra->process.reset();  // nothing has run
  MakeReady(task, /*back_again=*/true);
  if (marked) Changed(task, {.completed = completed});  // else the disk has it as ready anyway
}

// Leases that have lasted are noted on disk, so that a restart does not run their
// tasks a second time while their holders are still at it.
void Broker::MarkLeases(LeaseList* leases, TimerKind kind, uint64_t subject) {
  leases->mark_armed = false;
  while (Task* task = leases->first_unmarked) {
    const Time due = task->ties->granted + limits_.mark_after;
    if (due > now_) {
      leases->mark_armed = true;
      timers_.Add(due, kind, subject);
      return;
    }
    MarkLease(task);
    leases->first_unmarked = leases->tasks.Next(task);
  }
}

void Broker::MarkLease(Task* task) {
  if (!Journaled(*task->queue())) return;
  task->ties->marked = true;
  JournalOf(*task->queue())->LeaseMarked(LeaseOf(*task));
  Touch(task);
}

LeaseRecord Broker::LeaseOf(const Task& task) const {
  LeaseRecord record;
  record.task = task.id;
  if (task.ties->holder != nullptr) {
    record.session = task.ties->holder->profile.id;
    record.kind = task.ties->holder->kind;
  }
  record.token = task.ties->token;
  record.end = task.when;
  record.deliveries = task.deliveries;
  return record;
}

Task* Broker::FindLease(const LeaseRef& lease) const {
  Task* task = tasks_.Find(lease.task);
  const bool current =
      task != nullptr && task->state == TaskState::kLeased && task->ties->token == lease.token;
  return current ? task : nullptr;
}

// Whether a lease that is stale ended with this very verdict.
bool Broker::Repeats(const LeaseRef& lease, Verdict verdict) const {
  const Completed* last = &(*completed_)[Raw(lease.task) % kCompletedSlots];
  if (lease.token.epoch < epoch_) {
    auto it = completed_before_.find(lease.task);
    if (it == completed_before_.end()) return false;
    last = &it->second;
  }
  return last->task == lease.task && last->token == lease.token && last->verdict == verdict;
}

// The leased tasks, without those whose completion is a repetition.
absl::StatusOr<std::vector<Task*>> Broker::FindLeases(std::string_view queue_name,
                                                      std::span<const LeaseRef> leases, Verdict verdict) {
  auto found = FindQueue(queue_name);
  if (!found.ok()) return found.status();
  if (leases.empty()) return InvalidField("leases", "must not be empty");
  std::vector<Task*> tasks;
  absl::flat_hash_set<const Task*> seen;  // one may be named twice
  for (const LeaseRef& lease : leases) {
    Task* task = FindLease(lease);
    if (task == nullptr && Repeats(lease, verdict)) continue;
    if (task == nullptr) return StaleLease(lease);
    if (task->queue() != *found) {
      return InvalidField("queue",
                          absl::StrCat("task ", Raw(task->id), " is in queue \"", task->queue()->name.str(),
                                       "\", not in \"", (*found)->name.str(), "\""));
    }
    if (leases.size() == 1 || seen.insert(task).second) tasks.push_back(task);
  }
  return tasks;
}

void Broker::RememberCompletion(const Task& task, Verdict verdict) {
  const Completed completed{task.id, task.ties->token, verdict};
  if (completed.token.epoch < epoch_) {
    completed_before_[task.id] = completed;
  } else {
    (*completed_)[Raw(task.id) % kCompletedSlots] = completed;
  }
}

absl::Status Broker::Done(std::string_view queue, std::span<const LeaseRef> leases, std::string_view result,
                          std::string_view content_type, std::vector<FollowUp> follow_ups,
                          std::vector<TaskId>* follow_up_ids) {
  if (leases.size() > 1 && !result.empty()) return InvalidField("result", "goes with one lease only");
  if (leases.size() > 1 && !follow_ups.empty()) return InvalidField("follow_ups", "go with one lease only");
  if (result.size() > limits_.max_payload_bytes) {
    return InvalidField("result", absl::StrCat("has ", result.size(), " bytes; at most ",
                                               limits_.max_payload_bytes, " are allowed"));
  }
  if (!content_type.empty()) {
    if (absl::Status bad = CheckName("content_type", content_type); !bad.ok()) return bad;
  }
  auto tasks = FindLeases(queue, leases, Verdict::kDone);
  if (!tasks.ok()) return tasks.status();
  if (tasks->empty()) return absl::OkStatus();  // repeated
  if (absl::Status bad = CheckFollowUps(follow_ups); !bad.ok()) return bad;
  for (Task* task : *tasks) {
    RememberCompletion(*task, Verdict::kDone);
    // The new ones first, so that a join of this very queue sees no gap; but the old
    // one's key may be theirs.
    ReleaseUnique(task, /*ended=*/true);
    PutFollowUps(follow_ups, follow_up_ids);
    End(task, Outcome::kSucceeded, result, content_type, Verdict::kDone);
  }
  return absl::OkStatus();
}

absl::Status Broker::Fail(std::string_view queue, std::span<const LeaseRef> leases, const TaskError& error) {
  auto tasks = FindLeases(queue, leases, Verdict::kFailed);
  if (!tasks.ok()) return tasks.status();
  for (Task* task : *tasks) {
    RememberCompletion(*task, Verdict::kFailed);
    FailAttempt(task, error, Verdict::kFailed);
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
    if (delay_ms == 0) {
      GiveBack(task, Verdict::kReleased);
      continue;
    }
    const CompletedLease completed = CompletionOf(*task, Verdict::kReleased);
    Unlease(task);
    MakeDelayed(task, now_ + Millis(delay_ms));
    Changed(task, {.completed = completed});
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
    if (task->ties->holder != nullptr) continue;  // its session renews it
    task->when = now_ + Millis(lease_ms);
    timers_.Add(task->when, TimerKind::kLeaseEnd, Raw(task->id));
    if (task->ties->marked) MarkLease(task);  // the end on disk has moved
  }
  return absl::OkStatus();
}

absl::Status Broker::ReportProgress(std::string_view queue, const LeaseRef& lease,
                                    std::string_view progress) {
  if (progress.size() > kProgressBytesMax) {
    return InvalidField("progress", absl::StrCat("has ", progress.size(), " bytes; at most ",
                                                 kProgressBytesMax, " are allowed"));
  }
  auto tasks = FindLeases(queue, {&lease, 1}, Verdict::kNone);
  if (!tasks.ok()) return tasks.status();
  for (Task* task : *tasks) task->more().progress = std::make_unique<std::string>(progress);
  return absl::OkStatus();
}

void Broker::ReturnUndelivered(std::span<const LeaseRef> leases) {
  for (auto it = leases.rbegin(); it != leases.rend(); ++it) {
    Task* task = FindLease(*it);
    if (task == nullptr) continue;
    Queue* queue = task->queue();
    GiveBack(task, Verdict::kNone);
    Dispatch(queue);
  }
}

void Broker::LeaseEnded(Task* task) {
  Queue* queue = task->queue();
  if (task->ties->holder != nullptr) {
    GiveBack(task, Verdict::kNone);  // it never arrived at its session
  } else {
    TaskError error;
    error.kind = FailureKind::kHostLost;
    error.message = "the consumer's lease ran out";
    FailAttempt(task, error);
  }
  Dispatch(queue);
}

}  // namespace joinq::core
