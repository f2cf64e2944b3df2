// Puts: unary and streamed, parked while the queue is full, told apart by tags.
#include <algorithm>
#include <cassert>

#include "absl/strings/str_cat.h"
#include "common/names.h"
#include "server/core/broker.h"

namespace joinq::core {

namespace {

// How it is to be run, and until when.
absl::Status CheckRun(const PutSpec& spec) {
  const TaskPolicy& policy = spec.policy;
  const std::pair<const char*, uint32_t> durations[] = {
      {"options.deadline_ms", spec.deadline_ms},
      {"options.time_limit_ms", policy.time_limit_ms},
      {"options.soft_time_limit_ms", policy.soft_time_limit_ms}};
  for (const auto& [field, value] : durations) {
    if (value > kDurationMsMax)
      return InvalidField(field, absl::StrCat("is ", value, "; at most ", kDurationMsMax, " is allowed"));
  }
  if (policy.time_limit_ms != 0 && policy.soft_time_limit_ms >= policy.time_limit_ms) {
    return InvalidField("options.soft_time_limit_ms",
                        absl::StrCat("is ", policy.soft_time_limit_ms,
                                     "; it must be less than time_limit_ms, ", policy.time_limit_ms));
  }
  if (spec.deadline_ms != 0 && spec.ttl_ms != 0)
    return InvalidField("options.deadline_ms", "excludes ttl_ms: give one of them");
  if (policy.fresh_process && spec.handler.empty())
    return InvalidField("options.fresh_process", "is for tasks with a handler: name one");
  return absl::OkStatus();
}

}  // namespace

absl::Status Broker::CheckSpec(const Queue& queue, const PutSpec& spec) const {
  if (!spec.handler.empty()) {
    if (absl::Status bad = CheckName("handler", spec.handler.view()); !bad.ok()) return bad;
  }
  if (!spec.content_type.empty()) {
    if (absl::Status bad = CheckName("content_type", spec.content_type.view()); !bad.ok()) return bad;
  }
  const std::pair<const char*, uint32_t> durations[] = {
      {"options.delay_ms", spec.delay_ms},
      {"options.retry_delay_ms", spec.policy.retry_delay_ms},
      {"options.retry_delay_max_ms", spec.policy.retry_delay_max_ms},
      {"options.result_ttl_ms", spec.policy.result_ttl_ms},
      {"options.ttl_ms", spec.ttl_ms},
      {"options.unique_ms", spec.unique_ms},
      {"timeout_ms", spec.timeout_ms}};
  for (const auto& [field, value] : durations) {
    if (value > kDurationMsMax)
      return InvalidField(field, absl::StrCat("is ", value, "; at most ", kDurationMsMax, " is allowed"));
  }
  const TaskPolicy& policy = spec.policy;
  if ((policy.time_limit_ms | policy.soft_time_limit_ms | spec.deadline_ms) != 0 || policy.fresh_process) {
    if (absl::Status bad = CheckRun(spec); !bad.ok()) return bad;
  }
  const std::pair<const char*, uint32_t> counts[] = {{"options.max_attempts", spec.policy.max_attempts},
                                                     {"options.max_crashes", spec.policy.max_crashes}};
  for (const auto& [field, value] : counts) {
    if (value < 1 || value > 1000)
      return InvalidField(field, absl::StrCat("is ", value, "; it must be from 1 to 1000"));
  }
  if (spec.eta_ms != 0 && spec.delay_ms != 0)
    return InvalidField("options.eta_unix_ms", "excludes delay_ms: give one of them");
  const uint64_t eta_max = static_cast<uint64_t>(now_.time_since_epoch().count()) + kDurationMsMax;
  if (spec.eta_ms > eta_max) {
    return InvalidField("options.eta_unix_ms", absl::StrCat("is ", spec.eta_ms, "; at most ", kDurationMsMax,
                                                            " ms ahead is allowed"));
  }
  if (spec.policy.priority < -kPriorityMax || spec.policy.priority > kPriorityMax) {
    return InvalidField("options.priority", absl::StrCat("is ", spec.policy.priority, "; it must be from ",
                                                         -kPriorityMax, " to ", kPriorityMax));
  }
  if (spec.policy.priority != 0 && queue.options.order != Order::kPriority) {
    return InvalidField("options.priority", absl::StrCat("queue \"", queue.name.str(), "\" has order ",
                                                         std::string(NameOf(queue.options.order)),
                                                         "; only queues with order priority take one"));
  }
  if ((spec.unique_scope == UniqueScope::kWindow) != (spec.unique_ms != 0)) {
    return InvalidField("options.unique_ms", "goes with unique_scope WINDOW, and must not be 0 then");
  }
  return absl::OkStatus();
}

absl::Status Broker::CheckTask(const NewTask& task, size_t index) const {
  const std::pair<const char*, const std::string&> keys[] = {{"unique_key", task.unique_key},
                                                             {"request_id", task.request_id}};
  for (const auto& [field, key] : keys) {
    if (key.size() > kNameBytesMax) {
      return InvalidField(
          absl::StrCat("tasks[", index, "].", field),
          absl::StrCat("has ", key.size(), " bytes; at most ", kNameBytesMax, " are allowed"));
    }
    if (!key.empty() && keys_.size() + 2 > limits_.keys_max) {
      return FieldError(
          absl::StatusCode::kResourceExhausted, absl::StrCat("tasks[", index, "].", field),
          absl::StrCat("the broker remembers ", keys_.size(), " keys already, the most allowed"));
    }
  }
  if (task.payload.size() > limits_.max_payload_bytes) {
    return InvalidField(absl::StrCat("tasks[", index, "].payload"),
                        absl::StrCat("has ", task.payload.size(), " bytes; at most ",
                                     limits_.max_payload_bytes, " are allowed"));
  }
  return absl::OkStatus();
}

absl::Status Broker::MayPark(CallerId) const {
  if (stopping_) return absl::UnavailableError("the broker is stopping");
  if (waiters_.size() >= limits_.parked_calls_max) {
    return absl::ResourceExhaustedError(
        absl::StrCat("there are ", waiters_.size(), " waiting calls already, the most allowed"));
  }
  return absl::OkStatus();
}

absl::Status Broker::MayPut(const Queue& queue, uint64_t bytes, uint64_t count) const {
  if (queue.closed) return queue.ClosedError();
  if (queue.options.maxsize != 0 && count > queue.options.maxsize) {
    return InvalidField("tasks", absl::StrCat(count, " tasks at once never fit queue \"", queue.name.str(),
                                              "\" with maxsize ", queue.options.maxsize));
  }
  if (queue.options.max_bytes != 0 && bytes > queue.options.max_bytes) {
    return InvalidField("tasks", absl::StrCat(bytes, " bytes at once never fit queue \"", queue.name.str(),
                                              "\" with max_bytes ", queue.options.max_bytes));
  }
  if (disk_level_ != DiskLevel::kOk && queue.options.durability != Durability::kMemory) {
    return FieldError(
        absl::StatusCode::kResourceExhausted, "disk",
        "the broker's disk is almost full: puts are refused until there is room (see --disk-low)");
  }
  const uint64_t held = memory_used() + waiters_.bytes();
  if (held + bytes + count * kTaskBytes > limits_.memory_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the broker holds ", held >> 20, " MiB of tasks, at its limit of ",
                     limits_.memory_bytes >> 20, " MiB; consume some or raise --memory-limit"));
  }
  return absl::OkStatus();
}

