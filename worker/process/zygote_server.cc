#include "worker/process/zygote_server.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <deque>
#include <map>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "worker/process/fd_message.h"
#include "worker/process/offspring.h"
#include "worker/process/pidfd.h"
#include "worker/process/threads.h"

namespace joinq {
namespace {

constexpr int kSocketBufferBytes = 1 << 20;

void SetText(ZygoteReport& report, absl::string_view text) {
  const size_t size = std::min(text.size(), sizeof report.text - 1);
  std::memcpy(report.text, text.data(), size);
  report.text[size] = '\0';
}

uint64_t Ms(const timeval& time) {
  return static_cast<uint64_t>(time.tv_sec) * 1000 + static_cast<uint64_t>(time.tv_usec) / 1000;
}

class ZygoteServer {
 public:
  ZygoteServer(UniqueFd control, const ZygoteProgram& program)
      : control_(std::move(control)), program_(program) {}

  int Run() {
    Prepare();
    if (absl::Status loaded = Load(); !loaded.ok()) {
      ZygoteReport report;
      report.type = ZygoteReport::kFailed;
      SetText(report, loaded.message());
      Report(report);
      FlushReports();
      return 1;
    }
    for (const auto& name : program_.handler_names()) {
      ZygoteReport report;
      report.type = ZygoteReport::kHandler;
      SetText(report, name);
      Report(report);
    }
    Report({});
    for (pid_t pid : Offspring()) helpers_.insert(pid);
    Serve();
    KillEverything();
    return 0;
  }

 private:
  struct Outgoing {
    ZygoteReport report;
    std::array<UniqueFd, kMessageFdsMax> fds;  // the last one may be missing
  };

  absl::Status Load() {
    return program_.load([this](const std::string& what) {
      ZygoteReport report;
      report.type = ZygoteReport::kLoading;
      SetText(report, what);
      Report(report);
      FlushReports();
    });
  }

  void Prepare() {
    prctl(PR_SET_NAME, "joinq-zygote");
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    // What modules open later is theirs.
    if (control_.get() != 3 && dup3(control_.get(), 3, O_CLOEXEC) == 3) control_.Reset(3);
    close_range(static_cast<unsigned>(control_.get()) + 1, ~0u, 0);
    fcntl(control_.get(), F_SETFL, O_NONBLOCK);
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, nullptr);
    signals_.Reset(signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK));
  }

  void Serve() {
    while (open_) {
      FlushReports();
      pollfd polled[2] = {
          {control_.get(), static_cast<short>(reports_.empty() ? POLLIN : POLLIN | POLLOUT), 0},
          {signals_.get(), POLLIN, 0}};
      if (poll(polled, 2, -1) < 0 && errno != EINTR) return;
      if (polled[1].revents != 0) {
        signalfd_siginfo ignored;
        while (read(signals_.get(), &ignored, sizeof ignored) > 0) {
        }
        Reap();
      }
      if (polled[0].revents & (POLLIN | POLLHUP | POLLERR)) ServeRequests();
    }
  }

