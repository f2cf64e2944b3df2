#include "worker/process/zygote.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "worker/process/fd_message.h"

namespace joinq {

Zygote::Zygote(pid_t pid, UniqueFd control) : pid_(pid), control_(std::move(control)) {
  const timeval patience{1, 0};
  setsockopt(control_.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
}

absl::Status Zygote::Send(const ZygoteRequest& request) {
  ssize_t sent;
  do {
    sent = send(control_.get(), &request, sizeof request, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0 && errno == EAGAIN) kill(pid_, SIGKILL);  // it does not read; its end will be seen
  return sent < 0 ? absl::ErrnoToStatus(errno, "request to the zygote") : absl::OkStatus();
}

absl::Status Zygote::Spawn(uint32_t child, bool single) {
  return Send({ZygoteRequest::kSpawn, child, 0, single ? 1 : 0});
}
absl::Status Zygote::NameHandler(uint16_t index, uint16_t handler) {
  return Send({ZygoteRequest::kName, index, 0, handler});
}
absl::Status Zygote::Kill(pid_t pid, int signal) {
  return Send({ZygoteRequest::kKill, 0, pid, signal});
}
absl::Status Zygote::Signal(pid_t pid, int signal) {
  return Send({ZygoteRequest::kSignal, 0, pid, signal});
}
Zygote::Next Zygote::Receive(ZygoteReport& report, SpawnedChild& spawned) {
  std::array<UniqueFd, kMessageFdsMax> fds;
  const ssize_t got = ReceiveWithFds(control_.get(), &report, sizeof report, fds);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return Next::kNone;
  if (got < static_cast<ssize_t>(sizeof report)) return Next::kGone;
  if (report.type != ZygoteReport::kSpawned) return Next::kReport;
  spawned.child = report.child;
  spawned.pid = report.pid;
  for (const UniqueFd* fd : {&fds[0], &fds[3]}) {
    if (fd->valid()) fcntl(fd->get(), F_SETFL, fcntl(fd->get(), F_GETFL) | O_NONBLOCK);
  }
  spawned.channel = std::move(fds[0]);
  spawned.status_page = std::move(fds[1]);
  spawned.pidfd = std::move(fds[2]);
  spawned.output = std::move(fds[3]);
  return Next::kReport;
}

ZygoteStart::State ZygoteStart::Take(Zygote& zygote) {
  for (;;) {
    ZygoteReport report;
    SpawnedChild spawned;
    switch (zygote.Receive(report, spawned)) {
      case Zygote::Next::kNone:
        return State::kLoading;
      case Zygote::Next::kGone:
        return State::kGone;
      case Zygote::Next::kReport:
        break;
    }
    if (report.type == ZygoteReport::kHandler) handlers_.emplace_back(report.text);
    if (report.type == ZygoteReport::kLoading) loading_ = report.text;
    if (report.type == ZygoteReport::kReady) return State::kReady;
    if (report.type == ZygoteReport::kFailed) {
      error_ = absl::InvalidArgumentError(report.text);
      return State::kFailed;
    }
  }
}

absl::Status ZygoteStart::ErrorOfEnd(int wait_status) const {
  const std::string what = loading_.empty() ? "" : absl::StrCat(loading_, ": ");
  return absl::InternalError(
      WIFSIGNALED(wait_status)
          ? absl::StrCat(what, "loading it died of signal ", WTERMSIG(wait_status), " (",
                         strsignal(WTERMSIG(wait_status)), ")")
          : absl::StrCat(what, "loading it ended with exit status ", WEXITSTATUS(wait_status)));
}

}  // namespace joinq
