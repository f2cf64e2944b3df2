// Tasks that run in a process of their own: one child each, made for it.
#include <sys/wait.h>

#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"
#include "worker/child/frames.h"
#include "worker/daemon.h"

namespace joinq {

void Daemon::StartProcess(const ChildPtr& child) {
  const auto ticket = pool_.NextApart(child->slot);
  if (!ticket) {  // it was cancelled meanwhile
    child->end = EndReason::kRecycled;
    child->channel.CloseWrites();
    return KillAfterGrace(child);
  }
  const auto& task = pool_.task(*ticket);
  auto& started = link_->AddStarted();
  started.set_task_id(task.id);
  started.set_epoch(task.epoch);
  started.set_sequence(task.sequence);
  started.set_pid(static_cast<uint32_t>(child->channel.pid()));
  child->channel.Append(task.frame, MemoryOf(task));
  SendTo(child);
  uint64_t now = 0;
  WatchSent(child->slot, now);
  link_->Flush();
}

void Daemon::OnProcessEnded(Child& child, const ChildEnd& end) {
  v1::ProcessInfo process;
  process.set_pid(static_cast<uint32_t>(end.pid));
  process.set_ended(true);
  process.set_exit_code(WIFSIGNALED(end.wait_status) ? -WTERMSIG(end.wait_status)
                                                     : WEXITSTATUS(end.wait_status));
  const auto ticket = pool_.Sent(child.slot, 1);
  std::string_view answer = child.answer;
  ResultFrame frame;
  if (ticket && TakeResult(answer, frame) == Parse::kFrame && frame.header.number == 1 &&
      frame.header.task_id == pool_.task(*ticket).id) {
    TakeLarge(child, frame);
    bool expected = false;
    pool_.Answered(child.slot, frame.header.number, frame.header.task_id, false, 0, expected);
    EndOutput(child, frame.header.task_id);
    TakeAnswer(child, *ticket, frame, &process);
    pool_.ChildDied(child.slot, 0);
    return;
  }
  // It is to blame even if it had not begun: it was made for this task.
  pool_.ChildDied(child.slot, 1);
  if (!ticket) return;
  auto& task = pool_.task(*ticket);
  const bool by_itself = child.end == EndReason::kNo && WIFEXITED(end.wait_status) && !task.dropped;
  if (!by_itself) return JudgeCulprit(child, *ticket, end, &process);
  // The handler called exit, or its initializer failed.
  EndOutput(child, task.id);
  const int status = WEXITSTATUS(end.wait_status);
  if (status == 0) {
    *Complete(*ticket, v1::Completion::DONE, 0).mutable_process() = process;
    ++done_total_;
    return;
  }
  std::string message = child.start_error.empty() ? absl::StrCat("the process exited with status ", status)
                                                  : absl::StrCat("the process ", child.start_error);
  std::string detail = WithOutput(DescribeUse(end), task);
  auto& completion = Complete(*ticket, v1::Completion::FAILED, message.size() + detail.size());
  *completion.mutable_process() = process;
  Fail(completion, v1::FAILURE_KIND_HANDLER_ERROR, std::move(message), std::move(detail), false);
}

}  // namespace joinq
