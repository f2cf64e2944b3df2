// Calls, sessions, queues, and the comparison of all promises with what is there.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "tests/sim/oracle.h"

namespace joinq::sim {

using core::TaskId;
using core::TaskState;

void Oracle::Called(core::CallerId caller, Call call) {
  if (call.kind == Call::kJoin) {
    for (TaskId id : TasksOf(call.queue, {TaskState::kDelayed, TaskState::kReady, TaskState::kLeased}))
      call.unfinished.insert(id);
  }
  calls_[caller] = std::move(call);
}

bool Oracle::IsJoin(core::CallerId caller) const {
  auto it = calls_.find(caller);
  return it != calls_.end() && it->second.kind == Call::kJoin;
}

std::vector<TaskId> Oracle::TasksOf(const std::string& queue, std::initializer_list<TaskState> states) const {
  core::TaskFilter filter;
  filter.queue = queue;
  filter.limit = 100'000;
  uint64_t next = 0;
  std::vector<TaskId> ids;
  for (const core::TaskView& view : broker_->ListTasks(filter, &next)) {
    if (std::find(states.begin(), states.end(), view.state) != states.end()) ids.push_back(view.id);
  }
  return ids;
}

void Oracle::SessionAttached(uint64_t session, const std::vector<core::LeaseRef>& held,
                             const std::vector<core::LeaseRef>& lost) {
  SessionHeard(session);
  const auto among = [](const std::vector<core::LeaseRef>& leases, TaskId task, core::Token token) {
    return std::any_of(leases.begin(), leases.end(),
                       [&](const core::LeaseRef& each) { return each.task == task && each.token == token; });
  };
  for (auto it = protected_.begin(); it != protected_.end();) {
    if (it->second.session != session) {
      ++it;
      continue;
    }
    if (among(held, it->first, it->second.token) && among(lost, it->first, it->second.token) &&
        now_ < it->second.until && !MayHaveEndedWithSession(it->first)) {
      Violation(absl::StrCat("the lease of task ", Raw(it->first),
                             " was on disk and its holder came back in time, yet it is lost"));
    }
    it = protected_.erase(it);
  }
  for (const core::LeaseRef& lease : held) {
    if (among(lost, lease.task, lease.token)) continue;
    // A newer lease than the one on disk takes its place.
    if (auto other = protected_.find(lease.task);
        other != protected_.end() && other->second.token < lease.token)
      protected_.erase(other);
    auto it = leases_.find(lease.task);
    if (it != leases_.end() && it->second.token == lease.token) continue;
    leases_[lease.task] = {lease.token, session, now_, 0};
    if (TaskFacts* task = Find(lease.task); task != nullptr) task->touched = true;
  }
}

bool Oracle::MayHaveEndedWithSession(TaskId id) {
  const TaskFacts* task = Find(id);
  if (task == nullptr || task->number == 0) return false;
  const uint64_t session = puts_[task->number].session;
  return session != 0 && sessions_[session].may_be_over;
}

void Oracle::CallerGone(core::CallerId caller) {
  calls_.erase(caller);
  auto stream = session_streams_.find(caller);
  if (stream == session_streams_.end()) return;
  SessionFacts& session = sessions_[stream->second];
  // The broker may not have been told; then its silence counts.
  if (session.stream == caller)
    session.safe_until = std::min(session.safe_until, now_ + limits_.worker_grace);
}

// With a session that left end the tasks that are bound to it.
void Oracle::CheckLeft() {
  if (left_.empty()) return;
  for (const auto& [id, task] : tasks_) {
    if (task.number == 0 || !left_.contains(puts_[task.number].session)) continue;
    ++totals_->bound;
    auto view = broker_->GetTask(id);
    const bool unfinished = view.ok() && view->state != TaskState::kEnded && view->state != TaskState::kDead;
    if (unfinished && !task.retried) {
      Violation(absl::StrCat("task ", Raw(id), " is unfinished though session ", puts_[task.number].session,
                             ", to which it is bound, has left"));
    }
  }
  left_.clear();
}

void Oracle::SessionLeft(uint64_t session) {
  sessions_[session].may_be_over = true;
  left_.insert(session);
  std::erase_if(protected_, [&](const auto& each) { return each.second.session == session; });
}

void Oracle::QueueExists(const std::string& name, uint32_t dead_max) {
  if (dead_max < 10'000) small_dead_.insert(name);
  Confirm([this, name, deletions = deletions_[name]] {
    if (deletions_[name] == deletions) queues_.insert(name);  // else its end is under way already
  });
}

void Oracle::QueueDeleting(const std::string& name) {
  for (auto& [id, task] : tasks_) {
    if (task.queue == name) MayEnd(id);
  }
  // Its request ids are forgotten with it.
  for (auto& [number, put] : puts_) {
    if (put.queue == name) put.told = TaskId{0};
  }
}

void Oracle::QueueDeleted(const std::string& name, const std::vector<TaskId>& tasks) {
  queues_.erase(name);
  closed_.erase(name);
  newest_first_.erase(name);
  ++deletions_[name];
  for (TaskId id : tasks) Ended(id);
}

void Oracle::QueueClosed(const std::string& name) {
  Confirm([this, name, deletions = deletions_[name]] {
    if (deletions_[name] == deletions) closed_.insert(name);
  });
}

void Oracle::CheckTask(const TaskFacts& task) {
  auto view = broker_->GetTask(task.id);
  const bool there = view.ok() && view->state != TaskState::kEnded;
  const bool unfinished = there && view->state != TaskState::kDead;
  const std::string what = absl::StrCat("task ", Raw(task.id), " (put ", task.number, ") of ", task.queue,
                                        " ", std::string(NameOf(task.durability)), " ");
  if (task.ended_at != 0 && there) return Violation(what + "is there again after its end was acknowledged");
  if (task.over_at != 0 && !task.retried && unfinished)
    return Violation(what + "is unfinished again after a join or a result said it was over");
  if (view.ok() && view->process.has_value()) CheckProcess(task.id, view->outcome, *view->process);
  if (task.process_at != 0 && view.ok() && view->outcome == core::Outcome::kSucceeded &&
      !(view->process.has_value() && view->process->ended))
    Violation(what + "has a result without the process that it came from");
  if (task.acked_at == 0 || task.ended_at != 0 || task.may_end || there) return;
  const PutFacts& put = puts_[task.number];
  if (put.ttl_ms != 0 && (task.delivered || now_ >= put.applied + core::Millis(put.ttl_ms))) return;
  if (SmallDead(task.queue) && task.delivered) return;
  if (MayHaveEndedWithSession(task.id)) return;
  Violation(what +
            (view.ok() ? absl::StrCat("has outcome ", static_cast<int>(view->outcome), ", ") : "is gone, ") +
            "but its put was acknowledged and nobody ended it");
}

// One unfinished task per key, where the key stands for as long.
void Oracle::CheckUnique() {
  std::map<std::pair<std::string, std::string>, TaskId> holders;
  for (const auto& [id, task] : tasks_) {
    if (task.number == 0 || task.retried) continue;
    const PutFacts& put = puts_[task.number];
    if (put.unique_key.empty() || put.scope == core::UniqueScope::kWindow) continue;
    if (put.scope == core::UniqueScope::kWaiting && (task.delivered || task.touched)) continue;
    auto view = broker_->GetTask(id);
    if (!view.ok() || view->state == TaskState::kEnded || view->state == TaskState::kDead) continue;
    // Its history may not be known whole where its put was never told.
    if (task.acked_at == 0) continue;
    auto [holder, first] = holders.try_emplace({task.queue, put.unique_key}, id);
    if (!first) {
      Violation(absl::StrCat("tasks ", Raw(holder->second), " and ", Raw(id), " of ", task.queue,
                             " are unfinished with the unique key ", put.unique_key));
    }
  }
}

void Oracle::Sweep() {
  ++totals_->sweeps;
  for (const auto& [id, task] : tasks_) CheckTask(task);
  CheckUnique();
  for (const std::string& name : queues_) {
    auto view = broker_->GetQueue(name);
    if (!view.ok()) {
      Violation("queue " + name + " is gone, but nobody deleted it");
    } else if (closed_.contains(name) && !view->closed) {
      Violation("queue " + name + " is open again after it was closed");
    }
  }
}

bool Oracle::Drained() const {
  bool more = false;
  const auto queues = broker_->ListQueues("", "", 1000, &more);
  return std::all_of(queues.begin(), queues.end(),
                     [](const core::QueueView& queue) { return queue.stats.unfinished() == 0; });
}

void Oracle::CheckEmpty() {
  Sweep();
  if (!calls_.empty())
    Violation(absl::StrCat("call ", Raw(calls_.begin()->first), " of kind ", calls_.begin()->second.kind,
                           " still waits at the end"));
  for (const auto& [id, task] : tasks_) {
    auto view = broker_->GetTask(id);
    if (view.ok() && view->state != TaskState::kDead) {
      Violation(absl::StrCat("task ", Raw(id), " of ", task.queue, " is in state ",
                             static_cast<int>(view->state), " at the end: ", broker_->WhyTask(id)->text,
                             "; lease ", view->token.epoch, "-", view->token.sequence, " until ",
                             view->when.time_since_epoch().count()));
    }
  }
}

std::vector<TaskId> Oracle::KnownTasks() const {
  std::vector<TaskId> ids;
  for (const auto& [id, task] : tasks_) ids.push_back(id);
  return ids;
}

}  // namespace joinq::sim