TaskId Broker::Existing(Queue* queue, const NewTask& task) const {
  const std::pair<KeySpace, const std::string&> keys[] = {{KeySpace::kRequest, task.request_id},
                                                          {KeySpace::kUnique, task.unique_key}};
  for (const auto& [space, text] : keys) {
    if (text.empty()) continue;
    const KeyEntry* entry = keys_.Find(queue->id, space, text);
    if (entry != nullptr && entry->until > now_) return entry->task;
  }
  return TaskId{0};
}

// What a restart does not bring back must not share its id with what is put then: it
// begins beyond all ids that may have been given out.
void Broker::ReserveIds() {
  ids_reserved_ = counters_.next_task + kIdsReserved;
  WriteCounters();
  sink_->NeedSync();
}

Task* Broker::AddTask(Queue* queue, const PutSpec& spec, NewTask&& given, Producer* producer) {
  if (counters_.next_task >= ids_reserved_) ReserveIds();
  Task* task = tasks_.Insert(TaskId(counters_.next_task++));
  task->shape = shapes_.Acquire(queue, spec.handler, spec.content_type, spec.policy);
  task->fresh = true;
  SetPayload(task, std::move(given.payload));
  ++queue->put_total;
  if (producer != nullptr) {
    producer->tags[given.tag] = task->id;
    if (spec.watch) {
      task->tied().producer = producer;
      task->tied().tag = given.tag;
      ++producer->refs;
    }
    if (Journaled(*queue)) ledger_.TouchProducer(producer->id, &producer->dirty_since);
  }
  if (spec.ttl_ms != 0 || spec.deadline_ms != 0) {
    task->more().expires = now_ + Millis(std::max(spec.ttl_ms, spec.deadline_ms));
    task->extra->deadline_ms = spec.deadline_ms;
    timers_.Add(task->extra->expires, TimerKind::kTaskExpiry, Raw(task->id));
  }
  if (spec.session_id != 0) Bind(task, spec.session_id);
  const Time due = spec.delay_ms != 0 ? now_ + Millis(spec.delay_ms) : Time(Millis(spec.eta_ms));
  if (due > now_) {
    MakeDelayed(task, due);
  } else {
    MakeReady(task, /*back_again=*/false);
  }
  TaskRecord record = RecordOf(*task);
  if (!given.unique_key.empty() || !given.request_id.empty()) AddKeys(task, spec, &given, &record);
  if (producer != nullptr) {
    record.producer_id = producer->id;
    record.tag = given.tag;
  }
  JournalOf(*queue)->TaskPut(record);
  Touch(task);
  Touch(queue);
  return task;
}

