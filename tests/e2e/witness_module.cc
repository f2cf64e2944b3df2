// Handlers that note their runs (tests/support/witness.h).
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <ctime>
#include <stdexcept>
#include <string>

#include "joinq/worker.h"
#include "tests/support/witness.h"

namespace {

using joinq::testing::RunRecord;
using joinq::testing::Witness;

RunRecord RunOf(const joinq::TaskContext& task, uint64_t number) {
  RunRecord run;
  run.number = number;
  run.task = task.task_id;
  run.epoch = task.epoch;
  run.sequence = task.sequence;
  return run;
}

Witness& TheWitness() {
  static Witness witness;
  return witness;
}

void NapUs(int64_t us) {
  const timespec time{us / 1'000'000, us % 1'000'000 * 1000};
  if (us > 0) nanosleep(&time, nullptr);
}

// Some milliseconds of work, longer ones of waiting: the machine is for the others then.
void Work(int64_t ms) {
  if (ms > 10) return NapUs(ms * 1000);
  const int64_t end = joinq::testing::MonotonicNs() + ms * 1'000'000;
  while (joinq::testing::MonotonicNs() < end) {
  }
}

// A process in a session of its own, which nothing but its end by another will end soon.
void LeaveAStranger() {
  const pid_t pid = fork();
  if (pid == 0) {
    setsid();
    if (fork() == 0) {
      sleep(600);
      _exit(0);
    }
    _exit(0);
  }
  waitpid(pid, nullptr, 0);
}

}  // namespace

// Takes `ms` milliseconds of the clock and returns its token.
JOINQ_TASK(witness, [](const joinq::TaskContext& task, uint64_t number, int64_t ms, bool stranger) {
  const RunRecord run = RunOf(task, number);
  if (!TheWitness().Begin(run)) throw std::runtime_error("it runs elsewhere as well");
  if (stranger) LeaveAStranger();
  Work(ms);
  TheWitness().End(run);
  return std::to_string(task.epoch) + " " + std::to_string(task.sequence);
});
// Waits for so long, as for a disk or another host; notes nothing.
JOINQ_TASK(nap, [](int64_t us) { NapUs(us); });
// Never returns.
JOINQ_TASK(hold, [](const joinq::TaskContext& task, uint64_t number) {
  TheWitness().Begin(RunOf(task, number));
  for (;;) pause();
});
// Its end is noted just before.
JOINQ_TASK(segfault, [](const joinq::TaskContext& task, uint64_t number) {
  TheWitness().Begin(RunOf(task, number));
  TheWitness().End(RunOf(task, number));
  raise(SIGSEGV);
});
