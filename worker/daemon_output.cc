// What children write: kept by task, forwarded to the log.
#include <boost/asio/post.hpp>

#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"
#include "worker/child/frames.h"
#include "worker/daemon.h"
#include "worker/text.h"

namespace joinq {
namespace {

constexpr size_t kPipeBytes = 64 << 10;  // so much can lie in a pipe
// A child that fills its pipe again and again is read this often: 128 MiB/s.
constexpr auto kFullPipePause = std::chrono::microseconds(500);
constexpr size_t kLoggedBytesPerSecond = 1 << 20;  // of all tasks together
constexpr char kOutputHeading[] = "\noutput:\n";

}  // namespace

void Daemon::WatchOutput(const ChildPtr& child) {
  if (!child->output.is_open()) return;
  child->output.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                           [this, child](boost::system::error_code error) {
                             if (!error && !child->dead) OnOutput(child);
                           });
}

void Daemon::OnOutput(const ChildPtr& child) {
  bool full;
  {
    absl::MutexLock lock(&mutex_);
    full = DrainOutput(*child);
  }
  if (!full) return WatchOutput(child);
  child->output_timer.expires_after(kFullPipePause);
  child->output_timer.async_wait([this, child](boost::system::error_code error) {
    if (!error && !child->dead) WatchOutput(child);
  });
}

uint64_t Daemon::WriterOf(const StatusPage& page) const {
  return (options_.concurrency_per_child > 1 ? page.current : page.begun).load(std::memory_order_acquire);
}

bool Daemon::DrainOutput(Child& child) {
  if (!child.output.is_open()) return false;
  StatusPage& page = child.channel.page();
  size_t total = 0;
  while (total < kPipeBytes) {
    const uint64_t running = WriterOf(page);
    const ssize_t got = read(child.output.native_handle(), scratch_.data(), kPipeBytes);
    if (got < 0 && errno == EINTR) continue;
    const auto keep = [&](uint64_t number, std::string_view text) {
      mutex_.AssertHeld();
      KeepOutput(child, number, text);
    };
    if (got == 0) {  // nobody can write any more
      child.splitter.Finish(running, keep);
      boost::system::error_code ignored;
      child.output.close(ignored);
    }
    if (got <= 0) return false;
    total += static_cast<size_t>(got);
    child.splitter.Feed(page.output_key, {scratch_.data(), static_cast<size_t>(got)}, running, WriterOf(page),
                        keep);
  }
  return true;
}

void Daemon::KeepOutput(Child& child, uint64_t number, std::string_view text) {
  uint64_t task_id = 0;
  if (const auto ticket = pool_.Sent(child.slot, number)) {
    const auto& task = pool_.task(*ticket);
    task_id = task.id;
    outputs_.Append(task.id, task.sequence, text);
  }
  if (options_.task_output == TaskOutput::kLog) child.lines.Add(task_id, text, LineLogger(child));
}

void Daemon::EndOutput(Child& child, uint64_t task_id) {
  if (child.lines.in_line()) child.lines.End(task_id, LineLogger(child));
}

OutputLines::Line Daemon::LineLogger(const Child& child) {
  return [this, pid = child.channel.pid()](uint64_t task_id, std::string_view line) {
    mutex_.AssertHeld();
    if (!spdlog::should_log(spdlog::level::info)) return;
    const auto now = std::chrono::steady_clock::now();
    if (now - log_second_ >= std::chrono::seconds(1)) {
      if (unlogged_bytes_ > 0)
        log_lines_.push_back(absl::StrCat(unlogged_bytes_,
                                          " bytes of tasks' output were not logged: more than ",
                                          kLoggedBytesPerSecond, " a second"));
      log_second_ = now;
      logged_bytes_ = unlogged_bytes_ = 0;
    }
    if (logged_bytes_ + line.size() > kLoggedBytesPerSecond) {
      unlogged_bytes_ += line.size();
      return;
    }
    logged_bytes_ += line.size() + 1;
    log_lines_.push_back(task_id == 0 ? absl::StrCat("child ", pid, " | ", OneLine(line))
                                      : absl::StrCat("task ", task_id, " | ", OneLine(line)));
    // Written without the lock: the log may be slow.
    if (log_lines_.size() == 1) boost::asio::post(io_, [this] { WriteOutputLog(); });
  };
}

void Daemon::WriteOutputLog() {
  std::vector<std::string> lines;
  {
    absl::MutexLock lock(&mutex_);
    lines.swap(log_lines_);
  }
  for (const auto& line : lines) spdlog::info("{}", line);
}

std::string_view Daemon::OutputOf(const Pool::Task& task) const {
  const auto output = outputs_.Find(task.id);
  return output && output->delivery == task.sequence ? output->end : std::string_view();
}

std::string Daemon::WithOutput(std::string detail, const Pool::Task& task) const {
  std::string_view output = OutputOf(task);
  if (output.empty()) return detail;
  if (!detail.empty() && output.ends_with(detail)) detail.clear();  // it is the same
  if (detail.size() + sizeof kOutputHeading >= kErrorDetailBytesMax) return detail;
  const size_t room = kErrorDetailBytesMax - detail.size() - sizeof kOutputHeading;
  if (output.size() > room) output.remove_prefix(output.size() - room);
  if (!detail.empty()) detail += kOutputHeading;
  detail += output;
  return detail;
}

}  // namespace joinq
