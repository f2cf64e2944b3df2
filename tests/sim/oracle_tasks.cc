// Puts, deliveries and ends.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "tests/sim/oracle.h"

namespace joinq::sim {

using core::TaskId;
using core::TaskState;

void Oracle::PutApplied(uint64_t number) {
  PutFacts& put = puts_[number];
  ++totals_->puts;
  if (put.applied != core::kNever) {
    ++totals_->repeats;
    return;
  }
  put.applied = now_;
  put.applied_epoch = broker_->epoch();
}

void Oracle::FollowUpsPut(const std::vector<uint64_t>& numbers, const std::vector<TaskId>& ids) {
  for (size_t i = 0; i < std::min(numbers.size(), ids.size()); ++i) Accepted(numbers[i], ids[i], false);
}

// The broker is about to say that this put is that task.
void Oracle::Accepted(uint64_t number, TaskId id, bool existing) {
  PutFacts& put = puts_[number];
  if (put.aliases.contains(id)) return;
  const uint64_t owner = NumberOf(id);
  if (owner == 0 && !existing && broker_->GetTask(id).ok()) return;  // whose it is cannot be seen
  if (owner != 0 && owner != number) {
    const PutFacts& other = puts_[owner];
    if (put.unique_key.empty() || other.unique_key != put.unique_key || other.queue != put.queue) {
      return Violation(absl::StrCat("put ", number, " is answered with task ", Raw(id), " of put ", owner));
    }
    put.aliases.insert(id);
    return;
  }
  if (owner == 0 && existing) {
    put.aliases.insert(id);
    return;
  }
  const bool known = tasks_.contains(id);
  if (trace_) trace_(absl::StrCat("put ", number, " is answered with task ", Raw(id)));
  TaskFacts& task = FactsOf(id, number, put.queue);
  if (!known && put.applied_epoch != broker_->epoch()) {
    // It was put before the restart, perhaps, and what became of it was not seen.
    task.touched = task.delivered = true;
    if (!broker_->GetTask(id).ok()) task.may_end = true;
  }
  Confirm([this, number, id, deletions = deletions_[put.queue]] {
    if (deletions_[puts_[number].queue] == deletions) BecameTask(number, id);
    TaskFacts* told = Find(id);
    if (told == nullptr || told->acked_at != 0) return;
    told->acked_at = position_;
    told->acked_round = round_;
    told->accepted_latest = now_;
    ++totals_->acked;
  });
}

// Somebody was told, by an answer or by a delivery.
void Oracle::BecameTask(uint64_t number, TaskId id) {
  PutFacts& put = puts_[number];
  if (put.told == id) return;
  if (put.told == TaskId{0}) {
    put.told = id;
    return;
  }
  if (short_memory_) return;
  Violation(absl::StrCat("put ", number, " on ", put.queue, " became two tasks, ", Raw(put.told), " and ",
                         Raw(id)));
}

void Oracle::Delivered(const core::Delivery& delivery, uint64_t session, bool ack) {
  ++totals_->deliveries;
  const std::string what = absl::StrCat("task ", Raw(delivery.task), " of ", delivery.queue.str(), " ");
  const uint64_t number = NumberIn(delivery.payload.view());
  auto found = puts_.find(number);
  if (number == 0 || found == puts_.end() || found->second.payload != delivery.payload.view())
    return Violation(what + "is delivered with a payload that nobody put");
  const PutFacts& put = found->second;
  const bool known = tasks_.contains(delivery.task);
  TaskFacts& task = FactsOf(delivery.task, number, delivery.queue.str());
  if (!known) task.touched = true;
  if (task.number == 0) task.number = number;
  if (task.number != number)
    return Violation(absl::StrCat(what, "is put ", task.number, ", but is delivered as put ", number));
  if (task.queue != delivery.queue.view()) return Violation(what + "is delivered from another queue");
  if (task.ended_at != 0) Violation(what + "is delivered after its end was acknowledged");
  if (task.over_at != 0 && !task.retried)
    Violation(what + "is delivered after a join or a result said it was over");
  if (trace_) {
    trace_(absl::StrCat(what, "(put ", number, ") is delivered to session ", session, " with ",
                        delivery.token.epoch, "-", delivery.token.sequence, ack ? " and done" : ""));
  }
  if (task.delivered) ++totals_->redeliveries;
  if (!task.retried && (now_ < task.not_before || now_ < put.applied + core::Millis(put.delay_ms)))
    Violation(what + "is delivered before it is due");
  if (put.ttl_ms != 0 && !task.retried && task.accepted_latest != core::kNever &&
      now_ >= task.accepted_latest + core::Millis(put.ttl_ms))
    Violation(what + "is delivered after it expired");
  CheckRun(delivery, task, put);
  if (auto held = protected_.find(delivery.task); held != protected_.end()) {
    if (now_ < held->second.until)
      Violation(absl::StrCat(what, "runs twice: its lease ", held->second.token.epoch, "-",
                             held->second.token.sequence, " was on disk and its holder, session ",
                             held->second.session, ", had time to come back"));
    protected_.erase(held);
  }
  if (!task.touched && !task.delivered && !ack)
    CheckPlace(task, put);  // acks carry no token to tell their order
  task.delivered = true;
  if (ack) {
    MayEnd(delivery.task);
    Ended(delivery.task);
    return;
  }
  leases_[delivery.task] = {delivery.token, session, now_, 0};
  Confirm(
      [this, number, id = delivery.task, token = delivery.token, what, deletions = deletions_[put.queue]] {
        if (deletions_[puts_[number].queue] == deletions) BecameTask(number, id);
        TaskFacts* told = Find(id);
        if (told == nullptr) return;
        if (token <= told->newest) Violation(what + "has a token that is not greater than an older one's");
        told->newest = std::max(told->newest, token);
      });
}

// Whoever gets it is told how it was to be run.
void Oracle::CheckRun(const core::Delivery& delivery, const TaskFacts& task, const PutFacts& put) {
  const std::string what = absl::StrCat("task ", Raw(delivery.task), " is delivered ");
  if (delivery.time_limit_ms != put.time_limit_ms)
    Violation(what + "with another time limit than it was put");
  if (delivery.fresh_process != put.fresh_process) Violation(what + "with another process than it was put");
  if (task.retried || task.accepted_latest == core::kNever) return;
  if ((delivery.deadline != core::kNever) != put.deadline)
    Violation(what + (put.deadline ? "without its deadline" : "with a deadline that nobody gave it"));
  if (put.deadline && delivery.deadline <= now_) Violation(what + "after its deadline");
}

void Oracle::CheckProcess(TaskId id, core::Outcome outcome, const core::ProcessInfo& process) {
  if (process.pid != PidOf(id) || process.host != "host" ||
      (outcome == core::Outcome::kSucceeded && process.ended && process.exit_code != 0))
    Violation(absl::StrCat("task ", Raw(id), " has the process ", process.host, " ", process.pid,
                           " with exit code ", process.exit_code, ", which nobody reported"));
}

void Oracle::ProcessEnded(TaskId id) {
  ++totals_->processes;
  // What came with a success may have made it a failure.
  if (auto view = broker_->GetTask(id); view.ok() && view->outcome != core::Outcome::kSucceeded) return;
  Confirm([this, id] {
    if (TaskFacts* task = Find(id); task != nullptr) task->process_at = position_;
  });
}

// Of those that wait since their put and never left their line: none that was there
// before this round may stand before the one that was handed out.
void Oracle::CheckPlace(const TaskFacts& task, const PutFacts& put) {
  auto queue = broker_->GetQueue(task.queue);
  if (!queue.ok() || put.delay_ms != 0) return;
  ++totals_->order_checks;
  const core::Order order = queue->options.order;
  if (order == core::Order::kFifo) {
    TaskId& newest = newest_first_[task.queue];
    if (task.id < newest)
      Violation(absl::StrCat("fifo ", task.queue, ": task ", Raw(task.id), " after ", Raw(newest)));
    newest = std::max(newest, task.id);
    return;
  }
  const auto place = [&](const TaskFacts& of, int16_t priority) {
    return of.accepted.time_since_epoch().count() + int64_t{priority} * queue->options.ageing_ms;
  };
  for (const auto& [id, other] : tasks_) {
    if (other.queue != task.queue || other.touched || other.delivered || other.may_end ||
        other.acked_at == 0 || other.acked_round >= round_ || other.number == 0)
      continue;
    const PutFacts& other_put = puts_[other.number];
    if (other_put.delay_ms != 0 || other_put.ttl_ms != 0) continue;
    const bool before = order == core::Order::kLifo
                            ? id > task.id
                            : place(other, other_put.priority) < place(task, put.priority);
    if (!before) continue;
    auto view = broker_->GetTask(id);
    if (!view.ok() || view->state != TaskState::kReady) continue;
    Violation(absl::StrCat(std::string(NameOf(order)), " ", task.queue, ": task ", Raw(task.id),
                           " was handed out before ", Raw(id)));
  }
}

bool Oracle::Holds(const core::LeaseRef& lease) const {
  auto view = broker_->GetTask(lease.task);
  return view.ok() && view->state == TaskState::kLeased && view->token == lease.token;
}

// A completion was accepted, and its lease was the task's.
void Oracle::Completed(const core::LeaseRef& lease, core::Verdict verdict, uint32_t delay_ms) {
  if (auto it = protected_.find(lease.task); it != protected_.end() && it->second.token == lease.token)
    protected_.erase(it);
  TaskFacts* task = Find(lease.task);
  auto view = broker_->GetTask(lease.task);
  const bool unfinished = view.ok() && view->state != TaskState::kEnded && view->state != TaskState::kDead;
  if (verdict == core::Verdict::kDone) {
    if (unfinished && (task == nullptr || !task->retried))
      return Violation(absl::StrCat("task ", Raw(lease.task), " was completed, yet it is unfinished"));
    MayEnd(lease.task);
    if (!view.ok() || view->state == TaskState::kEnded) Ended(lease.task);
    return;
  }
  if (task == nullptr) return;
  task->touched = true;
  if (verdict == core::Verdict::kFailed && (SmallDead(task->queue) || puts_[task->number].ttl_ms != 0))
    task->may_end = true;
  if (verdict == core::Verdict::kReleased && delay_ms > 0) {
    Confirm([this, id = lease.task, due = now_ + core::Millis(delay_ms)] {
      if (TaskFacts* told = Find(id); told != nullptr) told->not_before = due;
    });
  }
}

void Oracle::MayEnd(TaskId id) {
  protected_.erase(id);
  if (TaskFacts* task = Find(id); task != nullptr) task->may_end = true;
}

void Oracle::Ended(TaskId id) {
  ++totals_->ended;
  Confirm([this, id] {
    if (TaskFacts* task = Find(id); task != nullptr) task->ended_at = position_;
  });
}

void Oracle::Retried(TaskId id) {
  if (const uint64_t number = NumberOf(id); number != 0) puts_[number].retried = true;
  TaskFacts* task = Find(id);
  if (task == nullptr) return;
  task->retried = task->touched = true;
  task->not_before = {};
}

void Oracle::Told(const core::ResultNotice& notice) {
  if (notice.outcome == core::Outcome::kUnfinished) return;
  ++totals_->results;
  if (notice.process != nullptr) CheckProcess(notice.task, notice.outcome, *notice.process);
  TaskFacts* task = Find(notice.task);
  if (task == nullptr) return;
  if (notice.outcome == core::Outcome::kSucceeded && !task->may_end)
    Violation(absl::StrCat("task ", Raw(notice.task), " is said to have succeeded, but nobody completed it"));
  Confirm([this, id = notice.task] {
    if (TaskFacts* told = Find(id); told != nullptr) told->over_at = position_;
  });
}

void Oracle::JoinAnswered(const Call& call) {
  for (TaskId id : call.unfinished) {
    auto view = broker_->GetTask(id);
    const TaskFacts* task = Find(id);
    if (task != nullptr && task->retried) continue;
    if (!view.ok() || view->state == TaskState::kEnded || view->state == TaskState::kDead) continue;
    if (task == nullptr || task->queue != call.queue) continue;
    Violation(absl::StrCat("join of ", call.queue, " is answered OK, but task ", Raw(id),
                           " was unfinished all the while"));
  }
  Confirm([this, ids = call.unfinished] {
    for (TaskId id : ids) {
      if (TaskFacts* task = Find(id); task != nullptr) task->over_at = position_;
    }
  });
}

}  // namespace joinq::sim
