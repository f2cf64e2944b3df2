// What tasks wrote: it is kept by the workers, which are asked for it. A call waits for
// the first of them that has some, until all have said that they have none.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/names.h"
#include "server/core/broker.h"

namespace joinq::core {
namespace {

constexpr Millis kLogPatience{5'000};
constexpr size_t kAskedMax = 1024;

absl::Status NothingOf(TaskId task) {
  return FieldError(
      absl::StatusCode::kNotFound, "task_id",
      absl::StrCat("no connected worker has output of task ", Raw(task),
                   ": it has not run, wrote nothing or wrote it too long ago, or its worker is gone"));
}

}  // namespace

// The one that has it now, or else those that may have run it.
std::vector<Session*> Broker::WorkersToAsk(const Task* task) const {
  if (task != nullptr && task->state == TaskState::kLeased && task->ties->holder != nullptr &&
      task->ties->holder->kind == SessionKind::kWorker)
    return {task->ties->holder};
  std::vector<Session*> workers;
  const auto add = [&](Session* session) {
    if (session->kind == SessionKind::kWorker && session->stream != kNobody && workers.size() < kAskedMax)
      workers.push_back(session);
  };
  if (task != nullptr) {
    for (Session* worker : task->queue()->workers) add(worker);
  } else {
    for (const auto& [id, session] : sessions_) add(session.get());
  }
  return workers;
}

void Broker::GetTaskLog(CallerId caller, TaskId id) {
  Waiter waiter;
  waiter.kind = WaiterKind::kLog;
  waiter.caller = caller;
  waiter.task = id;
  const std::vector<Session*> workers = WorkersToAsk(tasks_.Find(id));
  if (workers.empty()) return Answer(std::move(waiter), NothingOf(id));
  if (workers.front()->stream == kNobody) {
    return Answer(std::move(waiter), absl::UnavailableError(absl::StrCat(
                                         "worker ", workers.front()->profile.name, ", which has task ",
                                         Raw(id), ", is not connected just now")));
  }
  if (absl::Status no = MayPark(caller); !no.ok()) return Answer(std::move(waiter), no);
  const uint64_t ask = waiters_.Park(std::span<WaiterList* const>(), std::move(waiter));
  timers_.Add(now_ + kLogPatience, TimerKind::kWaiter, ask);
  PendingLog& pending = log_asks_[ask];
  for (const Session* worker : workers) {
    pending.asked.push_back(worker->profile.id);
    effects_.log_asks.push_back({worker->stream, ask, id});
  }
}

void Broker::WorkerLog(CallerId stream, uint64_t ask, std::unique_ptr<TaskLog> log) {
  const Session* worker = SessionOf(stream, SessionKind::kWorker);
  auto pending = log_asks_.find(ask);
  if (worker == nullptr || pending == log_asks_.end()) return;
  const auto& asked = pending->second.asked;
  if (std::find(asked.begin(), asked.end(), worker->profile.id) == asked.end()) return;
  if (log == nullptr) return LogNotFoundIn(ask, worker->profile.id, /*lost=*/false);
  log->worker = worker->profile.name;
  if (log->text.size() > kTaskLogBytesMax) {
    log->text.erase(0, log->text.size() - kTaskLogBytesMax);
    log->cut = true;
  }
  const Waiter waiter = waiters_.Take(ask);
  Unparked(waiter);
  Reply reply;
  reply.to = waiter.caller;
  reply.log = std::move(log);
  effects_.replies.push_back(std::move(reply));
}

// One of those that were asked has nothing, or is gone; the last one decides.
void Broker::LogNotFoundIn(uint64_t ask, uint64_t session, bool lost) {
  PendingLog& pending = log_asks_.find(ask)->second;
  std::erase(pending.asked, session);
  if (lost) pending.lost = sessions_.find(session)->second->profile.name;
  if (!pending.asked.empty()) return;
  const std::string missing = std::move(pending.lost);
  Waiter waiter = waiters_.Take(ask);
  const absl::Status status =
      missing.empty()
          ? NothingOf(waiter.task)
          : absl::UnavailableError(absl::StrCat("worker ", missing, ", which may have output of task ",
                                                Raw(waiter.task), ", went away when it was asked"));
  Answer(std::move(waiter), status);
}

// What it was asked on its stream is not answered any more.
void Broker::AsksLost(const Session& worker) {
  std::vector<uint64_t> asks;
  for (const auto& [ask, pending] : log_asks_) {
    if (std::find(pending.asked.begin(), pending.asked.end(), worker.profile.id) != pending.asked.end())
      asks.push_back(ask);
  }
  std::sort(asks.begin(), asks.end());  // in the order in which they came
  for (uint64_t ask : asks) LogNotFoundIn(ask, worker.profile.id, /*lost=*/true);
}

absl::Status Broker::LogTimedOut(const Waiter& waiter) const {
  auto pending = log_asks_.find(waiter.id);
  if (pending == log_asks_.end() || pending->second.asked.empty()) return NothingOf(waiter.task);
  const auto& silent = pending->second.asked;
  const std::string& name = sessions_.find(silent.front())->second->profile.name;
  return absl::DeadlineExceededError(absl::StrCat(
      "worker ", name, silent.size() > 1 ? absl::StrCat(" and ", silent.size() - 1, " more") : "",
      " did not say within ", kLogPatience.count() / 1000, " s whether there is output of task ",
      Raw(waiter.task)));
}

}  // namespace joinq::core
