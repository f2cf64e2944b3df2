// A joinq-worker under test, as a process of its own.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/time/time.h"

namespace joinq {

class WorkerProcess {
 public:
  // Starts `program`, or else `joinq-worker`, with these arguments.
  explicit WorkerProcess(std::vector<std::string> arguments, std::vector<std::string> environment = {},
                         std::string program = {});
  ~WorkerProcess();  // kills it if it still runs
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  pid_t pid() const { return pid_; }
  void Signal(int number) const;
  // Its wait status, or -1 if it did not end in time.
  int WaitEnd(absl::Duration timeout = absl::Seconds(20));
  // What it has written to standard error so far.
  std::string Errors();

 private:
  pid_t pid_ = -1;
  int pidfd_ = -1;
  int errors_ = -1;
};

// A worker with these arguments ends with status 2 and one line that says `message`.
void ExpectRefused(const std::vector<std::string>& arguments, const std::string& message);

// Processes with this parent, oldest first.
std::vector<pid_t> ChildrenOf(pid_t parent);
// The state letter of a process ("R", "Z", ...), or 0 if there is none.
char StateOf(pid_t pid);
// Waits until none of the processes exists (a zombie does).
bool WaitGone(const std::vector<pid_t>& pids, absl::Duration timeout = absl::Seconds(10));

}  // namespace joinq
