// Children: their results and their deaths.
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include <boost/asio/post.hpp>

#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"
#include "worker/daemon.h"

namespace joinq {
namespace {

// A dying child's channel closes just before its death is reported.
constexpr auto kDeathAfterClose = std::chrono::milliseconds(200);

}  // namespace

void Daemon::WatchReadable(const ChildPtr& child) {
  child->readable.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                             [this, child](boost::system::error_code error) {
                               if (!error && !child->dead) OnReadable(child);
                             });
}

void Daemon::OnReadable(const ChildPtr& child) {
  bool end = false;
  if (child->channel.Receive(scratch_.data(), scratch_.size(), end)) {
    absl::MutexLock lock(&mutex_);
    TakeResults(*child);
    EndIfSpent(child);
    Dispatch();
    link_->Flush();
    CloseIfDone();
  }
  if (!end) return WatchReadable(child);
  // The zygote reports the death now; or else the child lives on and can answer nothing any more.
  absl::MutexLock lock(&mutex_);
  if (child->end != EndReason::kNo) return;
  After(child, kDeathAfterClose, [this, child] {
    absl::MutexLock lock(&mutex_);
    if (child->end != EndReason::kNo) return;
    spdlog::warn("child {} closed its channel; ending it", child->channel.pid());
    End(child, EndReason::kClosedChannel, 0);
    Dispatch();
    link_->Flush();
  });
}

void Daemon::WatchWritable(const ChildPtr& child) {
  child->readable.async_wait(boost::asio::posix::stream_descriptor::wait_write,
                             [this, child](boost::system::error_code error) {
                               if (!error && !child->dead) SendAgain(child);
                             });
}

void Daemon::SendAgain(const ChildPtr& child) {
  absl::MutexLock lock(&mutex_);
  child->waiting_writable = false;
  SendTo(child);
}

void Daemon::Bury(Child& child) {
  // What it wrote or gathered before it died counts.
  bool end = false;
  while (child.channel.Receive(scratch_.data(), scratch_.size(), end)) {
  }
  child.channel.Peek();
  TakeResults(child);
  child.channel.DropUnsent();
  child.dead = true;
  if (cgroups_ != nullptr) child.killed = cgroups_->Release(child.channel.pid());
  child.end_timer.cancel();
  boost::system::error_code ignored;
  child.readable.close(ignored);
  child.output_timer.cancel();
  child.progress_timer.cancel();
  child.send_timer.cancel();
  child.output.close(ignored);  // others may hold it open
}

void Daemon::OnExited(const ZygoteReport& report) {
  absl::MutexLock lock(&mutex_);
  const ChildPtr child = children_[report.child];
  if (!child || child->channel.pid() != report.pid) return;
  Bury(*child);
  const ChildEnd end{report.pid,     report.wait_status, report.max_rss_kib,
                     report.user_ms, report.system_ms,   child->killed == ChildCgroups::Killed::kPastLimit};
  if (child->single) {
    OnProcessEnded(*child, end);
    FreeUp(child->slot);
  } else {
    const auto running = pool_.ChildDied(child->slot, child->channel.page().begun.load());
    FreeUp(child->slot);
    ++child_deaths_total_;
    JudgeAll(*child, running, end);
    if (running.empty() && child->end == EndReason::kNo) {
      spdlog::warn("child {} ended between tasks ({})", report.pid, DescribeStatus(report.wait_status));
    }
    // A life that did something was no failed start; what ended it was most likely a task.
    const bool healthy = !running.empty() || child->answered ||
                         (child->end != EndReason::kNo && child->end != EndReason::kSlowStart) ||
                         (child->ready && std::chrono::steady_clock::now() - child->born > kHealthyLife);
    if (!healthy)
      OnStart(false, child->start_error.empty() ? DescribeStatus(report.wait_status) : child->start_error);
  }
  StopWaiting();
  if (phase_ != Phase::kRunning) {
    Release(pool_.TakeWaiting());
  } else {
    Dispatch();
  }
  link_->Flush();
  CloseIfDone();
}

void Daemon::JudgeAll(Child& child, const std::vector<Pool::Ticket>& running, const ChildEnd& end) {
  if (child.end == EndReason::kNo && options_.concurrency_per_child > 1) {
    // The one whose code ran when it died; if that was nobody's, any may have done it.
    const uint64_t current = child.channel.page().current.load();
    if (current == kNobody) child.end_number = kNobody;  // what one left behind that has ended
    for (Pool::Ticket ticket : running) {
      if (pool_.task(ticket).number == current) child.end_number = current;
    }
  }
  for (Pool::Ticket ticket : running) JudgeCulprit(child, ticket, end, nullptr);
}

void Daemon::JudgeCulprit(Child& child, Pool::Ticket culprit, const ChildEnd& end,
                          const v1::ProcessInfo* process) {
  const auto& task = pool_.task(culprit);
  EndOutput(child, task.id);
  const bool to_blame = child.end_number == 0 || task.number == child.end_number;
  if (task.dropped) {
    Stopped(task, v1::WORK_END_KILLED);
    return pool_.Free(culprit);
  }
  if (phase_ == Phase::kHurrying || !to_blame || child.end == EndReason::kCancelled ||
      child.end == EndReason::kRecycled) {
    Complete(culprit, v1::Completion::RELEASED, 0);
    return;
  }
  if (IsPastTime(child.end)) {
    auto& completion = FailPastTime(child, culprit, WithOutput(DescribeUse(end), task));
    if (process != nullptr) *completion.mutable_process() = *process;
    return;
  }
  if (!child.out_of_memory) {
    const uint64_t oom_kills = end.killed() ? OomKills() : oom_kills_;
    child.out_of_memory = cgroups_ == nullptr ? oom_kills > oom_kills_
                                              : child.killed == ChildCgroups::Killed::kMachineOutOfMemory;
    oom_kills_ = oom_kills;
  }
  DeathReport death = DescribeDeath(end, options_.child_limits, OutputOf(task), *child.out_of_memory);
  if (child.end != EndReason::kNo) {
    death.cause = DeathCause::kCrash;
    death.message =
        absl::StrCat("child ", end.pid,
                     child.end == EndReason::kClosedChannel
                         ? " closed its channel to the worker, so it can answer nothing; it was ended"
                         : " broke the protocol of its channel; it was killed");
  }
  spdlog::warn("{}; it ran task {} ({})", death.message, task.id, handlers_[task.handler]);
  const auto kind = death.cause == DeathCause::kCpuLimit      ? v1::FAILURE_KIND_TIME_LIMIT
                    : death.cause == DeathCause::kOutOfMemory ? v1::FAILURE_KIND_OUT_OF_MEMORY
                                                              : v1::FAILURE_KIND_CRASH;
  death.detail = WithOutput(std::move(death.detail), task);
  auto& completion = Complete(culprit, v1::Completion::FAILED, death.message.size() + death.detail.size());
  if (process != nullptr) *completion.mutable_process() = *process;
  Fail(completion, kind, death.message, death.detail, false);
}

}  // namespace joinq
