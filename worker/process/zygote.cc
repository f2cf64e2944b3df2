#include "worker/process/zygote.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "worker/process/threads.h"
#include "worker/process/zygote_server.h"

namespace joinq {

absl::StatusOr<Zygote> Zygote::Fork(const ZygoteProgram& program) {
  if (CountThreads() > 1) {
    return absl::FailedPreconditionError("the process has threads already; call WorkerMain first in main");
  }
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
    return absl::ErrnoToStatus(errno, "socketpair for the zygote");
  }
  UniqueFd daemon_end(pair[0]), zygote_end(pair[1]);
  const pid_t pid = fork();
  if (pid < 0) return absl::ErrnoToStatus(errno, "fork of the zygote");
  if (pid == 0) {
    daemon_end.Reset();
    _exit(ServeZygote(std::move(zygote_end), program));
  }
  return Zygote(pid, std::move(daemon_end));
}

absl::StatusOr<std::vector<std::string>> Zygote::WaitReady() {
  std::vector<std::string> handlers;
  std::string loading;
  for (;;) {
    pollfd polled{control_.get(), POLLIN, 0};
    if (poll(&polled, 1, -1) < 0 && errno != EINTR) return absl::ErrnoToStatus(errno, "poll");
    ZygoteReport report;
    SpawnedChild spawned;
    switch (Receive(report, spawned)) {
      case Next::kNone:
        continue;
      case Next::kGone: {
        int status = 0;
        waitpid(pid_, &status, 0);
        const std::string what = loading.empty() ? "" : absl::StrCat(loading, ": ");
        return absl::InternalError(
            WIFSIGNALED(status)
                ? absl::StrCat(what, "loading it died of signal ", WTERMSIG(status), " (",
                               strsignal(WTERMSIG(status)), ")")
                : absl::StrCat(what, "loading it ended with exit status ", WEXITSTATUS(status)));
      }
      case Next::kReport:
        break;
    }
    if (report.type == ZygoteReport::kHandler) handlers.emplace_back(report.text);
    if (report.type == ZygoteReport::kLoading) loading = report.text;
    if (report.type == ZygoteReport::kReady) return handlers;
    if (report.type == ZygoteReport::kFailed) {
      Stop();
      return absl::InvalidArgumentError(report.text);
    }
  }
}

absl::Status Zygote::Send(const ZygoteRequest& request) {
  ssize_t sent;
  do {
    sent = send(control_.get(), &request, sizeof request, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent < 0 ? absl::ErrnoToStatus(errno, "request to the zygote") : absl::OkStatus();
}

absl::Status Zygote::Spawn(uint32_t child) {
  return Send({ZygoteRequest::kSpawn, child, 0, 0});
}
absl::Status Zygote::Kill(pid_t pid, int signal) {
  return Send({ZygoteRequest::kKill, 0, pid, signal});
}
absl::Status Zygote::Signal(pid_t pid, int signal) {
  return Send({ZygoteRequest::kSignal, 0, pid, signal});
}
absl::Status Zygote::KillAll() {
  return Send({ZygoteRequest::kKillAll, 0, 0, SIGKILL});
}

Zygote::Next Zygote::Receive(ZygoteReport& report, SpawnedChild& spawned) {
  alignas(cmsghdr) char control[CMSG_SPACE(4 * sizeof(int))];
  iovec part{&report, sizeof report};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t got = recvmsg(control_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return Next::kNone;
  if (got < static_cast<ssize_t>(sizeof report)) return Next::kGone;
  if (const cmsghdr* header = CMSG_FIRSTHDR(&message);
      header != nullptr && header->cmsg_type == SCM_RIGHTS && header->cmsg_len >= CMSG_LEN(3 * sizeof(int))) {
    int fds[4] = {-1, -1, -1, -1};
    std::memcpy(fds, CMSG_DATA(header), std::min(sizeof fds, header->cmsg_len - CMSG_LEN(0)));
    spawned.child = report.child;
    spawned.pid = report.pid;
    spawned.channel.Reset(fds[0]);
    spawned.status_page.Reset(fds[1]);
    spawned.pidfd.Reset(fds[2]);
    spawned.output.Reset(fds[3]);
    if (fds[3] >= 0) fcntl(fds[3], F_SETFL, fcntl(fds[3], F_GETFL) | O_NONBLOCK);
    fcntl(fds[0], F_SETFL, fcntl(fds[0], F_GETFL) | O_NONBLOCK);
  }
  return Next::kReport;
}

void Zygote::Stop() {
  if (!control_.valid()) return;
  control_.Reset();
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace joinq