  void ServeRequests() {
    for (;;) {
      ZygoteRequest request;
      const ssize_t got = recv(control_.get(), &request, sizeof request, MSG_DONTWAIT);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0 && errno == EAGAIN) return;
      if (got != static_cast<ssize_t>(sizeof request)) {
        open_ = false;  // the daemon is gone
        return;
      }
      switch (request.type) {
        case ZygoteRequest::kSpawn:
          Spawn(request.child, request.signal == 1);
          FlushReports();  // many may take a while
          break;
        case ZygoteRequest::kName:
          handlers_.resize(std::max<size_t>(handlers_.size(), request.child + 1), kNoHandler);
          handlers_[request.child] = static_cast<uint16_t>(request.signal);
          break;
        case ZygoteRequest::kKill:
          if (children_.contains(request.pid)) {
            kill(-request.pid, request.signal);
            if (getpgid(request.pid) != request.pid) kill(request.pid, request.signal);  // it has left it
          }
          break;
        case ZygoteRequest::kSignal:
          if (children_.contains(request.pid)) kill(request.pid, request.signal);
          break;
      }
    }
  }

  void Spawn(uint32_t child, bool single) {
    Outgoing out;
    out.report.type = ZygoteReport::kSpawned;
    out.report.child = child;
    if (absl::Status status = TrySpawn(out, single); !status.ok()) {
      out.report.type = ZygoteReport::kSpawnFailed;
      SetText(out.report, status.message());
    }
    reports_.push_back(std::move(out));
  }

  absl::Status TrySpawn(Outgoing& out, bool single) {
    if (CountThreads() > 1) return absl::FailedPreconditionError("a module started a thread in the zygote");
    UniqueFd page_fd;
    auto page = SharedStatusPage::Create(page_fd);
    if (!page.ok()) return page.status();
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
      return absl::ErrnoToStatus(errno, "socketpair");
    UniqueFd daemon_end(pair[0]), child_end(pair[1]);
    for (int fd : pair) {
      setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &kSocketBufferBytes, sizeof kSocketBufferBytes);
      setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &kSocketBufferBytes, sizeof kSocketBufferBytes);
    }
    UniqueFd output_read, output_write;
    if (program_.capture_output) {
      int ends[2];
      if (pipe2(ends, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "pipe for the output");
      output_read.Reset(ends[0]);
      output_write.Reset(ends[1]);
    }
    fflush(nullptr);  // or the child would write it again
    const pid_t zygote = getpid();
    const pid_t pid = fork();
    if (pid < 0) return absl::ErrnoToStatus(errno, "fork");
    if (pid == 0) {
      daemon_end.Reset();
      page_fd.Reset();
      output_read.Reset();
      if (output_write.valid()) {
        dup2(output_write.get(), STDOUT_FILENO);
        dup2(output_write.get(), STDERR_FILENO);
      }
      BecomeChild(zygote);
      const int status = program_.run_child({child_end.get(), **page, output_write.get(), single, handlers_});
      fflush(nullptr);
      _exit(status);
    }
    setpgid(pid, pid);  // both do it, so that it is done for whoever needs it first
    children_[pid] = out.report.child;
    out.report.pid = pid;
    out.fds[0] = std::move(daemon_end);
    out.fds[1] = std::move(page_fd);
    out.fds[3] = std::move(output_read);
    out.fds[2] = OpenPidfd(pid);
    return absl::OkStatus();
  }

  void BecomeChild(pid_t zygote) {
    setpgid(0, 0);
    prctl(PR_SET_NAME, "joinq-child");
    // What its handlers leave behind stays below it, and falls to the zygote when it dies.
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    for (int number = 1; number < NSIG; ++number) signal(number, SIG_DFL);
    // A program that does not read its input must fail a write, not kill the child.
    signal(SIGPIPE, SIG_IGN);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    control_.Reset();
    signals_.Reset();
    reports_.clear();
    const rlimit no_core{0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    // Last, since other settings may clear it; then see whether it came too late.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != zygote) _exit(1);
  }

  void Reap() {
    for (;;) {
      // Looked at before it is reaped: while it is a zombie its pid names its group and no other.
      siginfo_t info{};
      if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) return;
      const pid_t pid = info.si_pid;
      auto child = children_.find(pid);
      if (child != children_.end()) kill(-pid, SIGKILL);
      int status = 0;
      rusage usage{};
      if (wait4(pid, &status, WNOHANG, &usage) != pid) return;
      helpers_.erase(pid);
      if (child == children_.end()) continue;  // an orphan
      Outgoing out;
      out.report.type = ZygoteReport::kExited;
      out.report.child = child->second;
      out.report.pid = pid;
      out.report.wait_status = status;
      out.report.max_rss_kib = static_cast<uint64_t>(usage.ru_maxrss);
      out.report.user_ms = Ms(usage.ru_utime);
      out.report.system_ms = Ms(usage.ru_stime);
      children_.erase(child);
      reports_.push_back(std::move(out));
      // What it left behind in groups and sessions of its own came here with its death.
      EndOffspring([this](pid_t each) { return children_.contains(each) || helpers_.contains(each); });
      FlushReports();
    }
  }

  void Report(const ZygoteReport& report) {
    reports_.emplace_back();
    reports_.back().report = report;
  }

  // Sends what the socket takes. The daemon may be slow to read; requests are served meanwhile.
  void FlushReports() {
    while (!reports_.empty()) {
      Outgoing& out = reports_.front();
      std::array<int, kMessageFdsMax> fds;
      size_t count = 0;
      while (count < fds.size() && out.fds[count].valid()) {
        fds[count] = out.fds[count].get();
        ++count;
      }
      const ssize_t sent =
          SendWithFds(control_.get(), &out.report, sizeof out.report, {fds.data(), count}, MSG_DONTWAIT);
      if (sent < 0 && errno == EINTR) continue;
      if (sent < 0 && errno == EAGAIN) return;
      if (sent < 0 && WantsPatience(errno)) {
        GiveUp(out, errno);
        continue;
      }
      if (sent < 0) {
        open_ = false;
        return;
      }
      reports_.pop_front();
    }
  }

  // The kernel has no room for the descriptors: a handler may have taken it all.
  static bool WantsPatience(int error) {
    return error == ETOOMANYREFS || error == ENOBUFS || error == ENOMEM;
  }
  // The child is of no use without its channel; whoever asked for it is told why.
  void GiveUp(Outgoing& out, int error) {
    if (out.report.type == ZygoteReport::kSpawned) {
      if (children_.erase(out.report.pid) > 0) {  // reaped as an orphan is
        kill(-out.report.pid, SIGKILL);
        kill(out.report.pid, SIGKILL);
      }
      out.report.type = ZygoteReport::kSpawnFailed;
      SetText(out.report, absl::StrCat("its descriptors cannot be sent: ", strerror(error)));
      out.fds = {};
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  // Ends all children and whatever they left behind, also what moved to groups of its own.
  void KillEverything() {
    for (const auto& [pid, child] : children_) {
      kill(-pid, SIGKILL);
      kill(pid, SIGKILL);
    }
    EndOffspring([](pid_t) { return false; });
  }

  UniqueFd control_;
  UniqueFd signals_;
  const ZygoteProgram& program_;
  std::map<pid_t, uint32_t> children_;  // not yet reaped
  std::set<pid_t> helpers_;             // which modules have started
  std::vector<uint16_t> handlers_;      // by their index in task frames
  std::deque<Outgoing> reports_;
  bool open_ = true;
};

}  // namespace

int ServeZygote(UniqueFd control, const ZygoteProgram& program) {
  return ZygoteServer(std::move(control), program).Run();
}

}  // namespace joinq
