// Puts: unary and streamed, parked while the queue is full, told apart by tags.
#include <cassert>

#include "absl/strings/str_cat.h"
#include "common/names.h"
#include "server/core/broker.h"

namespace joinq::core {

absl::Status Broker::CheckSpec(const PutSpec& spec) const {
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
      {"timeout_ms", spec.timeout_ms}};
  for (const auto& [field, value] : durations) {
    if (value > kDurationMsMax)
      return InvalidField(field, absl::StrCat("is ", value, "; at most ", kDurationMsMax, " is allowed"));
  }
  const std::pair<const char*, uint32_t> counts[] = {{"options.max_attempts", spec.policy.max_attempts},
                                                     {"options.max_crashes", spec.policy.max_crashes}};
  for (const auto& [field, value] : counts) {
    if (value < 1 || value > 1000)
      return InvalidField(field, absl::StrCat("is ", value, "; it must be from 1 to 1000"));
  }
  return absl::OkStatus();
}

absl::Status Broker::CheckTask(const NewTask& task, size_t index) const {
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
  if (queue.closed) {
    return FieldError(absl::StatusCode::kFailedPrecondition, "closed",
                      absl::StrCat("queue \"", queue.name.str(), "\" is closed"));
  }
  if (queue.options.maxsize != 0 && count > queue.options.maxsize) {
    return InvalidField("tasks", absl::StrCat(count, " tasks at once never fit queue \"", queue.name.str(),
                                              "\" with maxsize ", queue.options.maxsize));
  }
  const uint64_t held = memory_used_ + waiters_.bytes();
  if (held + bytes + count * sizeof(Task) > limits_.memory_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the broker holds ", held >> 20, " MiB of tasks, at its limit of ",
                     limits_.memory_bytes >> 20, " MiB; consume some or raise --memory-limit"));
  }
  return absl::OkStatus();
}

Task* Broker::AddTask(Queue* queue, const PutSpec& spec, NewTask&& given, Producer* producer) {
  auto owned = std::make_unique<Task>();
  Task* task = owned.get();
  task->id = TaskId(counters_.next_task++);
  task->queue = queue;
  task->payload = std::move(given.payload);
  task->headers = std::move(given.headers);
  task->handler = spec.handler;
  task->content_type = spec.content_type;
  task->policy = spec.policy;
  task->watched = spec.watch;
  if (producer != nullptr) {
    task->producer = producer;
    ++producer->refs;
    task->tag = given.tag;
    producer->tags[given.tag] = task->id;
  }
  tasks_.Insert(std::move(owned));
  memory_used_ += MemoryOf(*task);
  queue->bytes += task->payload.size();
  ++queue->put_total;
  if (spec.delay_ms > 0) {
    MakeDelayed(task, now_ + Millis(spec.delay_ms));
  } else {
    MakeReady(task, /*front=*/false);
  }
  sink_->TaskPut(RecordOf(*task));
  Touch(task);
  Touch(queue);
  return task;
}

void Broker::Put(CallerId caller, const PutSpec& spec, std::vector<NewTask> tasks) {
  Waiter waiter;
  waiter.kind = WaiterKind::kPut;
  waiter.caller = caller;
  auto found = FindQueue(spec.queue);
  if (!found.ok()) return Answer(std::move(waiter), found.status());
  Queue* queue = waiter.queue = *found;
  if (absl::Status bad = CheckSpec(spec); !bad.ok()) return Answer(std::move(waiter), bad);
  if (tasks.empty()) return Answer(std::move(waiter), InvalidField("tasks", "must not be empty"));
  uint64_t bytes = 0;
  for (size_t i = 0; i < tasks.size(); ++i) {
    if (absl::Status bad = CheckTask(tasks[i], i); !bad.ok()) return Answer(std::move(waiter), bad);
    bytes += tasks[i].payload.size();
  }
  if (absl::Status no = MayPut(*queue, bytes, tasks.size()); !no.ok()) return Answer(std::move(waiter), no);
  waiter.put = spec;
  waiter.tasks = std::move(tasks);
  const bool room = queue->puts.empty() && queue->HasRoomFor(waiter.tasks.size());
  if (!room && spec.no_wait) return Answer(std::move(waiter), absl::DeadlineExceededError(""));
  if (!room) {
    if (absl::Status no = MayPark(caller); !no.ok()) return Answer(std::move(waiter), no);
  }
  const uint64_t id = waiters_.Park(&queue->puts, std::move(waiter));
  if (!room && spec.timeout_ms > 0) timers_.Add(now_ + Millis(spec.timeout_ms), TimerKind::kWaiter, id);
  if (room) Dispatch(queue);
}

