// A broker and a worker of the benchmark's own: on free loopback ports, in a
// temporary directory, gone with it whatever happens.
#pragma once

#include <sys/types.h>

#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace joinq::cli {

// A child process. Killed with this process (PR_SET_PDEATHSIG) and by the
// destructor: TERM, then KILL after a grace. Start it before any gRPC call, from
// the thread that outlives it. Its output goes to `log`.
class ChildProcess {
 public:
  ChildProcess(std::vector<std::string> command, const std::string& log);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }
  bool running();
  void Stop();

 private:
  pid_t pid_ = -1;
};

// A temporary directory, removed with all that is in it.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

class BenchRig {
 public:
  static constexpr char kQueue[] = "bench";
  // Starts both and waits until the broker listens. Throws Error with the tail of
  // the log of the one that failed.
  explicit BenchRig(bool memory);
  // Interrupted: stops both and removes the directory, from another thread than the one that made it.
  void TearDown();

  const std::string& url() const { return url_; }
  // Throws unless both are running.
  void Check();
  // CPU time so far in microseconds: "broker", "worker" (with its children), "client".
  std::map<std::string, double> CpuMicros() const;

 private:
  std::string AwaitPort();

  TemporaryDirectory directory_;
  std::unique_ptr<ChildProcess> broker_;
  std::unique_ptr<ChildProcess> worker_;
  std::string url_;
};

// While it lives, INT and TERM tear the rig down and end the process with 130.
// Make it before any other thread.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  // Until the answer is dropped, which must be before the rig is; signals after
  // that wait for the guard's own end.
  [[nodiscard]] std::shared_ptr<void> Protect(BenchRig* rig);

 private:
  struct State;
  std::shared_ptr<State> state_;
  std::thread thread_;
};

}  // namespace joinq::cli
