// What the broker asks about tasks: to end one that was cancelled and say when its work
// is over, and for what one wrote.
#include <boost/asio/post.hpp>

#include "spdlog/spdlog.h"
#include "worker/daemon.h"

namespace joinq {
namespace {

StoppedTasks::Key KeyOf(const Pool::Task& task) {
  return {task.id, task.epoch, task.sequence};
}

StoppedTasks::Key KeyOf(const v1::Lease& lease) {
  return {lease.task_id(), lease.epoch(), lease.sequence()};
}

}  // namespace

void Daemon::Cancel(const v1::Lease& lease, bool terminate) {
  const auto ticket = pool_.Find(lease.task_id(), lease.epoch(), lease.sequence());
  if (!ticket) return SayStopped(lease, EndOf(lease));
  const bool more = stopped_.Ask(KeyOf(lease), terminate);
  if (DropUnlessRunning(*ticket) || !more) return;
  boost::asio::post(io_, [this, child = children_[pool_.task(*ticket).child], id = lease.task_id(),
                          sequence = lease.sequence(), epoch = lease.epoch(), terminate] {
    absl::MutexLock lock(&mutex_);
    // It may have answered meanwhile; then another task would be hit.
    const auto still = pool_.Find(id, epoch, sequence);
    if (!still || child->dead || child->end != EndReason::kNo) return;
    const auto& task = pool_.task(*still);
    if (task.place != Pool::Task::Place::kSent || task.child != child->slot) return;
    spdlog::info("task {} was cancelled; {} child {}", id, terminate ? "ending" : "asking it to end in",
                 child->channel.pid());
    if (!terminate) return AskToEnd(child, *still);
    End(child, EndReason::kCancelled, task.number);
    Dispatch();
    link_->Flush();
  });
}

v1::WorkEnd Daemon::EndOf(const v1::Lease& lease) const {
  if (const auto end = stopped_.Find(KeyOf(lease))) return *end;
  // Its completion crossed the cancel.
  v1::WorkEnd end = v1::WORK_END_NOT_RUNNING;
  link_->ForEachPending([&](const v1::Completion& completion) {
    if (completion.task_id() != lease.task_id() || completion.epoch() != lease.epoch() ||
        completion.sequence() != lease.sequence() || completion.verdict() == v1::Completion::RELEASED)
      return;
    const auto kind = completion.error().kind();
    const bool killed = completion.verdict() == v1::Completion::FAILED &&
                        (kind == v1::FAILURE_KIND_CRASH || kind == v1::FAILURE_KIND_OUT_OF_MEMORY);
    end = killed ? v1::WORK_END_KILLED : v1::WORK_END_RETURNED;
  });
  return end;
}

void Daemon::Stopped(const Pool::Task& task, v1::WorkEnd end) {
  if (!stopped_.End(KeyOf(task), end)) return;
  v1::Lease lease;
  lease.set_task_id(task.id);
  lease.set_epoch(task.epoch);
  lease.set_sequence(task.sequence);
  SayStopped(lease, end);
}

v1::WorkEnd Daemon::EndOfAnswered(const Pool::Task& task) const {
  const ChildPtr& child = children_[task.child];
  // It was told to die and answered first.
  const bool ended = child && child->end != EndReason::kNo && child->end_number == task.number;
  return ended ? v1::WORK_END_KILLED : v1::WORK_END_RETURNED;
}

void Daemon::SayStopped(const v1::Lease& lease, v1::WorkEnd end) {
  v1::StoppedWork stopped;
  *stopped.mutable_lease() = lease;
  stopped.set_end(end);
  link_->AddStopped(std::move(stopped));
}

void Daemon::StopWaiting() {
  for (Pool::Ticket ticket : pool_.InHand()) {
    const auto& task = pool_.task(ticket);
    if (!task.dropped || task.place != Pool::Task::Place::kWaiting) continue;
    pool_.RemoveWaiting(ticket);
    Stopped(task, v1::WORK_END_KILLED);
    pool_.Free(ticket);
  }
}

Daemon::ChildPtr Daemon::RunnerOf(uint64_t task_id, uint64_t& sequence) {
  for (Pool::Ticket ticket : pool_.InHand()) {
    const auto& task = pool_.task(ticket);
    if (task.id != task_id || task.place != Pool::Task::Place::kSent) continue;
    const ChildPtr& child = children_[task.child];
    if (!child || child->dead || LaneOf(child->channel.page(), task.number) == nullptr) continue;
    sequence = task.sequence;
    return child;
  }
  return nullptr;
}

void Daemon::AnswerLog(const v1::TaskLogAsk& ask) {
  absl::MutexLock lock(&mutex_);
  uint64_t sequence = 0;
  const ChildPtr runner = RunnerOf(ask.task_id(), sequence);
  if (runner) DrainOutput(*runner);
  v1::TaskLogAnswer answer;
  answer.set_ask(ask.ask());
  const auto output = outputs_.Find(ask.task_id());
  if (runner && runner->output.is_open()) {
    answer.set_found(true);
    answer.mutable_log()->set_running(true);
  }
  // What an earlier attempt wrote is not what the one that runs has written.
  if (output && (!runner || output->delivery == sequence)) {
    answer.set_found(true);
    answer.mutable_log()->set_text(output->end.data(), output->end.size());
    answer.mutable_log()->set_cut(output->written > output->end.size());
  }
  link_->AddLog(std::move(answer));
  link_->Flush();
}

}  // namespace joinq