// The keys of a task that is being put; none of them stands for another one.
void Broker::AddKeys(Task* task, const PutSpec& spec, NewTask* given, TaskRecord* record) {
  Queue* queue = task->queue();
  const auto add = [&](KeySpace space, const std::string& text, UniqueScope scope, Time until) {
    // One that is over but was not cleared away yet makes room.
    if (KeyEntry* old = keys_.Find(queue->id, space, text); old != nullptr) ForgetKey(old);
    KeyEntry* entry = keys_.Add(queue->id, space, text);
    entry->task = task->id;
    entry->scope = scope;
    entry->until = until;
    timers_.Add(until, TimerKind::kKey, entry->number);
    if (until != kNever && Journaled(*queue)) ledger_.Touch(entry);
    return entry;
  };
  if (!given->request_id.empty()) {
    record->request_until = now_ + limits_.request_window;
    add(KeySpace::kRequest, given->request_id, UniqueScope::kWindow, record->request_until);
    record->request_id = given->request_id;
  }
  if (!given->unique_key.empty()) {
    const Time until = spec.unique_scope == UniqueScope::kWindow ? now_ + Millis(spec.unique_ms) : kNever;
    task->more().unique = add(KeySpace::kUnique, given->unique_key, spec.unique_scope, until);
    record->unique_key = given->unique_key;
    record->unique_scope = spec.unique_scope;
    record->unique_until = until;
  }
}

void Broker::ForgetKey(KeyEntry* entry) {
  if (entry->space == KeySpace::kUnique) {
    Task* task = tasks_.Find(entry->task);
    if (task != nullptr && task->extra != nullptr && task->extra->unique == entry)
      task->extra->unique = nullptr;
  }
  if (entry->has_row) sink_->DeleteKeyRow(entry->queue, entry->space, entry->text);
  keys_.Remove(entry);
}

// The task is handed out, or has ended: its key is free again, unless it stands for a time.
void Broker::ReleaseUnique(Task* task, bool ended) {
  if (task->extra == nullptr || task->extra->unique == nullptr) return;
  KeyEntry* entry = task->extra->unique;
  if (entry->scope == UniqueScope::kWindow) {
    if (ended) task->extra->unique = nullptr;  // the key goes on without it
  } else if (ended || entry->scope == UniqueScope::kWaiting) {
    ForgetKey(entry);
  }
}

