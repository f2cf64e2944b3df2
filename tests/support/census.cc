#include "tests/support/census.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

namespace joinq::testing {
namespace {

// Children of this process that it did not start.
std::vector<pid_t> Adopted(const std::vector<const Program*>& programs) {
  std::vector<pid_t> pids = ChildrenOf(::getpid());
  std::erase_if(pids, [&](pid_t pid) {
    return std::any_of(programs.begin(), programs.end(),
                       [pid](const Program* program) { return program->pid() == pid; });
  });
  return pids;
}

}  // namespace

Census::Census() {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
}
Census::~Census() {
  ::prctl(PR_SET_CHILD_SUBREAPER, 0);
}

void Census::Look(const std::vector<const Program*>& programs) {
  for (pid_t pid : Adopted(programs)) {
    adopted_.insert(pid);
    ::waitpid(pid, nullptr, WNOHANG);
  }
  std::map<pid_t, Clock::time_point> seen;
  const auto now = Clock::now();
  for (pid_t pid : Zombies(programs)) {
    const auto before = zombies_.find(pid);
    const auto since = seen[pid] = before == zombies_.end() ? now : before->second;
    longest_zombie_ =
        std::max(longest_zombie_, std::chrono::duration_cast<std::chrono::milliseconds>(now - since));
  }
  zombies_ = std::move(seen);
}

std::vector<pid_t> Census::Orphans(const std::vector<const Program*>& programs) {
  Look(programs);
  std::vector<pid_t> alive = Adopted(programs);
  std::erase_if(alive, [](pid_t pid) { return IsZombie(pid); });
  return alive;
}

std::vector<pid_t> Census::Zombies(const std::vector<const Program*>& programs) {
  std::vector<pid_t> zombies;
  for (const Program* program : programs) {
    if (program->pid() == 0) continue;
    for (pid_t pid : Descendants(program->pid())) {
      if (IsZombie(pid)) zombies.push_back(pid);
    }
  }
  return zombies;
}

}  // namespace joinq::testing
