// Handlers in a long-lived program of any language: --runner NAME,...='cmd args'.
//
// Each child starts the program when it first gets a task for one of its
// handlers and keeps it; docs/child-protocol.md says what the two talk about,
// and what becomes of a program that is slow, silent, wrong or dead.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "joinq/worker.h"
#include "worker/child/exec_handler.h"
#include "worker/child/runner_process.h"
#include "worker/child/runner_spec.h"
#include "worker/child/task_signals.h"

namespace joinq {

// Thrown when the program died, or had to be killed, in the middle of a task.
class RunnerCrash : public HandlerError {
 public:
  using HandlerError::HandlerError;
};

// One program of one child: made before the child is forked, started in it.
// Runs one task at a time. Not thread-safe.
class Runner {
 public:
  Runner(RunnerSpec spec, uint32_t start_timeout_ms);

  const RunnerSpec& spec() const { return spec_; }

  // A handler. Throws HandlerError, LimitError or DecodeError as the program
  // asks for, RunnerCrash when it died or broke the protocol (the next call
  // starts a new one), HandlerError when it could not be started.
  HandlerResult Run(const TaskContext& task, std::string_view payload);

  // Tells the program to shut down and waits for its end, at most a second; then it is killed.
  void Stop();

 private:
  void Start(const TaskContext& task, const TaskSignals& signals);
  // Why the program of earlier tasks is no good for the next one, or "".
  std::string Unfit(const TaskSignals& signals);
  struct Answer {
    RunnerResult result;
    std::string payload;
    bool asked_soft = false;  // to end, since the soft time limit was past
  };
  // Sends the task and waits for its result. None if the program read no byte of it before its end.
  std::optional<Answer> Await(const TaskContext& task, std::string_view payload, const TaskSignals& signals);
  [[noreturn]] void ThrowFailure(const Answer& answer) const;
  // frame(), read; a log message is written as well.
  absl::StatusOr<RunnerMessage> Read() const;
  // What kMalformed, kClosed and kEnded say of the program; reaps it.
  std::string Describe(RunnerProcess::Event event);
  std::string Named() const;

  const RunnerSpec spec_;
  const uint32_t start_timeout_ms_;
  std::unique_ptr<RunnerProcess> process_;
  bool takes_signal_ = false;  // as its hello said
};

}  // namespace joinq
