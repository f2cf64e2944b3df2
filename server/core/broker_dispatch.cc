// Handing out: who gets which task next, and what is read ahead of it.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/names.h"
#include "server/core/broker.h"

namespace joinq::core {
namespace {

constexpr uint64_t kTasksPerTurn = 64;  // of one queue before the next has its turn
constexpr uint64_t kCreditMax = 1 << 20;
constexpr uint64_t kAheadTasks = 4096;
constexpr uint64_t kAheadBytes = 4 << 20;  // of one queue
constexpr uint64_t kAheadBytesMin = 64 << 10;

absl::Status CheckGet(const GetSpec& spec, size_t queues) {
  if (spec.max_tasks < 1 || spec.max_tasks > 1000)
    return InvalidField("max_tasks", absl::StrCat("is ", spec.max_tasks, "; it must be from 1 to 1000"));
  if (spec.lease_ms != 0 && (spec.lease_ms < kLeaseMsMin || spec.lease_ms > kLeaseMsMax)) {
    return InvalidField("lease_ms", absl::StrCat("is ", spec.lease_ms, "; it must be from ", kLeaseMsMin,
                                                 " to ", kLeaseMsMax));
  }
  if (spec.timeout_ms > kDurationMsMax) {
    return InvalidField("timeout_ms",
                        absl::StrCat("is ", spec.timeout_ms, "; at most ", kDurationMsMax, " is allowed"));
  }
  if (queues < 1 || queues > 100)
    return InvalidField("queues", absl::StrCat("has ", queues, " names; it needs 1 to 100"));
  return absl::OkStatus();
}

}  // namespace

// The task that may be handed out now; null if there is none.
Task* Broker::NextReady(Queue* queue) {
  if (queue->paused || queue->deleting || (disk_level_ == DiskLevel::kCritical && Journaled(*queue)))
    return nullptr;
  while (Task* task = queue->ready.front()) {
    if (task->expires() <= now_) {
      End(task, Outcome::kExpired, {}, {});
      continue;
    }
    if (queue->evicted_ready > 0) {
      if ((task->evicted && !task->loading) || queue->ahead <= queue->ahead_low) ReadAhead(queue);
      if (task->evicted) return nullptr;
    }
    return task;
  }
  return nullptr;
}

// What was read ahead for other queues and nobody came for makes room, the oldest first.
void Broker::MakeRoomAhead(const Queue* queue, uint64_t bytes) {
  for (size_t left = read_back_.size(); left > 0; --left) {
    const TaskId id = read_back_.front();
    Task* task = tasks_.Find(id);
    const bool stands = task != nullptr && task->read_back;
    if (stands && ahead_bytes_ + bytes <= AheadBytesMax()) return;
    read_back_.pop_front();
    if (!stands) continue;
    if (task->queue() == queue || task == chosen_) {
      read_back_.push_back(id);
    } else {
      Evict(task);
    }
  }
}

// Asks for the payloads of the next tasks that are on disk only. Done again when half
// of what was seen has been handed out.
void Broker::ReadAhead(Queue* queue) {
  uint64_t tasks = 0, bytes = 0;
  const uint64_t bytes_max = std::min(kAheadBytes, std::max(kAheadBytesMin, limits_.memory_budget_bytes / 8));
  const uint64_t all_max = AheadBytesMax();
  MakeRoomAhead(queue, bytes_max);
  queue->ready.Walk([&](Task* task) {
    // The first one always, or nothing would ever move.
    if (tasks > 0 && ahead_bytes_ + task->payload_size > all_max) return false;
    ++tasks;
    bytes += task->payload_size;
    if (task->evicted && !task->loading) {
      task->loading = true;
      ahead_bytes_ += task->payload_size;
      effects_.loads.push_back(task->id);
    }
    return tasks < kAheadTasks && bytes < bytes_max;
  });
  queue->ahead = tasks;
  queue->ahead_low = tasks / 2;
}

// Payloads of all queues that are being read or were, and wait for somebody to want them.
uint64_t Broker::AheadBytesMax() const {
  return std::max(kAheadBytesMin, limits_.memory_budget_bytes / 4);
}

// Hands ready tasks to whoever waits for them, then lets parked puts in.
void Broker::Dispatch(Queue* queue) {
  std::vector<Queue*> others;  // that a get of several queues may have made room in
  for (;;) {
    while (!queue->gets.empty() && (chosen_ = NextReady(queue)) != nullptr) {
      Waiter waiter = waiters_.Take(queue->gets.front());
      for (const WeightedQueue& each : waiter.queues) {
        if (each.queue != queue) others.push_back(each.queue);
      }
      ServeGet(waiter);  // at least this one: what else it looks at must not push it out
    }
    chosen_ = nullptr;
    size_t idle = 0;
    while (idle < queue->workers.size()) {
      if (queue->next_worker >= queue->workers.size()) queue->next_worker = 0;
      Session* worker = queue->workers[queue->next_worker++];
      if (worker->credit == 0 || worker->profile.paused) {
        ++idle;
        continue;
      }
      Task* task = NextReady(queue);
      if (task == nullptr) break;
      idle = 0;
      effects_.deliveries.push_back(Lease(task, worker->stream, worker, kNever));
    }
    const size_t parked = queue->puts.size();
    AdmitPuts(queue);
    if (queue->puts.size() == parked) break;
  }
  for (Queue* other : others) {
    if (!other->puts.empty()) Dispatch(other);
  }
}

// Answers a get with what is ready in its queues; false if nothing is.
bool Broker::ServeGet(Waiter& waiter) {
  Session* session = nullptr;
  if (waiter.get.session_id != 0) {
    auto it = sessions_.find(waiter.get.session_id);
    if (it == sessions_.end() || it->second->kind != SessionKind::kClient || it->second->stream == kNobody) {
      Answer(std::move(waiter),
             FieldError(absl::StatusCode::kFailedPrecondition, "session_id",
                        absl::StrCat("there is no session ", waiter.get.session_id,
                                     " with a living stream: open one with SessionService.Keep")));
      return true;
    }
    session = it->second.get();
  }
  Reply reply;
  reply.to = waiter.caller;
  for (uint32_t i = 0; i < waiter.get.max_tasks; ++i) {
    Task* task = waiter.queues.size() == 1 ? NextReady(waiter.queue) : NextOfSeveral(waiter.queues);
    if (task == nullptr) break;
    Queue* queue = task->queue();
    const uint32_t lease_ms = waiter.get.lease_ms != 0 ? waiter.get.lease_ms : queue->options.lease_ms;
    // A session's lease ends with it, once it is known to have arrived. A sign of life is due
    // every third of the session's timeout, so that long it lasts at least.
    const Millis at_least = session != nullptr ? limits_.worker_timeout / 3 : Millis(0);
    const Time lease_end = now_ + std::max(Millis(lease_ms), at_least);
    Delivery delivery = Lease(task, waiter.caller, session, lease_end);
    delivery.lease_ms = session != nullptr ? 0 : lease_ms;
    if (waiter.get.ack) {
      delivery.token = {};
      End(task, Outcome::kSucceeded, {}, {});
    } else {
      timers_.Add(lease_end, TimerKind::kLeaseEnd, Raw(task->id));
    }
    reply.deliveries.push_back(std::move(delivery));
  }
  if (reply.deliveries.empty()) return false;
  effects_.replies.push_back(std::move(reply));
  return true;
}

// Of the queues that have a task each as often as its weight says.
Task* Broker::NextOfSeveral(std::span<const WeightedQueue> queues) {
  uint64_t weights = 0;
  Task* chosen = nullptr;
  for (const WeightedQueue& each : queues) {
    Task* task = NextReady(each.queue);
    if (task == nullptr) continue;
    weights += each.weight;
    if (random_() % weights < each.weight) chosen_ = chosen = task;
  }
  chosen_ = nullptr;
  return chosen;
}

void Broker::Get(CallerId caller, std::span<const QueueChoice> queues, const GetSpec& spec) {
  Waiter waiter;
  waiter.kind = WaiterKind::kGet;
  waiter.caller = caller;
  waiter.get = spec;
  if (absl::Status bad = CheckGet(spec, queues.size()); !bad.ok()) return Answer(std::move(waiter), bad);
  for (const QueueChoice& choice : queues) {
    auto found = FindQueue(choice.queue);
    if (!found.ok()) return Answer(std::move(waiter), found.status());
    if (choice.weight < 1 || choice.weight > 1000) {
      return Answer(
          std::move(waiter),
          InvalidField("queues.weight", absl::StrCat("is ", choice.weight, "; it must be from 1 to 1000")));
    }
    const bool twice = std::any_of(waiter.queues.begin(), waiter.queues.end(),
                                   [&](const WeightedQueue& each) { return each.queue == *found; });
    if (twice) {
      return Answer(std::move(waiter),
                    InvalidField("queues", absl::StrCat("names \"", std::string(choice.queue), "\" twice")));
    }
    waiter.queues.push_back({*found, choice.weight});
  }
  waiter.queue = waiter.queues.front().queue;
  const std::vector<WeightedQueue> served = waiter.queues;
  const auto dispatch = [&] {
    for (const WeightedQueue& each : served) Dispatch(each.queue);
  };
  if (ServeGet(waiter)) return dispatch();
  const bool puts_wait = std::any_of(served.begin(), served.end(),
                                     [](const WeightedQueue& each) { return !each.queue->puts.empty(); });
  if (puts_wait) {
    // What was found may have expired and made room.
    dispatch();
    if (ServeGet(waiter)) return dispatch();
  }
  if (AllDrained(served)) return Answer(std::move(waiter), served.front().queue->DrainedError());
  // A payload that is on its way from the disk is worth a moment.
  const bool loading = std::any_of(served.begin(), served.end(), [](const WeightedQueue& each) {
    return !each.queue->paused && !each.queue->ready.empty() && each.queue->ready.front()->loading;
  });
  if (spec.no_wait && !loading) return Answer(std::move(waiter), absl::DeadlineExceededError(""));
  if (absl::Status no = MayPark(caller); !no.ok()) return Answer(std::move(waiter), no);
  std::vector<WaiterList*> lists;
  for (const WeightedQueue& each : served) lists.push_back(&each.queue->gets);
  const uint64_t id = waiters_.Park(lists, std::move(waiter));
  const uint32_t timeout_ms = spec.no_wait ? kLoadPatienceMs : spec.timeout_ms;
  if (timeout_ms > 0) timers_.Add(now_ + Millis(timeout_ms), TimerKind::kWaiter, id);
}

void Broker::WorkerCredit(CallerId stream, uint32_t credit) {
  Session* worker = SessionOf(stream, SessionKind::kWorker);
  if (worker == nullptr || worker->draining || stopping_) return;
  worker->credit = std::min(kCreditMax, worker->credit + credit);
  ServeWorker(worker);
}

// Gives the worker what is ready in its queues, turn by turn.
void Broker::ServeWorker(Session* worker) {
  if (worker->profile.paused) return;
  size_t idle = 0;
  while (worker->credit > 0 && idle < worker->queues.size()) {
    if (worker->next_queue >= worker->queues.size()) worker->next_queue = 0;
    Queue* queue = worker->queues[worker->next_queue++];
    uint64_t given = 0;
    for (; given < kTasksPerTurn && worker->credit > 0; ++given) {
      Task* task = NextReady(queue);
      if (task == nullptr) break;
      effects_.deliveries.push_back(Lease(task, worker->stream, worker, kNever));
    }
    // There is room for parked puts, too, if what was found had expired.
    const size_t parked = queue->puts.size();
    AdmitPuts(queue);
    idle = given == 0 && queue->puts.size() == parked ? idle + 1 : 0;
  }
}

}  // namespace joinq::core
