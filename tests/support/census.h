// Counts the processes that come from this test, zombies among them. Linux only.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <map>
#include <set>
#include <vector>

#include "tests/support/programs.h"

namespace joinq::testing {

// From its making on this process adopts everything below it whose parent dies
// (PR_SET_CHILD_SUBREAPER), as process 1 does on a machine. So no process gets out of the
// tree below this one, whatever groups and sessions it makes. For one thread.
class Census {
 public:
  using Clock = std::chrono::steady_clock;

  Census();
  ~Census();
  Census(const Census&) = delete;
  Census& operator=(const Census&) = delete;

  // Reaps those that were adopted and are dead, and notes the zombies below `programs`,
  // which are what the test started itself. Call it now and then.
  void Look(const std::vector<const Program*>& programs);

  size_t adopted() const { return adopted_.size(); }
  // Of those that were adopted, the ones that live.
  std::vector<pid_t> Orphans(const std::vector<const Program*>& programs);
  // Zombies below `programs`, these included.
  static std::vector<pid_t> Zombies(const std::vector<const Program*>& programs);
  // The longest time between two looks that saw the same zombie.
  std::chrono::milliseconds longest_zombie() const { return longest_zombie_; }

 private:
  std::set<pid_t> adopted_;
  std::map<pid_t, Clock::time_point> zombies_;
  std::chrono::milliseconds longest_zombie_{0};
};

}  // namespace joinq::testing
