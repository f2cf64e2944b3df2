// Work on many tasks of a queue: purge, retry and purge of the dead, delete. A bounded
// number of them a round, so that ten million hold nothing else up; the caller is
// answered at the end. What a restart of the broker cuts short is cut short.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/names.h"
#include "server/core/broker.h"

namespace joinq::core {

void Broker::StartSweep(CallerId caller, SweepKind kind, Queue* queue, uint64_t tasks) {
  if (stopping_)
    return AnswerSweep({caller, kind, queue, 0}, absl::UnavailableError("the broker is stopping"));
  sweeps_.push_back({caller, kind, queue, tasks});
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

// In the order in which they came.
void Broker::RunSweeps() {
  for (uint64_t steps = 0; !sweeps_.empty() && steps < limits_.sweep_per_round;) {
    Sweep& sweep = sweeps_.front();
    if (sweep.left == 0 || !Step(&sweep, &steps)) {
      const Sweep ended = sweep;
      sweeps_.pop_front();
      if (ended.kind == SweepKind::kDelete) {
        RemoveQueue(ended.queue);
      } else {
        Dispatch(ended.queue);
      }
      AnswerSweep(ended, absl::OkStatus());
      continue;
    }
    if (sweep.left > 0) --sweep.left;
    ++sweep.done;
    ++steps;
  }
}

// One task; false if there is none left.
bool Broker::Step(Sweep* sweep, uint64_t* steps) {
  Queue* queue = sweep->queue;
  Task* waiting = !queue->ready.empty() ? queue->ready.front() : queue->delayed.front();
  Task* dead = queue->dead_tasks.front();
  switch (sweep->kind) {
    case SweepKind::kPurge:
      if (waiting == nullptr) return false;
      End(waiting, Outcome::kCancelled, {}, {});
      return true;
    case SweepKind::kRetryDead:
      if (dead == nullptr) return false;
      Exhume(dead);
      return true;
    case SweepKind::kPurgeDead:
      if (dead == nullptr) return false;
      DropDead(dead);
      return true;
    case SweepKind::kDelete:
      if (waiting != nullptr) {
        End(waiting, Outcome::kCancelled, {}, {});
      } else if (dead != nullptr) {
        DropDead(dead);
      } else {
        return DropResults(sweep, steps);
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

void Broker::PurgeQueue(CallerId caller, std::string_view name) {
  auto found = FindQueue(name);
  if (!found.ok()) return AnswerSweep({caller}, found.status());
  StartSweep(caller, SweepKind::kPurge, *found, (*found)->size());
}

void Broker::PurgeDead(CallerId caller, std::string_view name) {
  auto found = FindQueue(name);
  if (!found.ok()) return AnswerSweep({caller}, found.status());
  StartSweep(caller, SweepKind::kPurgeDead, *found, (*found)->dead_count);
}

void Broker::RetryDead(CallerId caller, std::string_view name, uint64_t limit) {
  auto found = FindQueue(name);
  if (!found.ok()) return AnswerSweep({caller}, found.status());
  if ((*found)->closed) return AnswerSweep({caller}, (*found)->ClosedError());
  const uint64_t dead = (*found)->dead_count;
  StartSweep(caller, SweepKind::kRetryDead, *found, limit == 0 ? dead : std::min(limit, dead));
}

// Nobody finds the queue any more from now on; it is gone, and its name free, when its
// tasks are.
void Broker::DeleteQueue(CallerId caller, std::string_view name, bool force) {
  auto found = FindQueue(name);
  if (!found.ok()) return AnswerSweep({caller}, found.status());
  Queue* queue = *found;
  if (queue->unfinished() > 0 && !force) {
    return AnswerSweep({caller},
                       FieldError(absl::StatusCode::kFailedPrecondition, "queue",
                                  absl::StrCat("queue \"", queue->name.str(), "\" has ", queue->unfinished(),
                                               " unfinished task(s); purge it first, or delete with force")));
  }
  queue->deleting = true;
  const absl::Status gone = FieldError(absl::StatusCode::kNotFound, "queue",
                                       absl::StrCat("queue \"", queue->name.str(), "\" was deleted"));
  AnswerAllParked(&queue->puts, gone);
  AnswerAllParked(&queue->gets, gone);
  AnswerAllParked(&queue->joins, gone);
  for (Sweep& other : sweeps_) {
    if (other.queue != queue) continue;
    AnswerSweep(other, gone);
    other.caller = kNobody;
    other.left = 0;
  }
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
  StartSweep(caller, SweepKind::kDelete, queue, UINT64_MAX);
}

// Nothing of it is left but itself.
void Broker::RemoveQueue(Queue* queue) {
  std::vector<KeyEntry*> keys;
  keys_.ForEach([&](KeyEntry* entry) {
    if (entry->queue == queue->id) keys.push_back(entry);
  });
  for (KeyEntry* entry : keys) ForgetKey(entry);
  sink_->QueueDeleted(queue->id);
  sink_->NeedSync();
  if (queue->has_row) sink_->DeleteQueueRow(queue->id);
  shapes_.Forget(queue);
  queues_by_id_.erase(queue->id);
  queues_.erase(queues_.find(queue->name.view()));
}

}  // namespace joinq::core
