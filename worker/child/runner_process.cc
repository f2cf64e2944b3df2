#include "worker/child/runner_process.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "absl/strings/str_cat.h"
#include "joinq/worker.h"
#include "worker/child/program.h"
#include "worker/process/pidfd.h"

namespace joinq {
namespace {

constexpr int kRunnerIn = 3, kRunnerOut = 4;  // in the program
constexpr int kClearOfThose = 8;
constexpr size_t kReadBytes = 64 << 10;
// The pipes of a process that ends are closed just before it is seen to have ended.
constexpr auto kEndAfterClose = std::chrono::seconds(1);

// A pipe whose ends, in this process, are not where the program's shall be.
void MakePipe(UniqueFd& read, UniqueFd& write) {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) ThrowErrno("pipe for a runner", errno);
  UniqueFd ends[2] = {UniqueFd(fds[0]), UniqueFd(fds[1])};
  for (auto& end : ends) {
    const int moved = fcntl(end.get(), F_DUPFD_CLOEXEC, kClearOfThose);
    if (moved < 0) ThrowErrno("pipe for a runner", errno);
    end.Reset(moved);
  }
  read = std::move(ends[0]);
  write = std::move(ends[1]);
}

pid_t Spawn(const RunnerSpec& spec, int in, int out) {
  std::vector<std::string> variables{absl::StrCat("JOINQ_RUNNER_PROTOCOL=", kRunnerProtocol),
                                     absl::StrCat("JOINQ_RUNNER_IN=", kRunnerIn),
                                     absl::StrCat("JOINQ_RUNNER_OUT=", kRunnerOut)};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, in, kRunnerIn);
  posix_spawn_file_actions_adddup2(&actions, out, kRunnerOut);
  posix_spawn_file_actions_addclosefrom_np(&actions, kRunnerOut + 1);
  return StartProgram(spec.program, spec.argv, variables, &actions);
}

}  // namespace

RunnerProcess::RunnerProcess(const RunnerSpec& spec) {
  UniqueFd its_in, its_out;
  MakePipe(its_in, to_);
  MakePipe(from_, its_out);
  SetNonBlocking(to_);
  SetNonBlocking(from_);
  pid_ = Spawn(spec, its_in.get(), its_out.get());
  pidfd_ = OpenPidfd(pid_);
  if (pidfd_.valid()) return;
  const int error = errno;
  kill(pid_, SIGKILL);
  WaitStatus();
  ThrowErrno("pidfd_open", error);
}

RunnerProcess::~RunnerProcess() {
  if (pid_ < 0) return;
  kill(pid_, SIGKILL);
  WaitStatus();
}

size_t RunnerProcess::Send(const nlohmann::json& header, std::string_view payload) {
  to_send_.erase(0, sent_);
  sent_ = 0;
  const size_t before = to_send_.size();
  AppendRunnerFrame(header, payload, to_send_);
  const size_t size = to_send_.size() - before;
  Flush();
  return size;
}

size_t RunnerProcess::Unread() const {
  int in_pipe = 0;
  if (to_.valid() && ioctl(to_.get(), FIONREAD, &in_pipe) != 0) in_pipe = 0;
  return unread_at_close_ + static_cast<size_t>(in_pipe) + to_send_.size() - sent_;
}

void RunnerProcess::Flush() {
  while (to_.valid() && !all_sent()) {
    const ssize_t wrote = write(to_.get(), to_send_.data() + sent_, to_send_.size() - sent_);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0 && errno == EAGAIN) return;
    if (wrote < 0) {
      int in_pipe = 0;
      if (ioctl(to_.get(), FIONREAD, &in_pipe) == 0) unread_at_close_ = static_cast<size_t>(in_pipe);
      to_.Reset();
      closed_ = true;
      return;
    }
    sent_ += static_cast<size_t>(wrote);
  }
  if (to_send_.size() > kReadBytes && all_sent()) {
    to_send_ = {};
    sent_ = 0;
  }
}

void RunnerProcess::Receive(bool all) {
  char buffer[kReadBytes];
  // A frame that is too long is known by its first bytes, so this is bounded.
  while (from_.valid()) {
    const ssize_t got = read(from_.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
      from_.Reset();
      closed_ = true;
      return;
    }
    in_.append(buffer, static_cast<size_t>(got));
    if (!all || in_.size() > kRunnerFrameBytesMax) return;
  }
}

RunnerProcess::Event RunnerProcess::Next(const sigset_t* let_in, Clock::time_point until) {
  if (taken_ == in_.size() || taken_ >= kReadBytes) {
    in_.erase(0, taken_);
    taken_ = 0;
    if (in_.empty() && in_.capacity() > 4 * kReadBytes) in_ = {};
  }
  auto give_up = Clock::time_point::max();
  for (;;) {
    std::string_view rest = std::string_view(in_).substr(taken_);
    switch (TakeRunnerFrame(rest, frame_)) {
      case Parse::kFrame:
        taken_ = in_.size() - rest.size();
        return Event::kFrame;
      case Parse::kMalformed:
        return Event::kMalformed;
      case Parse::kIncomplete:
        break;
    }
    if (ended_) return Event::kEnded;
    if (closed_ && give_up == Clock::time_point::max()) give_up = Clock::now() + kEndAfterClose;
    const bool sending = to_.valid() && !all_sent();
    bool ended = false;
    const int ready = Wait(let_in, std::min(until, give_up), ended);
    if (ready < 0) return Event::kInterrupted;
    if (ready == 0) return Clock::now() >= give_up ? Event::kClosed : Event::kTimeout;
    Receive(ended);
    ended_ = ended;
    Flush();
    if (sending && to_.valid() && all_sent()) return Event::kSent;
  }
}

int RunnerProcess::Wait(const sigset_t* let_in, Clock::time_point until, bool& ended) {
  timespec left{};
  const bool bounded = until != Clock::time_point::max();
  if (bounded) {
    const auto ns = std::max<int64_t>(std::chrono::nanoseconds(until - Clock::now()).count(), 0);
    left = {ns / 1'000'000'000, ns % 1'000'000'000};
  }
  pollfd polled[3] = {
      {pidfd_.get(), POLLIN, 0}, {from_.get(), POLLIN, 0}, {all_sent() ? -1 : to_.get(), POLLOUT, 0}};
  const int ready = ppoll(polled, 3, bounded ? &left : nullptr, let_in);
  if (ready < 0 && errno != EINTR) ThrowErrno("poll", errno);
  ended = ready > 0 && polled[0].revents != 0;
  return ready;
}

void RunnerProcess::Signal(int number) const {
  if (pid_ > 0) kill(pid_, number);
}

uint64_t RunnerProcess::CpuTimeMs() const {
  clockid_t clock;
  timespec used;
  if (clock_getcpuclockid(pid_, &clock) != 0 || clock_gettime(clock, &used) != 0) return 0;
  return static_cast<uint64_t>(used.tv_sec) * 1000 + static_cast<uint64_t>(used.tv_nsec) / 1'000'000;
}

void RunnerProcess::End(Clock::time_point until) {
  to_.Reset();
  pollfd polled{pidfd_.get(), POLLIN, 0};
  int ready;
  do {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
    ready = poll(&polled, 1, static_cast<int>(std::max<int64_t>(left, 0)));
  } while (ready < 0 && errno == EINTR);
  if (ready <= 0) kill(pid_, SIGKILL);
  WaitStatus();
}

int RunnerProcess::WaitStatus() {
  if (pid_ < 0) return status_;
  while (waitpid(pid_, &status_, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  return status_;
}

}  // namespace joinq
