// The zygote: a small single-threaded process, forked by the keeper (see keeper.h).
// It loads the user's modules once, forks children on request, reaps them and
// every orphan of theirs, and reports their ends.
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
#include "worker/process/environment.h"
#include "worker/process/status_page.h"
#include "worker/process/unique_fd.h"
#include "worker/process/zygote_messages.h"

namespace joinq {

inline constexpr uint16_t kNoHandler = 0xffff;

// Where a child finds itself.
struct ChildPlace {
  int channel;
  StatusPage& page;
  int output;   // the pipe that its stdout and stderr are, or -1 if those are inherited
  bool single;  // it is made for one task, and its exit status tells of that
  // The handlers of task frames: their indices in the order of ZygoteProgram::handler_names.
  const std::vector<uint16_t>& handlers;
};

// What runs in the zygote and its children.
struct ZygoteProgram {
  // Loads what the children need, announcing each part by a name for people; an error ends the zygote.
  std::function<absl::Status(const std::function<void(const std::string&)>& announce)> load;
  // After load: the handlers, in the order of their indices.
  std::function<std::vector<std::string>()> handler_names;
  // The life of a child: returns its exit status.
  std::function<int(const ChildPlace& place)> run_child;
  bool capture_output = false;
  ChildEnvironment environment;  // from before `load` on
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
  Zygote(pid_t pid, UniqueFd control);

  // An error means that it is gone, or was killed: it has not read for a second.
  absl::Status Spawn(uint32_t child, bool single);
  // Task frames say `index` from now on for its handler `handler`; all are named
  // once, from index 0 on, before the first Spawn.
  absl::Status NameHandler(uint16_t index, uint16_t handler);
  absl::Status Kill(pid_t pid, int signal);
  absl::Status Signal(pid_t pid, int signal);  // to that process alone, not its group

  // The next report, if one is there; `spawned` is filled for kSpawned.
  // kNone: nothing now. kGone: the zygote has ended.
  enum class Next { kReport, kNone, kGone };
  Next Receive(ZygoteReport& report, SpawnedChild& spawned);

  int control_fd() const { return control_.get(); }
  pid_t pid() const { return pid_; }
  // Closes the socket, which ends the zygote and all its children.
  void Stop() { control_.Reset(); }

 private:
  absl::Status Send(const ZygoteRequest& request);

  pid_t pid_;
  UniqueFd control_;
};

// The start of a zygote: takes its reports until it serves.
class ZygoteStart {
 public:
  // kGone: it ended without saying why: see ErrorOfEnd.
  enum class State { kLoading, kReady, kFailed, kGone };
  State Take(Zygote& zygote);

  const std::vector<std::string>& handlers() const { return handlers_; }
  const absl::Status& error() const { return error_; }
  absl::Status ErrorOfEnd(int wait_status) const;

 private:
  std::vector<std::string> handlers_;
  std::string loading_;
  absl::Status error_;
};

struct StartedZygote {
  Zygote zygote;
  std::vector<std::string> handlers;
};

}  // namespace joinq