void Broker::Put(CallerId caller, const PutSpec& spec, std::vector<NewTask> tasks) {
  Waiter waiter;
  waiter.kind = WaiterKind::kPut;
  waiter.caller = caller;
  auto found = FindQueue(spec.queue);
  if (!found.ok()) return Answer(std::move(waiter), found.status());
  Queue* queue = waiter.queue = *found;
  if (absl::Status bad = CheckSpec(*queue, spec); !bad.ok()) return Answer(std::move(waiter), bad);
  if (tasks.empty()) return Answer(std::move(waiter), InvalidField("tasks", "must not be empty"));
  size_t existing = 0;
  for (size_t i = 0; i < tasks.size(); ++i) {
    if (absl::Status bad = CheckTask(tasks[i], i); !bad.ok()) return Answer(std::move(waiter), bad);
    waiter.bytes += tasks[i].payload.size();
    existing += Existing(queue, tasks[i]) != TaskId{0};
  }
  const bool all_exist = existing == tasks.size();  // then nothing is put, whatever the queue's state
  if (!all_exist) {
    absl::Status no = MayPut(*queue, waiter.bytes, tasks.size());
    if (no.ok() && spec.session_id != 0) no = MayBind(spec);
    if (!no.ok()) return Answer(std::move(waiter), no);
  }
  waiter.put = spec;
  waiter.tasks = std::move(tasks);
  const bool room =
      all_exist || (queue->puts.empty() && queue->HasRoomFor(waiter.tasks.size(), waiter.bytes));
  if (!room && spec.no_wait) return Answer(std::move(waiter), absl::DeadlineExceededError(""));
  if (room) {
    Admit(std::move(waiter));
    return Dispatch(queue);
  }
  if (absl::Status no = MayPark(caller); !no.ok()) return Answer(std::move(waiter), no);
  const uint64_t id = waiters_.Park(&queue->puts, std::move(waiter));
  if (spec.timeout_ms > 0) timers_.Add(now_ + Millis(spec.timeout_ms), TimerKind::kWaiter, id);
}

void Broker::PutStream(CallerId stream, const PutSpec& spec, std::span<NewTask> tasks) {
  auto speaker = producers_by_stream_.find(stream);
  if (speaker == producers_by_stream_.end()) return;
  Producer* producer = speaker->second;
  auto refuse = [&](uint64_t tag, absl::Status status) {
    effects_.put_refusals.push_back({stream, tag, std::move(status)});
  };
  auto found = FindQueue(spec.queue);
  absl::Status bad = found.ok() ? CheckSpec(**found, spec) : found.status();
  if (!bad.ok()) {
    for (const NewTask& task : tasks) refuse(task.tag, bad);
    return;
  }
  Queue* queue = *found;
  for (size_t i = 0; i < tasks.size(); ++i) {
    NewTask& task = tasks[i];
    const uint64_t tag = task.tag;
    if (tag < producer->acked_below) continue;  // the producer has its answer
    if (auto seen = producer->tags.find(tag); seen != producer->tags.end()) {
      if (seen->second == TaskId{0}) continue;  // parked; it will be answered
      effects_.put_acks.push_back({stream, tag, seen->second, /*existing=*/false, ReachedBy(*queue)});
      if (spec.watch) WatchResult(stream, tag, seen->second);
      continue;
    }
    if (producer->tags.size() >= limits_.producer_tags_max) {
      refuse(tag, absl::ResourceExhaustedError(
                      "too many puts whose acknowledgement was not confirmed: send acked_below"));
      continue;
    }
    absl::Status no = CheckTask(task, i);
    if (no.ok()) {
      if (const TaskId existing = Existing(queue, task); existing != TaskId{0}) {
        producer->tags[tag] = existing;
        effects_.put_acks.push_back({stream, tag, existing, /*existing=*/true, ReachedBy(*queue)});
        if (spec.watch) WatchResult(stream, tag, existing);
        continue;
      }
      no = MayPut(*queue, task.payload.size(), 1);
      if (no.ok() && spec.session_id != 0) no = MayBind(spec);
    }
    if (!no.ok()) {
      refuse(tag, no);
      continue;
    }
    if (queue->puts.empty() && queue->HasRoomFor(1, task.payload.size())) {
      Task* added = AddTask(queue, spec, std::move(task), producer);
      effects_.put_acks.push_back({stream, tag, added->id, /*existing=*/false, ReachedBy(*queue)});
      // A bounded queue must not look full while consumers wait for what is in it.
      if (queue->options.maxsize != 0 || queue->options.max_bytes != 0) Dispatch(queue);
      continue;
    }
    Waiter waiter;
    waiter.kind = WaiterKind::kPut;
    waiter.caller = stream;
    waiter.queue = queue;
    waiter.producer = producer;
    waiter.put = spec;
    waiter.bytes = task.payload.size();
    no = MayPark(stream);
    if (no.ok() && spec.no_wait) no = absl::DeadlineExceededError("");
    producer->tags[tag] = TaskId{0};
    waiter.tasks.push_back(std::move(task));
    if (!no.ok()) {
      Answer(std::move(waiter), no);
      continue;
    }
    const uint64_t id = waiters_.Park(&queue->puts, std::move(waiter));
    if (spec.timeout_ms > 0) timers_.Add(now_ + Millis(spec.timeout_ms), TimerKind::kWaiter, id);
  }
  Dispatch(queue);
}

