// What a worker's pool costs beside the bare system calls, measured in turns in one run:
//
//   a task of 100 bytes through a child of the pool   against   a bare socketpair ping-pong
//   a program per task (--exec)                       against   a bare posix_spawn + wait
//
//   worker_bench [ROUNDS]
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "bench/pooled_child.h"
#include "worker/child/child_main.h"
#include "worker/child/exec_handler.h"
#include "worker/process/keeper.h"

namespace joinq {
namespace {

constexpr int kPingPongs = 20'000;
constexpr int kPipelined = 200'000;
constexpr int kDepth = 128;  // frames a child has at once when tasks are tiny
constexpr int kPrograms = 300;
enum Handler : uint16_t { kEcho, kTrue };

// The other end answers each 100 bytes with the same.
class BareEcho {
 public:
  BareEcho() {
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair_) != 0) Die("socketpair");
    pid_ = fork();
    if (pid_ != 0) {
      close(pair_[1]);
      return;
    }
    close(pair_[0]);
    char buffer[100];
    while (recv(pair_[1], buffer, sizeof buffer, MSG_WAITALL) == sizeof buffer) {
      if (send(pair_[1], buffer, sizeof buffer, 0) != sizeof buffer) break;
    }
    _exit(0);
  }
  ~BareEcho() {
    close(pair_[0]);
    waitpid(pid_, nullptr, 0);
  }
  void PingPong() {
    char buffer[100] = {};
    if (send(pair_[0], buffer, sizeof buffer, 0) != sizeof buffer ||
        recv(pair_[0], buffer, sizeof buffer, MSG_WAITALL) != sizeof buffer)
      Die("the bare echo is gone");
  }

 private:
  int pair_[2];
  pid_t pid_;
};

// The cheapest way known: what fork copies of this process costs as much again.
void BareProgram() {
  char name[] = "true";
  char* argv[] = {name, nullptr};
  pid_t pid = -1;
  int status = 0;
  if (posix_spawn(&pid, "/bin/true", nullptr, nullptr, argv, environ) != 0 ||
      waitpid(pid, &status, 0) != pid || status != 0)
    Die("/bin/true failed");
}

int Main(int rounds) {
  BareEcho bare;  // first: it would keep the sockets of what comes before it open
  Registry& registry = Registry::Global();
  registry.Add("echo", [](const TaskContext&, std::string_view payload) {
    return HandlerResult{std::string(payload), ""};
  });
  auto exec = ParseExec("true='/bin/true'");
  if (!exec.ok()) Die(std::string(exec.status().message()));
  registry.Add("true", MakeExecHandler(*exec));
  ZygoteProgram program;
  program.load = [](const auto&) { return absl::OkStatus(); };
  program.handler_names = [&registry] { return registry.names(); };
  program.run_child = [&registry](const ChildPlace& place) { return RunChild(place, registry, {}); };
  program.capture_output = true;
  auto keeper = Keeper::Fork(program);
  if (!keeper.ok()) Die(std::string(keeper.status().message()));
  auto started = keeper->StartZygote();
  if (!started.ok()) Die(std::string(started.status().message()));
  for (uint16_t i = 0; i < started->handlers.size(); ++i) {
    if (!started->zygote.NameHandler(i, i).ok()) Die("the zygote is gone");
  }
  PooledChild child(started->zygote);
  const std::string payload(100, 'x');

  std::vector<double> bare_echo, pooled, pipelined, bare_program, exec_program;
  for (int round = 0; round < rounds; ++round) {
    bare_echo.push_back(PerSecond(kPingPongs, [&] {
      for (int i = 0; i < kPingPongs; ++i) bare.PingPong();
    }));
    pooled.push_back(PerSecond(kPingPongs, [&] {
      for (int i = 0; i < kPingPongs; ++i) {
        child.Send(kEcho, payload);
        child.Flush();
        child.Take();
      }
    }));
    pipelined.push_back(PerSecond(kPipelined, [&] {
      int sent = 0;
      for (int done = 0; done < kPipelined; ++done) {
        // Topped up when half of it is done, as the daemon does in batches.
        if (sent - done <= kDepth / 2 && sent < kPipelined) {
          while (sent < kPipelined && sent - done < kDepth) {
            child.Send(kEcho, payload);
            ++sent;
          }
          child.Flush();
        }
        child.Take();
      }
    }));
    bare_program.push_back(PerSecond(kPrograms, [&] {
      for (int i = 0; i < kPrograms; ++i) BareProgram();
    }));
    exec_program.push_back(PerSecond(kPrograms, [&] {
      for (int i = 0; i < kPrograms; ++i) {
        child.Send(kTrue, payload);
        child.Flush();
        child.Take();
      }
    }));
  }
  std::printf("medians of %d rounds, a second:\n", rounds);
  std::printf("  bare ping-pong of 100 bytes  %10.0f\n", Median(bare_echo));
  std::printf("  pooled, one at a time        %10.0f  (%.2f of it)\n", Median(pooled),
              Median(pooled) / Median(bare_echo));
  std::printf("  pooled, pipelined            %10.0f  (%.1f times)\n", Median(pipelined),
              Median(pipelined) / Median(bare_echo));
  std::printf("  bare posix_spawn + wait      %10.0f\n", Median(bare_program));
  std::printf("  --exec                       %10.0f  (%.2f of it)\n", Median(exec_program),
              Median(exec_program) / Median(bare_program));
  started->zygote.Stop();
  keeper->Stop();
  return 0;
}

}  // namespace
}  // namespace joinq

int main(int argc, char** argv) {
  return joinq::Main(argc > 1 ? std::max(1, std::atoi(argv[1])) : 5);
}
