// A runner program as a process: started, fed and listened to, ended. It knows
// frames, not what they mean. Single-threaded.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "worker/child/runner_frames.h"
#include "worker/child/runner_spec.h"
#include "worker/process/unique_fd.h"

namespace joinq {

class RunnerProcess {
 public:
  using Clock = std::chrono::steady_clock;

  // Starts the program; throws HandlerError if that cannot be done.
  explicit RunnerProcess(const RunnerSpec& spec);
  // Kills it if it still runs, and reaps it. What it has started itself lives on in the child's group.
  ~RunnerProcess();
  RunnerProcess(const RunnerProcess&) = delete;
  RunnerProcess& operator=(const RunnerProcess&) = delete;

  pid_t pid() const { return pid_; }

  // Sends what its pipe takes at once; Next sends the rest. Returns the size of the frame.
  size_t Send(const nlohmann::json& header, std::string_view payload);
  bool all_sent() const { return sent_ == to_send_.size(); }

  // Of all that was sent, the bytes the program has not read.
  size_t Unread() const;

  enum class Event {
    kFrame,        // frame() is valid until the next call
    kSent,         // the last of what there was to send
    kInterrupted,  // by a signal
    kTimeout,      // `until` is past
    kMalformed,    // what comes next is no frame: see complaint()
    kClosed,       // it runs, but closed its end of a pipe
    kEnded,        // it has ended, and all it wrote was read: see WaitStatus
  };
  // Waits for what comes first. Signals outside `let_in` are blocked by the caller.
  Event Next(const sigset_t* let_in, Clock::time_point until = Clock::time_point::max());
  const RunnerFrame& frame() const { return frame_; }
  std::string complaint() const { return DescribeMalformed(std::string_view(in_).substr(taken_)); }

  // Does nothing once it has ended.
  void Signal(int number) const;
  // CPU time it has used, its own ended children not included.
  uint64_t CpuTimeMs() const;
  // Closes its input and gives it until then to end in order; then it is killed.
  void End(Clock::time_point until);
  // Reaps it, which must have ended or been killed.
  int WaitStatus();

 private:
  void Flush();
  // All that is there, or one buffer of it.
  void Receive(bool all);
  // As ppoll, until `until`; says whether the program has ended.
  int Wait(const sigset_t* let_in, Clock::time_point until, bool& ended);

  pid_t pid_ = -1;
  UniqueFd pidfd_, to_, from_;
  std::string to_send_;
  size_t sent_ = 0;
  size_t unread_at_close_ = 0;  // of its input
  std::string in_;
  size_t taken_ = 0;  // of in_, by frames up to frame_
  RunnerFrame frame_;
  bool ended_ = false;   // and what it wrote was received
  bool closed_ = false;  // one of the pipes
  int status_ = 0;
};

}  // namespace joinq
