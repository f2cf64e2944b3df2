// What a task says while it runs and what it puts when it is done.
#include "spdlog/spdlog.h"
#include "worker/daemon.h"
#include "worker/text.h"

namespace joinq {
namespace {
constexpr auto kProgressPause = std::chrono::milliseconds(100);  // between reports of one child
}  // namespace

void Daemon::OnProgress(Child& child) {
  const auto due = child.progress_sent + kProgressPause;
  if (std::chrono::steady_clock::now() >= due) return SendProgress(child);
  // The child tells nothing more until this one was read.
  child.progress_timer.expires_at(due);
  child.progress_timer.async_wait([this, self = children_[child.slot]](boost::system::error_code error) {
    if (error || !self || self->dead) return;
    absl::MutexLock lock(&mutex_);
    SendProgress(*self);
    link_->Flush();
  });
}

void Daemon::SendProgress(Child& child) {
  child.progress_sent = std::chrono::steady_clock::now();
  for (uint32_t lane = 0; lane < options_.concurrency_per_child; ++lane) {
    uint64_t number = 0;
    std::string text;
    if (!ReadProgress(child.channel.page(), lane, number, text)) continue;
    const auto ticket = pool_.Sent(child.slot, number);
    if (!ticket || pool_.task(*ticket).dropped) continue;
    const auto& task = pool_.task(*ticket);
    v1::ProgressReport report;
    report.set_task_id(task.id);
    report.set_epoch(task.epoch);
    report.set_sequence(task.sequence);
    report.set_progress(CleanUtf8(text));
    link_->AddProgress(std::move(report));
  }
}

void Daemon::AddFollowUps(std::string_view bytes, v1::Completion& completion) {
  v1::Completion put;
  if (!put.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    spdlog::error("task {}: what it put cannot be read", completion.task_id());
    return;
  }
  completion.mutable_follow_ups()->Swap(put.mutable_follow_ups());
}

}  // namespace joinq
