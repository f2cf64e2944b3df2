#include "worker/child/leftovers.h"

#include <sys/wait.h>

#include "worker/process/offspring.h"

namespace joinq {
namespace {

constexpr uint64_t kPauseNs = 100'000'000;

bool IsZombie(pid_t pid) {
  siginfo_t info{};
  return waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid;
}

}  // namespace

bool Leftovers::TooMany(uint64_t now_ns) {
  if (now_ns < next_look_ns_) return false;
  next_look_ns_ = now_ns + kPauseNs;
  siginfo_t info{};
  if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0) return false;  // there is none
  int zombies = 0, alive = 0;
  for (pid_t pid : Offspring()) ++(IsZombie(pid) ? zombies : alive);
  return zombies > kZombiesMax || alive > kAliveMax;
}

}  // namespace joinq
