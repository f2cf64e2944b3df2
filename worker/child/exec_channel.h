// What a program of --exec says while it runs: JOINQ_PROGRESS_FD takes lines of text,
// JOINQ_CONTROL_FD lines of JSON (exec_messages.h).
#pragma once

#include <spawn.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "joinq/worker.h"
#include "worker/child/exec_messages.h"
#include "worker/process/unique_fd.h"

namespace joinq {

// For one run of a program.
class ExecChannel {
 public:
  // The descriptors are these there, whatever else it has.
  static constexpr int kControl = 3, kProgress = 4, kFirstFree = 5;

  // Throws HandlerError if there are too many descriptors.
  explicit ExecChannel(const TaskContext& task);

  // Adds what the program needs to be started with. Once it is, the other ends are closed.
  void Prepare(std::vector<std::string>& variables, posix_spawn_file_actions_t* actions) const;
  void Started();

  // To wait on; -1 once it is closed.
  int control() const { return control_.get(); }
  int progress() const { return progress_.get(); }
  // Takes what is there, up to a bound unless the program has `ended`. The error says which
  // line is wrong and why.
  absl::Status Read(bool ended);
  // A line of control without an end. Of a program that was ended in the middle of one it is no use.
  absl::Status ReadRest();

 private:
  absl::Status Take(std::string_view line);

  const TaskContext& task_;
  UniqueFd control_, progress_;
  UniqueFd control_end_, progress_end_;  // the program's
  ExecLines lines_;
  size_t number_ = 0;  // of the newest line of control
  std::string words_;  // of progress, behind the last newline: the first kProgressBytes
};

}  // namespace joinq
