// Queues: create, look at, change, close, pause, join.
#include <algorithm>

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
  if (options.ageing_ms < 1 || options.ageing_ms > kDurationMsMax) {
    return InvalidField("options.ageing_ms",
                        absl::StrCat("is ", options.ageing_ms, "; it must be from 1 to ", kDurationMsMax));
  }
  if (options.dead_max > kDeadMaxMax) {
    return InvalidField("options.dead_max",
                        absl::StrCat("is ", options.dead_max, "; at most ", kDeadMaxMax, " is allowed"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Queue*> Broker::FindQueue(std::string_view name) const {
  auto it = queues_.find(name);
  if (it != queues_.end() && !it->second->deleting) return it->second.get();
  if (absl::Status bad = CheckName("queue", name); !bad.ok()) return bad;
  return FieldError(absl::StatusCode::kNotFound, "queue",
                    absl::StrCat("no queue \"", std::string(name), "\""));
}

Queue* Broker::AddQueue(QueueId id, std::string_view name, QueueOptions options) {
  auto queue = std::make_unique<Queue>(id, names_.Intern(name), options, tasks_.pool());
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
  record.paused = queue.paused;
  record.deleting = queue.deleting;
  record.put_total = queue.put_total;
  record.done_total = queue.done_total;
  record.dead_total = queue.dead_total;
  record.cancelled_total = queue.cancelled_total;
  record.expired_total = queue.expired_total;
  record.redelivered_total = queue.redelivered_total;
  record.retried_total = queue.retried_total;
  return record;
}

// The queue itself outlives restarts whatever becomes of its tasks.
void Broker::QueueChanged(Queue* queue) {
  sink_->QueueChanged(RecordOf(*queue));
  sink_->NeedSync();
  Touch(queue);
}

absl::StatusOr<QueueView> Broker::CreateQueue(std::string_view name, QueueOptions options,
                                              bool allow_existing) {
  if (absl::Status bad = CheckName("name", name); !bad.ok()) return bad;
  if (absl::Status bad = CheckOptions(options); !bad.ok()) return bad;
  if (!journaled_) options.durability = Durability::kMemory;  // it is all there is
  if (auto it = queues_.find(name); it != queues_.end()) {
    if (it->second->deleting) {
      return absl::UnavailableError(
          absl::StrCat("queue \"", std::string(name), "\" is being deleted; try again in a moment"));
    }
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
  // Workers that served one of this name before it was deleted go on with it.
  for (auto& [id, session] : sessions_) {
    const auto& names = session->profile.queues;
    if (session->stream == kNobody || std::find(names.begin(), names.end(), name) == names.end()) continue;
    session->queues.push_back(queue);
    queue->workers.push_back(session.get());
  }
  sink_->QueueCreated(RecordOf(*queue));
  sink_->NeedSync();
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
    if (it->second->deleting) continue;
    if (views.size() == limit) {
      *more = true;
      break;
    }
    views.push_back(it->second->View(now_));
  }
  return views;
}

absl::StatusOr<QueueView> Broker::UpdateQueue(std::string_view name, const QueueChanges& changes) {
  auto found = FindQueue(name);
  if (!found.ok()) return found.status();
  Queue* queue = *found;
  QueueOptions options = queue->options;
  options.maxsize = changes.maxsize.value_or(options.maxsize);
  options.max_bytes = changes.max_bytes.value_or(options.max_bytes);
  options.lease_ms = changes.lease_ms.value_or(options.lease_ms);
  options.ageing_ms = changes.ageing_ms.value_or(options.ageing_ms);
  options.dead_max = changes.dead_max.value_or(options.dead_max);
  options.order = changes.order.value_or(options.order);
  options.durability = changes.durability.value_or(options.durability);
  if (!journaled_) options.durability = Durability::kMemory;
  if (absl::Status bad = CheckOptions(options); !bad.ok()) return bad;
  const uint64_t held = queue->unfinished() + queue->dead_count + queue->results_kept;
  const auto refuse = [&](const std::string& field) {
    return FieldError(
        absl::StatusCode::kFailedPrecondition, field,
        absl::StrCat(field, " of queue \"", queue->name.str(), "\" cannot change while it holds ", held,
                     " task(s): ", queue->unfinished(), " unfinished, ", queue->dead_count, " dead, ",
                     queue->results_kept, " with a kept result; finish or purge them first"));
  };
  if (held > 0 && options.order != queue->options.order) return refuse("order");
  if (held > 0 && options.durability != queue->options.durability) return refuse("durability");
  if (options == queue->options) return queue->View(now_);
  queue->options = options;
  queue->ready.set_order(options.order);
  queue->ready.set_ageing(options.ageing_ms);
  while (queue->dead_count > options.dead_max) DropDead(queue->dead_tasks.front());
  QueueChanged(queue);
  // What can never fit any more must not wait, and others behind it.
  for (uint64_t id : std::vector<uint64_t>(queue->puts.begin(), queue->puts.end())) {
    const Waiter& put = waiters_.Get(id);
    const absl::Status no = MayPut(*queue, put.bytes, put.tasks.size());
    if (no.code() == absl::StatusCode::kInvalidArgument) Answer(waiters_.Take(id), no);
  }
  Dispatch(queue);  // there may be room now
  return queue->View(now_);
}

bool Broker::AllDrained(std::span<const WeightedQueue> queues) {
  return std::all_of(queues.begin(), queues.end(),
                     [](const WeightedQueue& each) { return each.queue->drained(); });
}

void Broker::AnswerAllParked(WaiterList* list, const absl::Status& status) {
  while (!list->empty()) Answer(waiters_.Take(list->front()), status);
}

void Broker::AnswerJoins(Queue* queue, const absl::Status& status) {
  AnswerAllParked(&queue->joins, status);
}

// Gets that can never have a task any more: all their queues are closed and drained.
void Broker::AnswerDrainedGets(Queue* queue) {
  const std::vector<uint64_t> ids(queue->gets.begin(), queue->gets.end());
  for (uint64_t id : ids) {
    if (AllDrained(waiters_.Get(id).queues)) Answer(waiters_.Take(id), queue->DrainedError());
  }
}

absl::Status Broker::CloseQueue(std::string_view name) {
  auto found = FindQueue(name);
  if (!found.ok()) return found.status();
  Queue* queue = *found;
  if (queue->closed) return absl::OkStatus();
  queue->closed = true;
  QueueChanged(queue);
  AnswerAllParked(&queue->puts, queue->ClosedError());
  if (queue->unfinished() == 0) AnswerDrainedGets(queue);
  return absl::OkStatus();
}

absl::Status Broker::PauseQueue(std::string_view name, bool paused) {
  auto found = FindQueue(name);
  if (!found.ok()) return found.status();
  Queue* queue = *found;
  if (queue->paused == paused) return absl::OkStatus();
  queue->paused = paused;
  QueueChanged(queue);
  Dispatch(queue);
  return absl::OkStatus();
}

void Broker::Join(CallerId caller, std::string_view name, uint32_t timeout_ms, bool no_wait) {
  Waiter waiter;
  waiter.kind = WaiterKind::kJoin;
  waiter.caller = caller;
  if (timeout_ms > kDurationMsMax) {
    return Answer(std::move(waiter), InvalidField("timeout_ms", absl::StrCat("is ", timeout_ms, "; at most ",
                                                                             kDurationMsMax, " is allowed")));
  }
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
