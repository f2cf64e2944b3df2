#include "server/core/restorer.h"

#include <algorithm>
#include <vector>

namespace joinq::core {
namespace {

constexpr size_t kCompletionsMax = 1 << 17;  // remembered over a restart

std::string KeyText(KeySpace space, std::string_view text) {
  return std::string(1, static_cast<char>(space)) + std::string(text);
}

}  // namespace

Queue* Restorer::QueueOf(QueueId id) const {
  auto it = broker_->queues_by_id_.find(id);
  return it == broker_->queues_by_id_.end() ? nullptr : it->second;
}

bool Restorer::Counts(QueueId id) const {
  auto it = queue_rows_.find(id);
  return it == queue_rows_.end() || it->second < entry_.number;
}

bool Restorer::Includes(TaskId id) const {
  if (entry_.number > newest_row_) return false;
  auto it = task_rows_.find(id);
  return it != task_rows_.end() && it->second >= entry_.number;
}

void Restorer::Touch(Task* task) {
  if (task->dirty_since != 0) return;
  task->dirty_since = entry_.number;
  entry_.Add(task->id);
}

void Restorer::Touch(Queue* queue) {
  if (queue->dirty_since != 0) return;
  queue->dirty_since = entry_.number;
  entry_.queues.push_back(queue->id);
}

void Restorer::LoadCounters(const CounterRecord& counters) {
  broker_->counters_ = counters;
}

void Restorer::FillTotals(Queue* queue, const QueueRecord& record) {
  queue->put_total = record.put_total;
  queue->done_total = record.done_total;
  queue->dead_total = record.dead_total;
  queue->cancelled_total = record.cancelled_total;
  queue->expired_total = record.expired_total;
  queue->redelivered_total = record.redelivered_total;
  queue->retried_total = record.retried_total;
}

void Restorer::LoadQueueRow(const QueueRecord& record, uint64_t as_of) {
  // Two of one name or id: damage. The first one stays.
  if (QueueOf(record.id) != nullptr || broker_->queues_.contains(record.name)) return;
  Queue* queue = broker_->AddQueue(record.id, record.name, record.options);
  queue->closed = record.closed;
  queue->paused = record.paused;
  queue->deleting = record.deleting;
  FillTotals(queue, record);
  queue->has_row = true;
  queue_rows_[record.id] = as_of;
  auto& next = broker_->counters_.next_queue;
  next = std::max(next, Raw(record.id) + 1);
}

void Restorer::FillProgress(Task* task, const ProgressRecord& record) {
  task->when = record.when;
  task->deliveries = record.deliveries;
  task->outcome = record.outcome;
  if (record.attempts != 0 || record.crashes != 0 || record.error != nullptr || record.process != nullptr ||
      !record.history.empty() || task->extra != nullptr) {
    Extra& extra = task->more();
    extra.attempts = record.attempts;
    extra.crashes = record.crashes;
    extra.error = record.error == nullptr ? nullptr : std::make_unique<TaskError>(*record.error);
    extra.process = record.process == nullptr ? nullptr : std::make_unique<ProcessInfo>(*record.process);
    if (record.history_whole) extra.history.clear();
    extra.history.insert(extra.history.end(), record.history.begin(), record.history.end());
    while (extra.history.size() > kHistoryMax) extra.history.erase(extra.history.begin());
    // A dead one that was retried has time without end.
    if (task->state == TaskState::kDead && record.state != TaskState::kDead) {
      extra.expires = kNever;
      extra.deadline_ms = 0;
    }
  }
  if (task->state == TaskState::kLeased && record.state != TaskState::kLeased) task->ties.reset();
  task->state = record.state;
}

void Restorer::FillLease(Task* task, const LeaseRecord& lease) {
  task->state = TaskState::kLeased;
  task->when = lease.end;
  task->deliveries = lease.deliveries;
  Ties& ties = task->tied();
  ties.token = lease.token;
  ties.marked = true;
  ties.holder = lease.session == 0 ? nullptr : broker_->AddSession(lease.session, lease.kind);
}

Task* Restorer::Fill(const TaskRecord& record) {
  Queue* queue = QueueOf(record.queue);
  if (queue == nullptr) {
    ++orphans_;
    return nullptr;
  }
  Task* task = broker_->tasks_.Find(record.id);
  if (task == nullptr) {
    task = broker_->tasks_.Insert(record.id);
    ++queue->loaded;
    auto& next = broker_->counters_.next_task;
    next = std::max(next, Raw(record.id) + 1);
  } else {
    broker_->shapes_.Release(task->shape);
  }
  task->fresh = true;
  const Name content_type = broker_->names_.Intern(record.content_type);
  task->shape =
      broker_->shapes_.Acquire(queue, broker_->names_.Intern(record.handler), content_type, record.policy);
  broker_->SetPayload(task, Blob(record.headers, record.payload));
  if (record.expires != kNever) {
    task->more().expires = record.expires;
    task->extra->deadline_ms = record.deadline_ms;
  }
  if (task->bound) broker_->Unbind(task);
  if (record.session_id != 0 && record.outcome == Outcome::kUnfinished)
    broker_->Bind(task, record.session_id);
  FillProgress(task, record);
  if (record.state == TaskState::kLeased) FillLease(task, record.lease);
  if (record.state == TaskState::kEnded && !content_type.empty()) task->tied().result_type = content_type;
  if (!record.unique_key.empty()) {
    AddKey(record.queue, KeySpace::kUnique, record.unique_key, record.id, record.unique_scope,
           record.unique_until, /*from_row=*/false);
  }
  return task;
}

void Restorer::LoadTaskRow(const TaskRecord& record, uint64_t as_of) {
  Task* task = Fill(record);
  if (task == nullptr) return;
  task->has_row = true;
  task_rows_[record.id] = as_of;
  newest_row_ = std::max(newest_row_, as_of);
  const bool may_leave = task->waiting() || task->state == TaskState::kDead;
  if (may_leave && task->payload.footprint() > 0 &&
      broker_->resident_bytes_ > broker_->limits_.memory_budget_bytes) {
    broker_->resident_bytes_ -= task->payload.footprint();
    task->payload = Blob();
    task->evicted = true;
  }
}

Producer* Restorer::ProducerOf(uint64_t id) {
  auto& producer = broker_->producers_[id];
  if (producer == nullptr) {
    producer = std::make_unique<Producer>();
    producer->id = id;
  }
  return producer.get();
}

void Restorer::LoadProducerRow(const ProducerRecord& record, uint64_t) {
  Producer* producer = ProducerOf(record.id);
  producer->acked_below = record.acked_below;
  producer->has_row = true;
  for (const auto& [tag, task] : record.tags) producer->tags[tag] = task;
}

// The newest put of a key wins.
void Restorer::AddKey(QueueId queue, KeySpace space, std::string_view text, TaskId id, UniqueScope scope,
                      Time until, bool from_row) {
  if (until <= broker_->now_) return;
  KeyEntry* entry = broker_->keys_.Find(queue, space, text);
  if (entry != nullptr && entry->task != id) {
    if (entry->task > id) return;
    if (Task* old = broker_->tasks_.Find(entry->task);
        old != nullptr && old->extra != nullptr && old->extra->unique == entry)
      old->extra->unique = nullptr;
  }
  if (entry == nullptr) entry = broker_->keys_.Add(queue, space, text);
  entry->task = id;
  entry->scope = scope;
  entry->until = until;
  if (from_row) entry->has_row = true;
  if (space != KeySpace::kUnique) return;
  if (Task* task = broker_->tasks_.Find(id); task != nullptr) task->more().unique = entry;
}

void Restorer::LoadKeyRow(const KeyRecord& key, uint64_t as_of) {
  if (QueueOf(key.queue) == nullptr) return;
  key_rows_[{key.queue, KeyText(key.space, key.text)}] = as_of;
  AddKey(key.queue, key.space, key.text, key.task, UniqueScope::kWindow, key.until, /*from_row=*/true);
}

void Restorer::Remember(TaskId task, const CompletedLease& completed) {
  if (completed.verdict == Verdict::kNone || completed.token.epoch == 0) return;
  auto [known, added] = broker_->completed_before_.insert_or_assign(
      task, Broker::Completed{task, completed.token, completed.verdict});
  if (!added) return;
  completions_.push_back(task);
  if (completions_.size() <= kCompletionsMax) return;
  broker_->completed_before_.erase(completions_.front());
  completions_.pop_front();
}

void Restorer::BeginEntry(uint64_t number, size_t bytes) {
  entry_ = {};
  entry_.number = number;
  entry_.bytes = bytes;
}

void Restorer::EndEntry() {
  broker_->ledger_.Restored(std::move(entry_));
}

void Restorer::QueueCreated(const QueueRecord& record) {
  auto& next = broker_->counters_.next_queue;
  next = std::max(next, Raw(record.id) + 1);
  if (QueueOf(record.id) != nullptr || !Counts(record.id) || broker_->queues_.contains(record.name)) return;
  Touch(broker_->AddQueue(record.id, record.name, record.options));
}

void Restorer::QueueChanged(const QueueRecord& record) {
  Queue* queue = QueueOf(record.id);
  if (queue == nullptr || !Counts(record.id)) return;
  if (queue->options.durability != record.options.durability) {
    // It was empty, and what it counted in memory only was lost.
    queue->put_total = queue->done_total + queue->dead_total + queue->cancelled_total + queue->expired_total -
                       queue->retried_total;
  }
  queue->options = record.options;
  queue->closed = record.closed;
  queue->paused = record.paused;
  queue->deleting = record.deleting;
  // What the queue's tasks did while they were in memory only is nowhere else.
  FillTotals(queue, record);
  Touch(queue);
}

void Restorer::Remove(Task* task) {
  if (Queue* queue = QueueOf(task->queue()->id); queue != nullptr) --queue->loaded;
  broker_->Erase(task);
}

void Restorer::QueueDeleted(QueueId id) {
  Queue* queue = QueueOf(id);
  if (queue == nullptr) return;
  if (queue->loaded > 0) {
    std::vector<Task*> tasks;
    broker_->tasks_.ForEach([&](Task* task) {
      if (task->queue() == queue) tasks.push_back(task);
    });
    for (Task* task : tasks) Remove(task);
  }
  std::vector<KeyEntry*> keys;
  broker_->keys_.ForEach([&](KeyEntry* key) {
    if (key->queue == id) keys.push_back(key);
  });
  for (KeyEntry* key : keys) broker_->keys_.Remove(key);
  broker_->shapes_.Forget(queue);
  broker_->queues_by_id_.erase(id);
  broker_->queues_.erase(queue->name.str());
}

void Restorer::TaskPut(const TaskRecord& record) {
  Queue* queue = QueueOf(record.queue);
  auto& next = broker_->counters_.next_task;
  next = std::max(next, Raw(record.id) + 1);
  if (record.producer_id != 0) {
    Producer* producer = ProducerOf(record.producer_id);
    if (record.tag >= producer->acked_below) producer->tags[record.tag] = record.id;
    if (producer->dirty_since == 0) {
      producer->dirty_since = entry_.number;
      entry_.producers.push_back(producer->id);
    }
  }
  if (queue == nullptr) return;
  if (Counts(record.queue)) {
    ++queue->put_total;
    Touch(queue);
  }
  const auto key = [&](KeySpace space, std::string_view text, UniqueScope scope, Time until) {
    auto row = key_rows_.find({record.queue, KeyText(space, text)});
    if (row != key_rows_.end() && row->second >= entry_.number) return;
    AddKey(record.queue, space, text, record.id, scope, until, /*from_row=*/false);
    KeyEntry* entry = broker_->keys_.Find(record.queue, space, text);
    if (entry == nullptr || entry->dirty_since != 0) return;
    entry->dirty_since = entry_.number;
    entry_.keys.push_back({record.queue, space, std::string(text)});
  };
  if (!record.request_id.empty())
    key(KeySpace::kRequest, record.request_id, UniqueScope::kWindow, record.request_until);
  if (!record.unique_key.empty() && record.unique_until != kNever)
    key(KeySpace::kUnique, record.unique_key, record.unique_scope, record.unique_until);
  if (Includes(record.id)) return;
  if (Task* task = Fill(record); task != nullptr) Touch(task);
}

void Restorer::TaskChanged(const ProgressRecord& record) {
  Remember(record.id, record.completed);
  Queue* queue = QueueOf(record.queue);
  if (queue == nullptr) return;
  // It counts even if the task is gone since, and the entry of its put with it.
  if (Counts(queue->id) && (record.buried || record.exhumed)) {
    ++(record.buried ? queue->dead_total : queue->retried_total);
    Touch(queue);
  }
  Task* task = broker_->tasks_.Find(record.id);
  if (task == nullptr || Includes(record.id)) return;
  FillProgress(task, record);
  if (record.state == TaskState::kDead) {
    broker_->ReleaseUnique(task, /*ended=*/true);
    if (task->bound) broker_->Unbind(task);
  }
  Touch(task);
}

void Restorer::TaskEnded(const EndRecord& end) {
  Remember(end.id, end.completed);
  if (Queue* queue = QueueOf(end.queue); queue != nullptr && Counts(end.queue)) {
    queue->Count(end.outcome);
    Touch(queue);
  }
  Task* task = broker_->tasks_.Find(end.id);
  if (task == nullptr || Includes(end.id)) return;
  broker_->ReleaseUnique(task, /*ended=*/true);
  if (!end.kept) return Remove(task);
  if (task->bound) broker_->Unbind(task);
  task->state = TaskState::kEnded;
  task->outcome = end.outcome;
  task->ties.reset();
  broker_->SetPayload(task, Blob(end.payload));
  if (!end.content_type.empty()) task->tied().result_type = broker_->names_.Intern(end.content_type);
  task->when = end.expiry;
  task->deliveries = end.deliveries;
  if (end.error != nullptr || end.process != nullptr || task->extra != nullptr) {
    Extra& extra = task->more();
    extra.error = end.error == nullptr ? nullptr : std::make_unique<TaskError>(*end.error);
    extra.process = end.process == nullptr ? nullptr : std::make_unique<ProcessInfo>(*end.process);
  }
  Touch(task);
}

void Restorer::TaskDropped(TaskId id) {
  Task* task = broker_->tasks_.Find(id);
  if (task != nullptr && !Includes(id)) Remove(task);
}

void Restorer::LeaseMarked(const LeaseRecord& lease) {
  Task* task = broker_->tasks_.Find(lease.task);
  if (task == nullptr || Includes(lease.task)) return;
  FillLease(task, lease);
  Touch(task);
}

// From its restored state to its place in the lines.
void Restorer::LineUp(Task* task, Time now) {
  Queue* queue = task->queue();
  const TaskState state = task->state;
  const Time when = task->when;
  if (task->expires() != kNever && state != TaskState::kEnded && state != TaskState::kDead)
    broker_->timers_.Add(task->expires(), TimerKind::kTaskExpiry, Raw(task->id));
  task->state = TaskState::kNew;
  switch (state) {
    case TaskState::kDelayed:
      if (when <= now) return broker_->MakeReady(task, /*back_again=*/false, when);
      return broker_->MakeDelayed(task, when);
    case TaskState::kEnded:
      task->state = TaskState::kEnded;
      return broker_->ShelveResult(task);
    case TaskState::kDead:
      task->state = TaskState::kDead;
      queue->dead_tasks.PushBack(task);
      ++queue->dead_count;
      return;
    case TaskState::kLeased: {
      Session* holder = task->ties->holder;
      const Token token = task->ties->token;
      broker_->MakeReady(task, /*back_again=*/false);
      --task->deliveries;
      // A direct consumer has time to come back, too.
      const Time end = when == kNever ? kNever : std::max(when, now + broker_->limits_.restart_grace);
      const uint64_t redelivered = queue->redelivered_total;
      broker_->Grant(task, holder, token, end);
      queue->redelivered_total = redelivered;
      task->ties->marked = true;
      LeaseList& leases = broker_->LeasesOf(*task);
      if (leases.first_unmarked == task) leases.first_unmarked = nullptr;
      broker_->timers_.Add(end, TimerKind::kLeaseEnd, Raw(task->id));
      return;
    }
    default:
      // Ready since its put or its last retry, as far as is known.
      return broker_->MakeReady(task, /*back_again=*/false, when == Time{} ? now : std::min(now, when));
  }
}

void Restorer::Finish(Time now, bool records_missing) {
  broker_->now_ = now;
  for (auto& [name, queue] : broker_->queues_) {
    queue->ready.set_order(queue->options.order);
    queue->ready.set_ageing(queue->options.ageing_ms);
  }
  std::vector<Task*> tasks;
  tasks.reserve(broker_->tasks_.size());
  broker_->tasks_.ForEach([&](Task* task) { tasks.push_back(task); });
  // In the order in which they became ready, or dead. Delayed tasks that are due by now
  // have stood in line since they were; how they got there is not on disk.
  const auto place = [now](const Task* task) {
    const bool timed = task->state == TaskState::kReady || task->state == TaskState::kDead ||
                       (task->state == TaskState::kDelayed && task->when <= now);
    return std::pair(timed ? task->when : Time{}, task->id);
  };
  std::sort(tasks.begin(), tasks.end(), [&](const Task* a, const Task* b) { return place(a) < place(b); });
  for (Task* task : tasks) LineUp(task, now);
  std::vector<KeyEntry*> over;
  broker_->keys_.ForEach([&](KeyEntry* key) {
    const bool orphan = key->until == kNever && broker_->tasks_.Find(key->task) == nullptr;
    if (orphan) {
      over.push_back(key);
    } else {
      broker_->timers_.Add(key->until, TimerKind::kKey, key->number);
    }
  });
  for (KeyEntry* key : over) broker_->ForgetKey(key);
  if (broker_->epoch_ > 1) broker_->sessions_return_until_ = now + broker_->limits_.restart_grace;
  broker_->bound_.ForEach(
      [this](uint64_t session, TaskId) { broker_->AddSession(session, SessionKind::kClient); });
  for (auto& [id, session] : broker_->sessions_) {
    session->last_heard = now;
    session->ends = now + broker_->limits_.restart_grace;
    broker_->ArmSessionTimer(session.get(), session->ends);
  }
  for (auto& [id, producer] : broker_->producers_) {
    producer->ends = now + broker_->limits_.producer_grace;
    broker_->timers_.Add(producer->ends, TimerKind::kProducer, id);
    broker_->detached_producers_.emplace(producer->ends, id);
  }
  for (auto& [name, queue] : broker_->queues_) {
    if (queue->deleting)
      broker_->sweeps_.push_back({.kind = Broker::SweepKind::kDelete, .queue = queue.get()});
    if (!records_missing && queue->options.durability != Durability::kMemory) continue;
    // The tasks of a queue in memory are gone, and so are those whose records were damaged.
    queue->put_total = queue->done_total + queue->dead_total + queue->cancelled_total + queue->expired_total +
                       queue->unfinished() - queue->retried_total;
  }
}

}  // namespace joinq::core
