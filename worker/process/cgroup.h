// A cgroup (version 2) for each child, so that the kernel bounds the memory that the child
// and all its descendants really use, together, and ends them all when they are past it.
//
//   the worker's own cgroup         it must be delegated: to this user, with the memory controller
//   ├── joinq-PID                   daemon, keeper and zygotes: a cgroup with others below has no processes
//   ├── joinq-PID-CHILD             one a child, made by the child itself
//   └── ...
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace joinq {

// One line to one file of a cgroup.
struct CgroupSetting {
  std::string file;
  std::string value;
  bool optional = false;  // the kernel may not have the file
};

// At most so much memory, no swap, and all die together.
std::vector<CgroupSetting> MemorySettings(uint64_t bytes);

// The folder of this process's own cgroup. The error says why there is none to use.
absl::StatusOr<std::string> OwnCgroup();

// Not thread-safe. Forks share it: a child calls Enter, the daemon all else.
class ChildCgroups {
 public:
  // Moves this process, which must be alone in the cgroup `folder`, to one below it, and
  // removes what workers that are dead have left there. The error says why that cannot be;
  // nothing has changed then.
  static absl::StatusOr<std::unique_ptr<ChildCgroups>> Open(const std::string& folder,
                                                            const std::string& controller,
                                                            std::vector<CgroupSetting> settings);
  // Ends what is left in the children's cgroups and removes them all, within a second or so;
  // this process goes back where it came from.
  ~ChildCgroups();
  ChildCgroups(const ChildCgroups&) = delete;
  ChildCgroups& operator=(const ChildCgroups&) = delete;

  const std::string& folder() const { return folder_; }

  // By a new child: makes its cgroup and enters it.
  absl::Status Enter() const;
  // A child has died: ends its descendants that are left and removes its cgroup, at the next
  // call if it cannot yet. What the kernel has killed in it for.
  enum class Killed { kNot, kPastLimit, kMachineOutOfMemory };
  Killed Release(pid_t child);

 private:
  ChildCgroups(std::string folder, std::string enabled, std::vector<CgroupSetting> settings);
  std::string Of(pid_t child) const;
  void RemoveEmptied();

  const std::string folder_;
  const std::string enabled_;  // the controller, if it was not before
  const std::vector<CgroupSetting> settings_;
  const pid_t owner_;
  std::vector<std::string> emptying_;  // their processes were killed
};

}  // namespace joinq