// Puts what a call brought, room or not; a key that stands for another task by now
// answers with that one.
void Broker::Admit(Waiter&& waiter) {
  Queue* queue = waiter.queue;
  Reply reply;
  reply.to = waiter.caller;
  reply.durability = ReachedBy(*queue);
  for (NewTask& given : waiter.tasks) {
    const uint64_t tag = given.tag;
    TaskId id = Existing(queue, given);
    const bool existing = id != TaskId{0};
    if (!existing) id = AddTask(queue, waiter.put, std::move(given), waiter.producer)->id;
    if (waiter.producer != nullptr) {
      if (existing) waiter.producer->tags[tag] = id;
      effects_.put_acks.push_back({waiter.caller, tag, id, existing, ReachedBy(*queue)});
      if (existing && waiter.put.watch) WatchResult(waiter.caller, tag, id);
    } else {
      if (existing) reply.existing.push_back(static_cast<uint32_t>(reply.task_ids.size()));
      reply.task_ids.push_back(id);
    }
  }
  if (waiter.producer == nullptr) effects_.replies.push_back(std::move(reply));
}

// Lets parked puts in, in order, while there is room. The caller dispatches.
void Broker::AdmitPuts(Queue* queue) {
  while (!queue->puts.empty()) {
    const Waiter& first = waiters_.Get(queue->puts.front());
    if (!queue->HasRoomFor(first.tasks.size(), first.bytes)) return;
    Waiter waiter = waiters_.Take(queue->puts.front());
    const bool durable = queue->options.durability != Durability::kMemory;
    if (disk_level_ != DiskLevel::kOk && durable) {
      Answer(std::move(waiter), MayPut(*queue, 0, 0));
      continue;
    }
    const absl::Status no = waiter.put.session_id != 0 ? MayBind(waiter.put) : absl::OkStatus();
    if (no.ok()) {
      Admit(std::move(waiter));
    } else {
      Answer(std::move(waiter), no);
    }
  }
}

absl::Status Broker::CheckFollowUps(std::span<const FollowUp> follow_ups) {
  uint64_t count = 0;
  for (size_t i = 0; i < follow_ups.size(); ++i) {
    const FollowUp& each = follow_ups[i];
    const std::string where = absl::StrCat("follow_ups[", i, "]");
    const auto in = [&](const absl::Status& status) {
      return WithField(status, absl::StrCat(where, ".", FieldOf(status)));
    };
    auto queue = FindQueue(each.spec.queue);
    if (!queue.ok()) return in(queue.status());
    if (absl::Status bad = CheckSpec(**queue, each.spec); !bad.ok()) return in(bad);
    if (each.spec.session_id != 0) {
      if (absl::Status no = MayBind(each.spec); !no.ok()) return in(no);
    }
    if ((*queue)->closed) {
      return WithField((*queue)->ClosedError(), where);
    }
    if (each.tasks.empty()) return InvalidField(absl::StrCat(where, ".tasks"), "must not be empty");
    for (size_t n = 0; n < each.tasks.size(); ++n) {
      if (absl::Status bad = CheckTask(each.tasks[n], n); !bad.ok()) return in(bad);
    }
    count += each.tasks.size();
  }
  if (count > kFollowUpsMax) {
    return InvalidField("follow_ups", absl::StrCat("carry ", count, " tasks; at most ", kFollowUpsMax,
                                                   " are allowed in one completion"));
  }
  return absl::OkStatus();
}

// They were checked. Bounds do not apply: a chain must not wait for room it would make itself.
void Broker::PutFollowUps(std::span<FollowUp> follow_ups, std::vector<TaskId>* ids) {
  for (FollowUp& each : follow_ups) {
    Queue* queue = *FindQueue(each.spec.queue);
    for (NewTask& task : each.tasks) {
      TaskId id = Existing(queue, task);
      if (id == TaskId{0}) id = AddTask(queue, each.spec, std::move(task), nullptr)->id;
      if (ids != nullptr) ids->push_back(id);
    }
    Dispatch(queue);
  }
}

}  // namespace joinq::core
