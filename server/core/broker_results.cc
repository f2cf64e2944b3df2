// Outcomes: kept for their time to live, told to those who wait for them.
#include "absl/strings/str_cat.h"
#include "common/names.h"
#include "server/core/broker.h"

namespace joinq::core {
namespace {

constexpr int64_t kMillisPerSecond = 1000;

int64_t SecondOf(Time time) {
  return (time.time_since_epoch().count() + kMillisPerSecond - 1) / kMillisPerSecond;
}

}  // namespace

// The task has just ended: its payload makes place for the result.
void Broker::KeepResult(Task* task, std::string_view result, std::string_view content_type) {
  const bool kept = task->policy().result_ttl_ms > 0;
  const bool awaited = task->watched() || (!result_waiters_.empty() && result_waiters_.contains(task->id));
  SetPayload(task, kept || awaited ? Blob(result) : Blob());
  if ((kept || awaited) && !content_type.empty()) task->tied().result_type = names_.Intern(content_type);
  if (!kept) return;
  task->when = now_ + Millis(task->policy().result_ttl_ms);
  ShelveResult(task);
}

// Puts an ended task among the results that expire in the same second.
void Broker::ShelveResult(Task* task) {
  const int64_t second = SecondOf(task->when);
  auto [bucket, added] = results_by_second_.try_emplace(second, tasks_.pool());
  bucket->second.PushBack(task);
  ++task->queue()->results_kept;
  if (added)
    timers_.Add(Time(Millis(second * kMillisPerSecond)), TimerKind::kResults, static_cast<uint64_t>(second));
}

void Broker::DropResult(Task* task) {
  results_by_second_.find(SecondOf(task->when))->second.Remove(task);
  --task->queue()->results_kept;
  Erase(task);
}

// Before its time, so that the disk has to hear of it.
void Broker::ForgetResult(Task* task) {
  JournalOf(*task->queue())->TaskDropped(task->id);
  DropResult(task);
}

void Broker::ExpireResults(int64_t second) {
  auto bucket = results_by_second_.find(second);
  if (bucket == results_by_second_.end()) return;
  while (Task* task = bucket->second.front()) DropResult(task);
  results_by_second_.erase(bucket);
}

ResultNotice Broker::NoticeOf(const Task& task, CallerId to) const {
  ResultNotice notice;
  notice.to = to;
  notice.task = task.id;
  notice.outcome = task.outcome;
  if (task.ties != nullptr) notice.tag = task.ties->tag;
  if (task.state == TaskState::kEnded) {
    notice.payload = task.payload;
    if (task.ties != nullptr) notice.content_type = task.ties->result_type;
  }
  if (const TaskError* error = task.error(); error != nullptr)
    notice.error = std::make_shared<TaskError>(*error);
  if (const ProcessInfo* process = task.process(); process != nullptr)
    notice.process = std::make_shared<ProcessInfo>(*process);
  notice.attempts = task.deliveries;
  return notice;
}

// Whether one of them wants it forgotten.
bool Broker::AnswerResultWaiters(const Task& task) {
  auto list = result_waiters_.find(task.id);
  if (list == result_waiters_.end()) return false;
  bool forget = false;
  while (!list->second.empty()) {
    Waiter waiter = waiters_.Take(list->second.front());
    forget |= waiter.forget;
    ResultNotice notice = NoticeOf(task, waiter.caller);
    if (waiter.watch_tag != 0) {
      notice.tag = waiter.watch_tag;
      effects_.results.push_back(std::move(notice));
      continue;
    }
    Reply reply;
    reply.to = waiter.caller;
    reply.result = std::make_unique<ResultNotice>(std::move(notice));
    reply.queue = task.queue()->name;
    reply.handler = task.shape->handler;
    effects_.replies.push_back(std::move(reply));
  }
  result_waiters_.erase(list);
  return forget;
}

void Broker::WatchResult(CallerId stream, uint64_t tag, TaskId id) {
  auto speaker = producers_by_stream_.find(stream);
  if (speaker == producers_by_stream_.end()) return;
  const auto refuse = [&](const absl::Status& why) {
    ResultNotice notice;
    notice.to = stream;
    notice.tag = tag;
    notice.task = id;
    auto error = std::make_shared<TaskError>();
    error->message = std::string(why.message());
    notice.error = std::move(error);
    effects_.results.push_back(std::move(notice));
  };
  Task* task = tasks_.Find(id);
  if (task == nullptr) return refuse(UnknownTask(id));
  if (task->state == TaskState::kEnded || task->state == TaskState::kDead) {
    ResultNotice notice = NoticeOf(*task, stream);
    notice.tag = tag;
    effects_.results.push_back(std::move(notice));
    return;
  }
  Producer* producer = speaker->second;
  if (task->watched() && (task->ties->producer != producer || task->ties->tag != tag)) {
    // Somebody else waits for it, too: a put that named an existing task.
    Waiter waiter;
    waiter.kind = WaiterKind::kResult;
    waiter.caller = stream;
    waiter.task = id;
    waiter.watch_tag = tag;
    if (absl::Status no = MayPark(stream); !no.ok()) return refuse(no);
    waiters_.Park(&result_waiters_[id], std::move(waiter));
    return;
  }
  if (!task->watched()) {
    task->tied().producer = producer;
    ++producer->refs;
  }
  task->ties->tag = tag;
}

void Broker::ForgetResults(CallerId, std::span<const uint64_t> task_ids) {
  for (uint64_t id : task_ids) {
    Task* task = tasks_.Find(TaskId(id));
    if (task != nullptr && task->state == TaskState::kEnded) ForgetResult(task);
  }
}

void Broker::GetResult(CallerId caller, TaskId id, uint32_t wait_ms, bool forget) {
  Waiter waiter;
  waiter.kind = WaiterKind::kResult;
  waiter.caller = caller;
  waiter.task = id;
  waiter.forget = forget;
  Task* task = tasks_.Find(id);
  if (task == nullptr) return Answer(std::move(waiter), UnknownTask(id));
  if (task->state == TaskState::kEnded || task->state == TaskState::kDead) {
    Reply reply;
    reply.to = caller;
    reply.result = std::make_unique<ResultNotice>(NoticeOf(*task, caller));
    reply.queue = task->queue()->name;
    reply.handler = task->shape->handler;
    effects_.replies.push_back(std::move(reply));
    if (forget && task->state == TaskState::kEnded) ForgetResult(task);
    return;
  }
  if (wait_ms > kDurationMsMax) {
    return Answer(std::move(waiter), InvalidField("wait_ms", absl::StrCat("is ", wait_ms, "; at most ",
                                                                          kDurationMsMax, " is allowed")));
  }
  if (wait_ms == 0) return Answer(std::move(waiter), absl::DeadlineExceededError(""));
  if (absl::Status no = MayPark(caller); !no.ok()) return Answer(std::move(waiter), no);
  const uint64_t waiter_id = waiters_.Park(&result_waiters_[id], std::move(waiter));
  timers_.Add(now_ + Millis(wait_ms), TimerKind::kWaiter, waiter_id);
}

}  // namespace joinq::core
