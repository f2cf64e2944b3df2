#include "worker/process/keeper_server.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <set>
#include <thread>

#include "worker/process/fd_message.h"
#include "worker/process/keeper.h"
#include "worker/process/offspring.h"
#include "worker/process/zygote_server.h"

namespace joinq {
namespace {

void ReadFromNothing() {
  const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (null < 0) return;
  dup2(null, STDIN_FILENO);
  close(null);
}

class KeeperServer {
 public:
  KeeperServer(UniqueFd control, const ZygoteProgram& program)
      : control_(std::move(control)), program_(program) {}

  int Run() {
    Prepare();
    while (open_) {
      pollfd polled[2] = {{control_.get(), POLLIN, 0}, {signals_.get(), POLLIN, 0}};
      if (poll(polled, 2, -1) < 0 && errno != EINTR) break;
      if (polled[1].revents != 0) {
        signalfd_siginfo ignored;
        while (read(signals_.get(), &ignored, sizeof ignored) > 0) {
        }
        Reap();
      }
      if (polled[0].revents != 0) ServeRequests();
    }
    // The zygotes see the daemon's end as well, and end what is theirs; the rest is ended here.
    WaitForZygotes();
    EndOffspring([](pid_t) { return false; });
    return 0;
  }

 private:
  void Prepare() {
    prctl(PR_SET_NAME, "joinq-keeper");
    // Out of the terminal's group: Ctrl-C is for the daemon, which then decides.
    setpgid(0, 0);
    for (int number : {SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2}) signal(number, SIG_IGN);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    EnterChildEnvironment(program_.environment);
    // A change of user takes a process's own files in /proc from it. The daemon stays
    // like that, so that no handler reads its memory; handlers may want theirs.
    prctl(PR_SET_DUMPABLE, 1);
    ReadFromNothing();
    // Everything the caller left open ends here.
    if (control_.get() != 3 && dup3(control_.get(), 3, O_CLOEXEC) == 3) control_.Reset(3);
    close_range(static_cast<unsigned>(control_.get()) + 1, ~0u, 0);
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, nullptr);
    signals_.Reset(signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK));
  }

  void ServeRequests() {
    for (;;) {
      char request;
      const ssize_t got = recv(control_.get(), &request, sizeof request, MSG_DONTWAIT);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0 && errno == EAGAIN) return;
      if (got <= 0) {
        open_ = false;  // the daemon is gone
        return;
      }
      Fork();
    }
  }

  void Fork() {
    KeeperReport report;
    UniqueFd daemon_end, zygote_end;
    int pair[2];
    pid_t pid = -1;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0) {
      daemon_end.Reset(pair[0]);
      zygote_end.Reset(pair[1]);
      const pid_t keeper = getpid();
      pid = fork();
      if (pid == 0) {
        daemon_end.Reset();
        control_.Reset();
        signals_.Reset();
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != keeper) _exit(1);
        _exit(ServeZygote(std::move(zygote_end), program_));
      }
    }
    if (pid < 0) {
      report.type = KeeperReport::kForkFailed;
      std::strncpy(report.text, strerror(errno), sizeof report.text - 1);
    } else {
      zygotes_.insert(pid);
      report.pid = pid;
    }
    Report(report, daemon_end.get());
  }

  void Reap() {
    int status = 0;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
      if (zygotes_.erase(pid) == 0) continue;
      // Its children end with it; what these had started falls to this process now.
      EndOffspring([this](pid_t each) { return zygotes_.contains(each); });
      KeeperReport report;
      report.type = KeeperReport::kEnded;
      report.pid = pid;
      report.wait_status = status;
      Report(report, -1);
    }
  }

  void WaitForZygotes() {
    constexpr int kWaitMs = 2500;
    for (int waited_ms = 0; waited_ms < kWaitMs && !zygotes_.empty(); waited_ms += 5) {
      pollfd polled{signals_.get(), POLLIN, 0};
      poll(&polled, 1, 5);
      signalfd_siginfo ignored;
      while (read(signals_.get(), &ignored, sizeof ignored) > 0) {
      }
      for (pid_t pid; (pid = waitpid(-1, nullptr, WNOHANG)) > 0;) zygotes_.erase(pid);
    }
  }

  // Blocks should the daemon not read: there is nothing else to do then.
  void Report(const KeeperReport& report, int fd) {
    const std::span<const int> fds(&fd, fd >= 0 ? 1 : 0);
    ssize_t sent;
    do {
      sent = SendWithFds(control_.get(), &report, sizeof report, fds, 0);
    } while (sent < 0 && (errno == EINTR || Patience()));
    if (sent < 0) open_ = false;
  }
  // The kernel has no room for descriptors now.
  static bool Patience() {
    if (errno != ETOOMANYREFS && errno != ENOBUFS && errno != ENOMEM) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return true;
  }

  UniqueFd control_;
  UniqueFd signals_;
  const ZygoteProgram& program_;
  std::set<pid_t> zygotes_;
  bool open_ = true;
};

}  // namespace

int ServeKeeper(UniqueFd control, const ZygoteProgram& program) {
  return KeeperServer(std::move(control), program).Run();
}

}  // namespace joinq
