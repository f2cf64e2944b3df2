#include "server/core/restorer.h"

#include <algorithm>
#include <vector>

namespace joinq::core {

Queue* Restorer::QueueOf(QueueId id) const {
  auto it = broker_->queues_by_id_.find(id);
  return it == broker_->queues_by_id_.end() ? nullptr : it->second;
}

bool Restorer::Counts(QueueId id) const {
  auto it = queue_rows_.find(id);
  return it == queue_rows_.end() || it->second < entry_.number;
}

bool Restorer::Includes(TaskId id) const {
  auto it = task_rows_.find(id);
  return it != task_rows_.end() && it->second >= entry_.number;
}

void Restorer::LoadCounters(const CounterRecord& counters) {
  broker_->counters_ = counters;
}

void Restorer::LoadQueueRow(const QueueRecord& record, uint64_t as_of) {
  Queue* queue = broker_->AddQueue(record.id, record.name, record.options);
  queue->closed = record.closed;
  queue->put_total = record.put_total;
  queue->done_total = record.done_total;
  queue->dead = record.dead;
  queue->cancelled_total = record.cancelled_total;
  queue->redelivered_total = record.redelivered_total;
  queue->has_row = true;
  queue_rows_[record.id] = as_of;
  auto& next = broker_->counters_.next_queue;
  next = std::max(next, Raw(record.id) + 1);
}

Task* Restorer::Fill(const TaskRecord& record) {
  Queue* queue = QueueOf(record.queue);
  if (queue == nullptr) {
    ++orphans_;
    return nullptr;
  }
  Task* task = broker_->tasks_.Find(record.id);
  if (task == nullptr) {
    auto owned = std::make_unique<Task>();
    owned->id = record.id;
    task = broker_->tasks_.Insert(std::move(owned));
    auto& next = broker_->counters_.next_task;
    next = std::max(next, Raw(record.id) + 1);
  }
  task->queue = queue;
  task->payload = Blob(record.payload);
  task->headers = Blob(record.headers);
  task->handler = broker_->names_.Intern(record.handler);
  task->content_type = broker_->names_.Intern(record.content_type);
  task->policy = record.policy;
  task->when = record.when;
  task->tag = record.tag;
  task->deliveries = record.deliveries;
  task->attempts = record.attempts;
  task->crashes = record.crashes;
  task->state = record.state;
  task->outcome = record.outcome;
  task->error = record.error == nullptr ? nullptr : std::make_unique<TaskError>(*record.error);
  if (record.producer_id != 0 && task->producer == nullptr) {
    auto& producer = broker_->producers_[record.producer_id];
    if (producer == nullptr) {
      producer = std::make_unique<Producer>();
      producer->id = record.producer_id;
    }
    producer->tags[record.tag] = record.id;
    task->producer = producer.get();
    ++producer->refs;
  }
  return task;
}

void Restorer::LoadTaskRow(const TaskRecord& record, uint64_t as_of) {
  Task* task = Fill(record);
  if (task == nullptr) return;
  task->has_row = true;
  task_rows_[record.id] = as_of;
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
  if (QueueOf(record.id) != nullptr || !Counts(record.id)) return;
  Queue* queue = broker_->AddQueue(record.id, record.name, record.options);
  queue->dirty_since = entry_.number;
  entry_.queues.push_back(record.id);
  auto& next = broker_->counters_.next_queue;
  next = std::max(next, Raw(record.id) + 1);
}

void Restorer::QueueClosed(QueueId id) {
  Queue* queue = QueueOf(id);
  if (queue == nullptr || !Counts(id)) return;
  queue->closed = true;
  if (queue->dirty_since == 0) {
    queue->dirty_since = entry_.number;
    entry_.queues.push_back(id);
  }
}

void Restorer::QueueDeleted(QueueId id) {
  Queue* queue = QueueOf(id);
  if (queue == nullptr) return;
  std::vector<Task*> tasks;
  broker_->tasks_.ForEach([&](Task* task) {
    if (task->queue == queue) tasks.push_back(task);
  });
  for (Task* task : tasks) {
    broker_->DropProducerRef(task);
    broker_->tasks_.Erase(task->id);
  }
  broker_->queues_by_id_.erase(id);
  broker_->queues_.erase(queue->name.str());
}

void Restorer::TaskPut(const TaskRecord& record) {
  Queue* queue = QueueOf(record.queue);
  auto& next = broker_->counters_.next_task;
  next = std::max(next, Raw(record.id) + 1);
  if (queue == nullptr) return;
  if (Counts(record.queue)) {
    ++queue->put_total;
    if (queue->dirty_since == 0) {
      queue->dirty_since = entry_.number;
      entry_.queues.push_back(record.queue);
    }
  }
  if (Includes(record.id)) return;
  if (Task* task = Fill(record); task != nullptr) {
    task->dirty_since = entry_.number;
    entry_.tasks.push_back(record.id);
  }
}

void Restorer::TaskRetried(const TaskRecord& record) {
  Task* task = broker_->tasks_.Find(record.id);
  if (task == nullptr || Includes(record.id)) return;
  task->when = record.when;
  task->deliveries = record.deliveries;
  task->attempts = record.attempts;
  task->crashes = record.crashes;
  task->state = record.state;
  task->error = record.error == nullptr ? nullptr : std::make_unique<TaskError>(*record.error);
  if (task->dirty_since == 0) {
    task->dirty_since = entry_.number;
    entry_.tasks.push_back(record.id);
  }
}

void Restorer::TaskEnded(const EndRecord& end) {
  if (Queue* queue = QueueOf(end.queue); queue != nullptr && Counts(end.queue)) {
    if (end.outcome == Outcome::kSucceeded) {
      ++queue->done_total;
    } else if (end.outcome == Outcome::kCancelled) {
      ++queue->cancelled_total;
    } else {
      ++queue->dead;
    }
    if (queue->dirty_since == 0) {
      queue->dirty_since = entry_.number;
      entry_.queues.push_back(end.queue);
    }
  }
  Task* task = broker_->tasks_.Find(end.id);
  if (task == nullptr || Includes(end.id)) return;
  if (!end.kept) {
    broker_->DropProducerRef(task);
    broker_->tasks_.Erase(end.id);
    return;
  }
  task->state = TaskState::kEnded;
  task->outcome = end.outcome;
  task->payload = Blob(end.payload);
  task->headers = Blob();
  task->content_type = broker_->names_.Intern(end.content_type);
  task->when = end.expiry;
  task->deliveries = end.deliveries;
  task->error = end.error == nullptr ? nullptr : std::make_unique<TaskError>(*end.error);
  if (task->dirty_since == 0) {
    task->dirty_since = entry_.number;
    entry_.tasks.push_back(end.id);
  }
}

void Restorer::Finish(Time now) {
  broker_->now_ = now;
  std::vector<Task*> tasks;
  tasks.reserve(broker_->tasks_.size());
  broker_->tasks_.ForEach([&](Task* task) { tasks.push_back(task); });
  std::sort(tasks.begin(), tasks.end(), [](const Task* a, const Task* b) { return a->id < b->id; });
  for (Task* task : tasks) {
    broker_->memory_used_ += Broker::MemoryOf(*task);
    const TaskState state = task->state;
    if (state != TaskState::kEnded) task->queue->bytes += task->payload.size();
    task->state = TaskState::kNew;
    switch (state) {
      case TaskState::kDelayed:
        broker_->MakeDelayed(task, task->when);
        break;
      case TaskState::kEnded:
        task->state = TaskState::kEnded;
        broker_->ShelveResult(task);
        break;
      default: {
        // Ready since its put or its last retry, as far as is known.
        const Time since = std::min(now, task->when);
        broker_->MakeReady(task, /*front=*/false);
        task->when = since == Time{} ? now : since;
        break;
      }
    }
  }
  for (auto& [id, producer] : broker_->producers_) {
    producer->ends = now + broker_->limits_.producer_grace;
    broker_->timers_.Add(producer->ends, TimerKind::kProducer, id);
  }
  // Watching is a matter of streams; those who still care will watch again.
  for (Task* task : tasks) task->watched = false;
}

}  // namespace joinq::core
