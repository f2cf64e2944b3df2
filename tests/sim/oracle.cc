// The broker's life, effects, and what is told with them.
#include "tests/sim/oracle.h"

#include <algorithm>
#include <charconv>

#include "absl/strings/str_cat.h"

namespace joinq::sim {

using core::TaskId;
using core::TaskState;

void Oracle::Violation(const std::string& what) {
  if (problem_.empty()) problem_ = what;
}

void Oracle::Started(core::Broker* broker, core::Time now) {
  broker_ = broker;
  now_ = now;
  protected_.clear();
  for (const auto& [id, lease] : at_death_) {
    protected_[id] = {lease.token, lease.session, now + limits_.restart_grace};
    leases_[id] = lease;
    ++totals_->protected_leases;
    if (!Holds({id, lease.token}))
      Violation(absl::StrCat("the lease ", lease.token.epoch, "-", lease.token.sequence, " of task ", Raw(id),
                             " was on disk, but is not there after the restart"));
  }
  at_death_.clear();
  for (auto& [id, session] : sessions_) session.safe_until = now + limits_.restart_grace;
  Sweep();
}

void Oracle::Dying(const core::Broker& broker) {
  for (const auto& [id, lease] : leases_) {
    auto view = broker.GetTask(id);
    if (lease.marked_at == 0 || !view.ok() || view->state != TaskState::kLeased || view->token != lease.token)
      continue;
    at_death_[id] = lease;
  }
}

void Oracle::Died(bool machine, uint64_t commits_left) {
  broker_ = nullptr;
  gathering_.clear();
  held_.clear();
  marks_.clear();
  calls_.clear();
  streams_.clear();
  session_streams_.clear();
  left_.clear();
  leases_.clear();
  newest_first_.clear();  // ids that nobody was told are given again
  seen_ = {};
  std::erase_if(at_death_, [&](const auto& each) { return !tasks_.contains(each.first); });
  for (auto it = tasks_.begin(); it != tasks_.end();) {
    TaskFacts& task = it->second;
    // What a queue promises: see Durability.
    const uint64_t left = task.durability == core::Durability::kMemory           ? 0
                          : task.durability == core::Durability::kWal && machine ? commits_left
                                                                                 : UINT64_MAX;
    if (task.ended_at > left) task.ended_at = 0;
    if (task.over_at > left) task.over_at = 0;
    if (task.process_at > left) task.process_at = 0;
    if (at_death_.contains(task.id) && at_death_[task.id].marked_at > left) at_death_.erase(task.id);
    if (task.delivered) task.touched = true;
    if (task.acked_at != 0 && task.acked_at <= left) {
      if (task.durability == core::Durability::kWal && machine) task.not_before = {};
      ++it;
      continue;
    }
    // It may be gone, and its id may be given to another one.
    at_death_.erase(task.id);
    if (task.number != 0) {
      PutFacts& put = puts_[task.number];
      if (put.told == task.id) put.told = TaskId{0};
    }
    it = tasks_.erase(it);
  }
}

void Oracle::NewRound(core::Time now) {
  now_ = now;
  ++round_;
  for (auto& [id, session] : sessions_) session.may_be_over |= now >= session.safe_until;
}

void Oracle::RoundOver() {
  CheckLeft();
  for (const auto& [caller, call] : calls_) {
    if (call.deadline > now_) continue;
    Violation(absl::StrCat("call ", Raw(caller), " of kind ", call.kind, " on ", call.queue,
                           " was not answered by its deadline"));
  }
}

void Oracle::Produced(const core::Effects& effects) {
  for (; seen_.acks < effects.put_acks.size(); ++seen_.acks) {
    const core::PutAck& ack = effects.put_acks[seen_.acks];
    auto stream = streams_.find(ack.to);
    if (stream == streams_.end()) {
      Violation(absl::StrCat("a put is acknowledged to ", Raw(ack.to), ", which is no stream"));
      continue;
    }
    Accepted(tags_[{stream->second, ack.tag}], ack.task, ack.existing);
  }
  // In the order in which they were granted, whoever got them. Before the results,
  // since a get may have ended at once what it took.
  struct Handed {
    const core::Delivery* delivery;
    uint64_t session;
    bool ack;
  };
  std::vector<Handed> handed;
  for (; seen_.deliveries < effects.deliveries.size(); ++seen_.deliveries) {
    const core::Delivery& delivery = effects.deliveries[seen_.deliveries];
    handed.push_back({&delivery, session_streams_[delivery.to], false});
  }
  for (size_t i = seen_.replies; i < effects.replies.size(); ++i) {
    auto call = calls_.find(effects.replies[i].to);
    if (call == calls_.end()) continue;
    for (const core::Delivery& delivery : effects.replies[i].deliveries)
      handed.push_back({&delivery, call->second.session, call->second.ack});
  }
  std::stable_sort(handed.begin(), handed.end(),
                   [](const Handed& a, const Handed& b) { return a.delivery->token < b.delivery->token; });
  for (const Handed& each : handed) Delivered(*each.delivery, each.session, each.ack);
  for (; seen_.replies < effects.replies.size(); ++seen_.replies) Answered(effects.replies[seen_.replies]);
  for (; seen_.results < effects.results.size(); ++seen_.results) {
    const core::ResultNotice& notice = effects.results[seen_.results];
    Told(notice);
    auto stream = streams_.find(notice.to);
    if (stream == streams_.end() || notice.outcome == core::Outcome::kUnfinished) continue;
    const PutFacts& put = puts_[tags_[{stream->second, notice.tag}]];
    const TaskFacts* task = Find(notice.task);
    if (task != nullptr && task->number != 0 && task->number != put.number &&
        !put.aliases.contains(notice.task))
      Violation(absl::StrCat("the result of task ", Raw(notice.task), ", put ", task->number,
                             ", is told as that of put ", put.number));
  }
}

void Oracle::Answered(const core::Reply& reply) {
  auto it = calls_.find(reply.to);
  if (it == calls_.end())
    return Violation(absl::StrCat("caller ", Raw(reply.to),
                                  " is answered, but does not wait: ", std::string(reply.status.message())));
  const Call call = std::move(it->second);
  calls_.erase(it);
  if (reply.result != nullptr) Told(*reply.result);
  if (call.kind == Call::kCancel)
    ++(reply.work_end == core::WorkEnd::kUnspecified ? totals_->cancels_unsure : totals_->cancels_sure);
  if (call.kind == Call::kJoin) {
    if (reply.status.ok()) JoinAnswered(call);
    ++(reply.status.ok() ? totals_->joins_ok : totals_->joins_late);
  }
  if (call.kind != Call::kPut || !reply.status.ok()) return;
  if (reply.task_ids.size() != call.numbers.size())
    return Violation("a put of many names another number of tasks");
  for (size_t i = 0; i < call.numbers.size(); ++i) {
    const bool existing = std::find(reply.existing.begin(), reply.existing.end(), i) != reply.existing.end();
    Accepted(call.numbers[i], reply.task_ids[i], existing);
  }
}

void Oracle::CommitBegins() {
  for (auto& told : gathering_) held_.push_back(std::move(told));
  gathering_.clear();
  seen_ = {};
  marks_.clear();
  for (auto it = leases_.begin(); it != leases_.end();) {
    auto& [id, lease] = *it;
    if (!Holds({id, lease.token})) {
      it = leases_.erase(it);
      continue;
    }
    if (lease.marked_at == 0 && lease.granted + limits_.mark_after <= now_) marks_.emplace_back(id, lease);
    ++it;
  }
}

void Oracle::CommitIsThrough(uint64_t commits) {
  for (const auto& [id, lease] : marks_) {
    auto it = leases_.find(id);
    if (it != leases_.end() && it->second.token == lease.token) it->second.marked_at = commits;
  }
  marks_.clear();
}

void Oracle::Released(uint64_t commits) {
  position_ = std::max<uint64_t>(1, commits);
  std::vector<std::function<void()>> held;
  held.swap(held_);
  for (auto& told : held) told();
}

uint64_t Oracle::NumberIn(std::string_view payload) {
  uint64_t number = 0;
  if (payload.size() < 2 || payload[0] != '#') return 0;
  std::from_chars(payload.data() + 1, payload.data() + payload.size(), number);
  return number;
}

// 0 if it cannot be known: it has ended, or its payload is on disk only.
uint64_t Oracle::NumberOf(TaskId task) const {
  if (auto it = tasks_.find(task); it != tasks_.end()) return it->second.number;
  auto view = broker_->GetTask(task);
  if (!view.ok() || view->evicted || view->state == TaskState::kEnded) return 0;
  return NumberIn(view->payload.view());
}

TaskFacts* Oracle::Find(TaskId task) {
  auto it = tasks_.find(task);
  return it == tasks_.end() ? nullptr : &it->second;
}

TaskFacts& Oracle::FactsOf(TaskId id, uint64_t number, const std::string& queue) {
  auto [it, added] = tasks_.try_emplace(id);
  TaskFacts& task = it->second;
  if (!added) return task;
  task.id = id;
  task.number = number;
  task.queue = queue;
  task.accepted = now_;
  task.retried = task.touched = puts_[number].retried;
  if (auto view = broker_->GetQueue(queue); view.ok()) task.durability = view->options.durability;
  return task;
}

}  // namespace joinq::sim
