// The zygote: a small single-threaded process, forked before the daemon has any
// thread or gRPC object. It loads the user's modules once, forks children on
// request, reaps them and every orphan of theirs, and reports their ends.
//
// If the daemon dies the zygote sees its socket close, kills every group and
// ends. If the zygote dies its children are killed by the kernel
// (PR_SET_PDEATHSIG) and the daemon sees the socket close.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/process/status_page.h"
#include "worker/process/unique_fd.h"
#include "worker/process/zygote_messages.h"

namespace joinq {

// What runs in the zygote and its children.
struct ZygoteProgram {
  // Loads what the children need, announcing each part by a name for people; an error ends the zygote.
  std::function<absl::Status(const std::function<void(const std::string&)>& announce)> load;
  // After load: the handlers, in the order of their indices.
  std::function<std::vector<std::string>()> handler_names;
  // The life of a child: returns its exit status.
  // `output` is a descriptor of the pipe that its stdout and stderr are, or -1 if those are inherited.
  std::function<int(int channel, StatusPage& page, int output)> run_child;
  bool capture_output = false;
};

// A child as the zygote hands it over.
struct SpawnedChild {
  uint32_t child = 0;
  pid_t pid = 0;     // also the id of its process group
  UniqueFd channel;  // non-blocking
  UniqueFd status_page;
  UniqueFd pidfd;
  UniqueFd output;  // non-blocking, to read what it writes; none if that is inherited
};

// The daemon's end. Not thread-safe.
class Zygote {
 public:
  // Forks. FAILED_PRECONDITION if this process has more than one thread.
  static absl::StatusOr<Zygote> Fork(const ZygoteProgram& program);

  // Waits until the zygote serves; the names of its handlers, or why it does not serve.
  absl::StatusOr<std::vector<std::string>> WaitReady();

  // Requests never block: the zygote always reads. An error means that it is gone.
  absl::Status Spawn(uint32_t child);
  absl::Status Kill(pid_t pid, int signal);
  absl::Status Signal(pid_t pid, int signal);  // to that process alone, not its group
  absl::Status KillAll();

  // The next report, if one is there; `spawned` is filled for kSpawned.
  // kNone: nothing now. kGone: the zygote has ended.
  enum class Next { kReport, kNone, kGone };
  Next Receive(ZygoteReport& report, SpawnedChild& spawned);

  int control_fd() const { return control_.get(); }
  pid_t pid() const { return pid_; }
  // Closes the socket, which ends the zygote, and reaps it.
  void Stop();

 private:
  Zygote(pid_t pid, UniqueFd control) : pid_(pid), control_(std::move(control)) {}
  absl::Status Send(const ZygoteRequest& request);

  pid_t pid_;
  UniqueFd control_;
};

}  // namespace joinq