absl::Status Broker::AttachProducer(CallerId stream, uint64_t producer_id, std::string_view name) {
  if (producer_id == 0) return InvalidField("hello.producer_id", "must not be 0");
  if (name.size() > kNameBytesMax)
    return InvalidField("hello.name",
                        absl::StrCat("has ", name.size(), " bytes; at most ", kNameBytesMax, " are allowed"));
  auto& slot = producers_[producer_id];
  if (slot == nullptr) {
    slot = std::make_unique<Producer>();
    slot->id = producer_id;
  }
  Producer* producer = slot.get();
  producer->name = std::string(name);
  if (producer->stream != kNobody) {
    // The older stream is dead, only nobody has noticed; what it parked will be sent again.
    const CallerId old = producer->stream;
    CallerGone(old);
  }
  producer->stream = stream;
  producer->ends = kNever;
  producers_by_stream_[stream] = producer;
  return absl::OkStatus();
}

void Broker::PutStream(CallerId stream, const PutSpec& spec, std::span<NewTask> tasks) {
  auto speaker = producers_by_stream_.find(stream);
  if (speaker == producers_by_stream_.end()) return;
  Producer* producer = speaker->second;
  auto refuse = [&](uint64_t tag, absl::Status status) {
    effects_.put_refusals.push_back({stream, tag, std::move(status)});
  };
  auto found = FindQueue(spec.queue);
  absl::Status bad = found.ok() ? CheckSpec(spec) : found.status();
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
      effects_.put_acks.push_back({stream, tag, seen->second});
      if (spec.watch) WatchResult(stream, tag, seen->second);
      continue;
    }
    if (producer->tags.size() >= limits_.producer_tags_max) {
      refuse(tag, absl::ResourceExhaustedError(
                      "too many puts whose acknowledgement was not confirmed: send acked_below"));
      continue;
    }
    absl::Status no = CheckTask(task, i);
    if (no.ok()) no = MayPut(*queue, task.payload.size(), 1);
    if (!no.ok()) {
      refuse(tag, no);
      continue;
    }
    if (queue->puts.empty() && queue->HasRoomFor(1)) {
      Task* added = AddTask(queue, spec, std::move(task), producer);
      effects_.put_acks.push_back({stream, tag, added->id});
      // A bounded queue must not look full while consumers wait for what is in it.
      if (queue->options.maxsize != 0) Dispatch(queue);
      continue;
    }
    Waiter waiter;
    waiter.kind = WaiterKind::kPut;
    waiter.caller = stream;
    waiter.queue = queue;
    waiter.producer = producer;
    waiter.put = spec;
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

// Lets parked puts in, in order, while there is room. The caller dispatches.
void Broker::AdmitPuts(Queue* queue) {
  while (!queue->puts.empty() && queue->HasRoomFor(queue->puts.front().tasks.size())) {
    Waiter waiter = waiters_.Take(queue->puts.front().id);
    Reply reply;
    reply.to = waiter.caller;
    for (NewTask& given : waiter.tasks) {
      const uint64_t tag = given.tag;
      Task* task = AddTask(queue, waiter.put, std::move(given), waiter.producer);
      if (waiter.producer != nullptr) {
        effects_.put_acks.push_back({waiter.caller, tag, task->id});
      } else {
        reply.task_ids.push_back(task->id);
      }
    }
    if (waiter.producer == nullptr) effects_.replies.push_back(std::move(reply));
  }
}

void Broker::ProducerAcked(CallerId stream, uint64_t acked_below) {
  auto speaker = producers_by_stream_.find(stream);
  if (speaker != producers_by_stream_.end()) speaker->second->Trim(acked_below);
}

void Broker::DropProducerRef(Task* task) {
  Producer* producer = task->producer;
  if (producer == nullptr) return;
  task->producer = nullptr;
  if (--producer->refs == 0 && producer->forgotten) forgotten_producers_.erase(producer);
}

void Broker::ForgetProducer(Producer* producer) {
  auto it = producers_.find(producer->id);
  producer->forgotten = true;
  producer->tags.clear();
  if (producer->refs > 0) forgotten_producers_.emplace(producer, std::move(it->second));
  producers_.erase(it);
}

void Broker::CheckProducerTimer(uint64_t producer_id) {
  auto it = producers_.find(producer_id);
  if (it == producers_.end() || it->second->stream != kNobody || it->second->ends > now_) return;
  ForgetProducer(it->second.get());
}

}  // namespace joinq::core
