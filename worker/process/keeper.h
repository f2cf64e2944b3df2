// The keeper: the process that forks zygotes. It is forked first thing in main and
// never loads or runs anything of the user's, so a zygote forked from it later begins
// as fresh as the first one: that is how changed modules are loaded, and how a zygote
// that died is replaced.
//
//   daemon -- fork --> keeper -- fork --> zygote -- fork --> child, child ...
//
// Whatever a dead zygote leaves behind falls to the keeper, which ends it. If the daemon
// dies the keeper sees its socket close and ends everything. If the keeper dies the
// kernel ends its zygotes and they their children (PR_SET_PDEATHSIG), and the daemon,
// to which all else falls, sees the socket close.
#pragma once

#include <sys/types.h>

#include <string>

#include "absl/status/statusor.h"
#include "worker/process/unique_fd.h"
#include "worker/process/zygote.h"

namespace joinq {

struct KeeperReport {
  enum Type : uint32_t {
    kForked = 1,      // a zygote runs as `pid`; carries the daemon's end of its socket
    kForkFailed = 2,  // `text` says why
    kEnded = 3,       // the zygote `pid` ended and was reaped; nothing of it is left
  };
  Type type = kForked;
  pid_t pid = 0;
  int32_t wait_status = 0;
  char text[256] = {};  // NUL-terminated
};

// The daemon's end. Not thread-safe.
class Keeper {
 public:
  // Forks. FAILED_PRECONDITION if this process has more than one thread. `program`
  // is what its zygotes are.
  static absl::StatusOr<Keeper> Fork(const ZygoteProgram& program);
  Keeper(Keeper&&) = default;

  // Asks for a zygote; a kForked or kForkFailed report follows. An error means that the keeper is gone.
  absl::Status ForkZygote();
  // Asks for one and waits until it serves; or says why it does not.
  absl::StatusOr<StartedZygote> StartZygote();

  // The next report, if one is there; `control` is filled for kForked.
  // kNone: nothing now. kGone: the keeper has ended.
  enum class Next { kReport, kNone, kGone };
  Next Receive(KeeperReport& report, UniqueFd& control);

  int control_fd() const { return control_.get(); }
  pid_t pid() const { return pid_; }
  // Closes the socket, which ends it and all it has kept, and reaps it.
  void Stop();

 private:
  Keeper(pid_t pid, UniqueFd control) : pid_(pid), control_(std::move(control)) {}
  // Waits for a report; kGone also if none comes.
  Next Wait(KeeperReport& report, UniqueFd& control);

  pid_t pid_;
  UniqueFd control_;
};

}  // namespace joinq
