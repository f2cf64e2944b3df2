// Queues: create, look at, close, purge, delete, join.
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/names.h"
#include "server/core/broker.h"

namespace joinq::core {
namespace {

absl::Status CheckOptions(const QueueOptions& options) {
  if (options.lease_ms < kLeaseMsMin || options.lease_ms > kLeaseMsMax) {
    return InvalidField("options.lease_ms", absl::StrCat("is ", options.lease_ms, "; it must be from ",
                                                         kLeaseMsMin, " to ", kLeaseMsMax));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Queue*> Broker::FindQueue(std::string_view name) const {
  auto it = queues_.find(name);
  if (it != queues_.end()) return it->second.get();
  if (absl::Status bad = CheckName("queue", name); !bad.ok()) return bad;
  return FieldError(absl::StatusCode::kNotFound, "queue",
                    absl::StrCat("no queue \"", std::string(name), "\""));
}

Queue* Broker::AddQueue(QueueId id, std::string_view name, QueueOptions options) {
  auto queue = std::make_unique<Queue>(id, names_.Intern(name), options);
  Queue* raw = queue.get();
  queues_.emplace(std::string(name), std::move(queue));
  queues_by_id_.emplace(id, raw);
  return raw;
}

QueueRecord Broker::RecordOf(const Queue& queue) const {
  QueueRecord record;
  record.id = queue.id;
  record.name = queue.name.str();
  record.options = queue.options;
  record.closed = queue.closed;
  record.put_total = queue.put_total;
  record.done_total = queue.done_total;
  record.dead = queue.dead;
  record.cancelled_total = queue.cancelled_total;
  record.redelivered_total = queue.redelivered_total;
  return record;
}

absl::StatusOr<QueueView> Broker::CreateQueue(std::string_view name, QueueOptions options,
                                              bool allow_existing) {
  if (absl::Status bad = CheckName("name", name); !bad.ok()) return bad;
  if (absl::Status bad = CheckOptions(options); !bad.ok()) return bad;
  if (auto it = queues_.find(name); it != queues_.end()) {
    if (!allow_existing && !(it->second->options == options)) {
      return FieldError(absl::StatusCode::kAlreadyExists, "name",
                        absl::StrCat("queue \"", std::string(name), "\" exists with other options"));
    }
    return it->second->View(now_);
  }
  if (queues_.size() >= limits_.queues_max) {
    return absl::ResourceExhaustedError(
        absl::StrCat("there are ", queues_.size(), " queues already, the most allowed"));
  }
  Queue* queue = AddQueue(QueueId(counters_.next_queue++), name, options);
  sink_->QueueCreated(RecordOf(*queue));
  Touch(queue);
  return queue->View(now_);
}

absl::StatusOr<QueueView> Broker::GetQueue(std::string_view name) const {
  auto queue = FindQueue(name);
  if (!queue.ok()) return queue.status();
  return (*queue)->View(now_);
}

std::vector<QueueView> Broker::ListQueues(std::string_view prefix, std::string_view after, size_t limit,
                                          bool* more) const {
  std::vector<QueueView> views;
  *more = false;
  auto it = after >= prefix ? queues_.upper_bound(after) : queues_.lower_bound(prefix);
  for (; it != queues_.end() && absl::StartsWith(it->first, absl::string_view(prefix.data(), prefix.size()));
       ++it) {
    if (views.size() == limit) {
      *more = true;
      break;
    }
    views.push_back(it->second->View(now_));
  }
  return views;
}

void Broker::AnswerAllParked(Queue*, WaiterList* list, const absl::Status& status) {
  while (!list->empty()) Answer(waiters_.Take(list->front().id), status);
}

void Broker::AnswerJoins(Queue* queue, const absl::Status& status) {
  AnswerAllParked(queue, &queue->joins, status);
}

absl::Status Broker::CloseQueue(std::string_view name) {
  auto found = FindQueue(name);
  if (!found.ok()) return found.status();
  Queue* queue = *found;
  if (queue->closed) return absl::OkStatus();
  queue->closed = true;
  sink_->QueueClosed(queue->id);
  Touch(queue);
  AnswerAllParked(queue, &queue->puts,
                  FieldError(absl::StatusCode::kFailedPrecondition, "closed",
                             absl::StrCat("queue \"", queue->name.str(), "\" is closed")));
  if (queue->unfinished() == 0) {
    AnswerAllParked(queue, &queue->gets,
                    FieldError(absl::StatusCode::kFailedPrecondition, "closed",
                               absl::StrCat("queue \"", queue->name.str(), "\" is closed and drained")));
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> Broker::PurgeQueue(std::string_view name) {
  auto found = FindQueue(name);
  if (!found.ok()) return found.status();
  Queue* queue = *found;
  uint64_t cancelled = 0;
  for (TaskList* list : {&queue->ready, &queue->delayed}) {
    while (Task* task = list->front()) {
      End(task, Outcome::kCancelled, {}, {});
      ++cancelled;
    }
  }
  AdmitPuts(queue);
  Dispatch(queue);
  return cancelled;
}

absl::Status Broker::DeleteQueue(std::string_view name, bool force) {
  auto found = FindQueue(name);
  if (!found.ok()) return found.status();
  Queue* queue = *found;
  if (queue->unfinished() > 0 && !force) {
    return FieldError(absl::StatusCode::kFailedPrecondition, "queue",
                      absl::StrCat("queue \"", queue->name.str(), "\" has ", queue->unfinished(),
                                   " unfinished task(s); purge it first, or delete with force"));
  }
  const absl::Status gone = FieldError(absl::StatusCode::kNotFound, "queue",
                                       absl::StrCat("queue \"", queue->name.str(), "\" was deleted"));
  AnswerAllParked(queue, &queue->puts, gone);
  AnswerAllParked(queue, &queue->gets, gone);
  AnswerAllParked(queue, &queue->joins, gone);
  std::vector<Task*> tasks;
  tasks_.ForEach([&](Task* task) {
    if (task->queue == queue) tasks.push_back(task);
  });
  for (Task* task : tasks) {
    const TaskId id = task->id;
    if (task->state != TaskState::kEnded) {
      if (task->holder != nullptr && task->holder->stream != kNobody) {
        effects_.cancels.push_back({task->holder->stream, {task->id, {epoch_, task->lease_sequence}}});
      }
      End(task, Outcome::kCancelled, {}, {});
    }
    if (Task* kept = tasks_.Find(id); kept != nullptr) DropResult(kept);
  }
  for (WorkerSession* worker : queue->workers) std::erase(worker->queues, queue);
  sink_->QueueDeleted(queue->id);
  if (queue->has_row) sink_->DeleteQueueRow(queue->id);
  queues_by_id_.erase(queue->id);
  queues_.erase(queues_.find(name));
  return absl::OkStatus();
}

void Broker::Join(CallerId caller, std::string_view name, uint32_t timeout_ms, bool no_wait) {
  Waiter waiter;
  waiter.kind = WaiterKind::kJoin;
  waiter.caller = caller;
  auto found = FindQueue(name);
  if (!found.ok()) return Answer(std::move(waiter), found.status());
  waiter.queue = *found;
  if (waiter.queue->unfinished() == 0) return Answer(std::move(waiter), absl::OkStatus());
  if (no_wait) return Answer(std::move(waiter), absl::DeadlineExceededError(""));
  if (absl::Status no = MayPark(caller); !no.ok()) return Answer(std::move(waiter), no);
  WaiterList* joins = &waiter.queue->joins;
  const uint64_t id = waiters_.Park(joins, std::move(waiter));
  if (timeout_ms > 0) timers_.Add(now_ + Millis(timeout_ms), TimerKind::kWaiter, id);
}

}  // namespace joinq::core
