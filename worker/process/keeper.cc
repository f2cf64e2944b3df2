#include "worker/process/keeper.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cerrno>

#include "worker/process/fd_message.h"
#include "worker/process/keeper_server.h"
#include "worker/process/threads.h"

namespace joinq {

absl::StatusOr<Keeper> Keeper::Fork(const ZygoteProgram& program) {
  if (CountThreads() > 1) {
    return absl::FailedPreconditionError("the process has threads already; call WorkerMain first in main");
  }
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
    return absl::ErrnoToStatus(errno, "socketpair for the keeper");
  }
  UniqueFd daemon_end(pair[0]), keeper_end(pair[1]);
  const pid_t pid = fork();
  if (pid < 0) return absl::ErrnoToStatus(errno, "fork of the keeper");
  if (pid == 0) {
    daemon_end.Reset();
    _exit(ServeKeeper(std::move(keeper_end), program));
  }
  return Keeper(pid, std::move(daemon_end));
}

absl::Status Keeper::ForkZygote() {
  const char request = 1;
  ssize_t sent;
  do {
    sent = send(control_.get(), &request, sizeof request, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent < 0 ? absl::ErrnoToStatus(errno, "request to the keeper") : absl::OkStatus();
}

Keeper::Next Keeper::Wait(KeeperReport& report, UniqueFd& control) {
  for (;;) {
    pollfd polled{control_.get(), POLLIN, 0};
    if (poll(&polled, 1, -1) < 0 && errno != EINTR) return Next::kGone;
    if (const Next next = Receive(report, control); next != Next::kNone) return next;
  }
}

absl::StatusOr<StartedZygote> Keeper::StartZygote() {
  if (auto status = ForkZygote(); !status.ok()) return status;
  KeeperReport report;
  UniqueFd control;
  if (Wait(report, control) != Next::kReport) return absl::InternalError("the keeper of the zygotes died");
  if (report.type != KeeperReport::kForked) return absl::InternalError(report.text);
  StartedZygote started{Zygote(report.pid, std::move(control)), {}};
  ZygoteStart start;
  for (;;) {
    pollfd polled{started.zygote.control_fd(), POLLIN, 0};
    if (poll(&polled, 1, -1) < 0 && errno != EINTR) return absl::ErrnoToStatus(errno, "poll");
    switch (start.Take(started.zygote)) {
      case ZygoteStart::State::kLoading:
        continue;
      case ZygoteStart::State::kReady:
        started.handlers = start.handlers();
        return started;
      case ZygoteStart::State::kFailed:
        return start.error();
      case ZygoteStart::State::kGone:
        break;
    }
    do {
      if (Wait(report, control) != Next::kReport)
        return absl::InternalError("the keeper of the zygotes died");
    } while (report.type != KeeperReport::kEnded);
    return start.ErrorOfEnd(report.wait_status);
  }
}

Keeper::Next Keeper::Receive(KeeperReport& report, UniqueFd& control) {
  std::array<UniqueFd, kMessageFdsMax> fds;
  const ssize_t got = ReceiveWithFds(control_.get(), &report, sizeof report, fds);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return Next::kNone;
  if (got < static_cast<ssize_t>(sizeof report)) return Next::kGone;
  control = std::move(fds[0]);
  return Next::kReport;
}

void Keeper::Stop() {
  if (!control_.valid()) return;
  control_.Reset();
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace joinq
