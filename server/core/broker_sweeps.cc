// Work on many tasks of a queue: purge, retry and purge of the dead, delete. A bounded
// number of them a round, so that ten million hold nothing else up; the caller is
// answered at the end. A restart of the broker goes on with a deletion; the others it
// cuts short.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/names.h"
#include "server/core/broker.h"

namespace joinq::core {

void Broker::StartSweep(Sweep sweep) {
  if (stopping_) return AnswerSweep(sweep, absl::UnavailableError("the broker is stopping"));
  sweep.below = TaskId{counters_.next_task};
  sweeps_.push_back(std::move(sweep));
  if (sweeps_.size() == 1) RunSweeps();  // a small one ends within the call
}

void Broker::AnswerSweep(const Sweep& sweep, const absl::Status& status) {
  if (sweep.caller == kNobody) return;
  Reply reply;
  reply.to = sweep.caller;
  reply.status = status;
  reply.count = sweep.done;
  effects_.replies.push_back(std::move(reply));
}

// Turn by turn, each a part of what a round may take.
void Broker::RunSweeps() {
  uint64_t steps = 0;
  for (size_t turns = sweeps_.size(); turns > 0 && steps < limits_.sweep_per_round; --turns) {
    const uint64_t end = steps + (limits_.sweep_per_round - steps + turns - 1) / turns;
    Sweep sweep = std::move(sweeps_.front());
    sweeps_.pop_front();
    bool more = true;
    for (; steps < end && more; ++steps) {
      more = sweep.left > 0 && Step(&sweep, &steps);
      if (!more) break;
      --sweep.left;
      ++sweep.done;
    }
    Queue* const queue = sweep.queue;
    if (!more && sweep.kind == SweepKind::kDelete) {
      RemoveQueue(queue);
    } else {
      Dispatch(queue);  // whoever waits does not wait for the end of all this
    }
    if (more) {
      sweeps_.push_back(std::move(sweep));
    } else {
      AnswerSweep(sweep, absl::OkStatus());
    }
  }
}

// A task that was put before the sweep began and waits; null if there is none.
Task* Broker::WaitingBefore(const Sweep& sweep) const {
  Queue* queue = sweep.queue;
  // The delayed ones first: those that fall due meanwhile would end up behind newer ones.
  if (Task* delayed = queue->delayed.front(); delayed != nullptr && delayed->id < sweep.below) return delayed;
  return queue->ready.AnyBelow(sweep.below);
}

// One task; false if there is none left.
bool Broker::Step(Sweep* sweep, uint64_t* steps) {
  Queue* queue = sweep->queue;
  Task* dead = queue->dead_tasks.front();
  switch (sweep->kind) {
    case SweepKind::kPurge: {
      Task* waiting = WaitingBefore(*sweep);
      if (waiting == nullptr) return false;
      End(waiting, Outcome::kCancelled, {}, {});
      return true;
    }
    case SweepKind::kRetryDead:
      if (dead == nullptr || queue->closed) return false;
      Exhume(dead);
      return true;
    case SweepKind::kPurgeDead:
      if (dead == nullptr) return false;
      DropDead(dead);
      return true;
    case SweepKind::kDelete:
      if (Task* ready = queue->ready.front(); ready != nullptr) {
        End(ready, Outcome::kCancelled, {}, {});
      } else if (Task* delayed = queue->delayed.front(); delayed != nullptr) {
        End(delayed, Outcome::kCancelled, {}, {});
      } else if (dead != nullptr) {
        DropDead(dead);
      } else {
        return DropResults(sweep, steps) || DropKey(sweep);
      }
      return true;
  }
  return false;
}

// Those of a queue that is being deleted, second by second of their expiry.
bool Broker::DropResults(Sweep* sweep, uint64_t* steps) {
  if (sweep->queue->results_kept == 0) return false;
  auto bucket = results_by_second_.lower_bound(sweep->second);
  if (bucket == results_by_second_.end()) return false;
  std::vector<Task*> tasks;
  const TaskList& results = bucket->second;
  for (Task* task = results.front(); task != nullptr; task = results.Next(task), ++*steps) {
    if (task->queue() == sweep->queue) tasks.push_back(task);
  }
  for (Task* task : tasks) DropResult(task);
  sweep->second = bucket->first + 1;
  return true;
}

// Unique keys and request ids of a queue that is being deleted.
bool Broker::DropKey(Sweep* sweep) {
  if (!sweep->keys_listed) {
    sweep->keys_listed = true;
    keys_.ForEach([&](KeyEntry* entry) {
      if (entry->queue == sweep->queue->id) sweep->keys.push_back(entry->number);
    });
  }
  if (sweep->keys.empty()) return false;
  if (KeyEntry* entry = keys_.Find(sweep->keys.back()); entry != nullptr) ForgetKey(entry);
  sweep->keys.pop_back();
  return true;
}

// A task that was delayed falls due while a purge that means it goes on.
bool Broker::IsPurged(const Task& task) const {
  return std::any_of(sweeps_.begin(), sweeps_.end(), [&](const Sweep& sweep) {
    return sweep.kind == SweepKind::kPurge && sweep.queue == task.queue() && task.id < sweep.below;
  });
}

void Broker::PurgeQueue(CallerId caller, std::string_view name) {
  auto found = FindQueue(name);
  if (!found.ok()) return AnswerSweep({.caller = caller}, found.status());
  StartSweep({.caller = caller, .kind = SweepKind::kPurge, .queue = *found});
}

void Broker::PurgeDead(CallerId caller, std::string_view name) {
  auto found = FindQueue(name);
  if (!found.ok()) return AnswerSweep({.caller = caller}, found.status());
  StartSweep(
      {.caller = caller, .kind = SweepKind::kPurgeDead, .queue = *found, .left = (*found)->dead_count});
}

void Broker::RetryDead(CallerId caller, std::string_view name, uint64_t limit) {
  auto found = FindQueue(name);
  if (!found.ok()) return AnswerSweep({.caller = caller}, found.status());
  if ((*found)->closed) return AnswerSweep({.caller = caller}, (*found)->ClosedError());
  const uint64_t dead = (*found)->dead_count;
  StartSweep({.caller = caller,
              .kind = SweepKind::kRetryDead,
              .queue = *found,
              .left = limit == 0 ? dead : std::min(limit, dead)});
}

// Nobody finds the queue any more from now on; it is gone, and its name free, when its
// tasks are.
void Broker::DeleteQueue(CallerId caller, std::string_view name, bool force) {
  auto found = FindQueue(name);
  if (!found.ok()) return AnswerSweep({.caller = caller}, found.status());
  Queue* queue = *found;
  if (queue->unfinished() > 0 && !force) {
    return AnswerSweep({caller},
                       FieldError(absl::StatusCode::kFailedPrecondition, "queue",
                                  absl::StrCat("queue \"", queue->name.str(), "\" has ", queue->unfinished(),
                                               " unfinished task(s); purge it first, or delete with force")));
  }
  queue->deleting = true;
  QueueChanged(queue);  // a restart goes on with it
  const absl::Status gone = FieldError(absl::StatusCode::kNotFound, "queue",
                                       absl::StrCat("queue \"", queue->name.str(), "\" was deleted"));
  AnswerAllParked(&queue->puts, gone);
  AnswerAllParked(&queue->gets, gone);
  AnswerAllParked(&queue->joins, gone);
  for (Sweep& other : sweeps_) {
    if (other.queue != queue) continue;
    AnswerSweep(other, gone);
  }
  std::erase_if(sweeps_, [queue](const Sweep& other) { return other.queue == queue; });
  for (Session* worker : queue->workers) std::erase(worker->queues, queue);
  queue->workers.clear();
  // Those at work on it are told at once.
  while (Task* task = queue->direct_leases.tasks.front()) End(task, Outcome::kCancelled, {}, {});
  std::vector<Task*> leased;
  for (auto& [id, session] : sessions_) {
    if (queue->leased_count == leased.size()) break;
    const TaskList& leases = session->leases.tasks;
    for (Task* task = leases.front(); task != nullptr; task = leases.Next(task)) {
      if (task->queue() != queue) continue;
      leased.push_back(task);
      if (session->stream != kNobody)
        effects_.cancels.push_back({session->stream, {task->id, task->ties->token}});
    }
  }
  for (Task* task : leased) End(task, Outcome::kCancelled, {}, {});
  StartSweep({.caller = caller, .kind = SweepKind::kDelete, .queue = queue});
}

// Nothing of it is left but itself.
void Broker::RemoveQueue(Queue* queue) {
  sink_->QueueDeleted(queue->id);
  sink_->NeedSync();
  if (queue->has_row) sink_->DeleteQueueRow(queue->id);
  shapes_.Forget(queue);
  queues_by_id_.erase(queue->id);
  queues_.erase(queues_.find(queue->name.view()));
}

}  // namespace joinq::core
