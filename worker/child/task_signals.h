// The signals of a child while a program of its own works on a task.
#pragma once

#include <signal.h>

#include "worker/limits.h"

namespace joinq {

// While it lives: SIGTERM passes by, it is for the program; kAskSignal waits until it is let in.
class TaskSignals {
 public:
  TaskSignals() {
    struct sigaction ignore {};
    ignore.sa_handler = SIG_IGN;
    sigaction(SIGTERM, &ignore, &term_);
    sigset_t ask;
    sigemptyset(&ask);
    sigaddset(&ask, kAskSignal);
    sigprocmask(SIG_BLOCK, &ask, &before_);
  }
  ~TaskSignals() {
    sigprocmask(SIG_SETMASK, &before_, nullptr);
    sigaction(SIGTERM, &term_, nullptr);
  }
  TaskSignals(const TaskSignals&) = delete;
  TaskSignals& operator=(const TaskSignals&) = delete;
  // The mask for ppoll that lets kAskSignal in.
  const sigset_t* let_in() const { return &before_; }

 private:
  struct sigaction term_ {};
  sigset_t before_{};
};

}  // namespace joinq
