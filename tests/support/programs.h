// Real processes for tests: the programs of this build, started on free ports and
// temporary directories, watched with deadlines, and gone when the test ends.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "tests/support/temp_directory.h"
namespace joinq::testing {

using namespace std::chrono_literals;

// build/<preset>, found from where the test program is.
std::string BuildDirectory();
std::string ProgramPath(const std::string& name);  // in bin/
std::string DemoHandlers();                        // the module of examples/

// Asks `condition` until it holds; false if it does not within `deadline`.
bool Eventually(const std::function<bool()>& condition, std::chrono::milliseconds deadline = 20s);

// A child process with its standard error (and output) in a file.
class Program {
 public:
  Program() = default;
  // The first word is a program of this build or a path.
  explicit Program(std::vector<std::string> command, const std::string& input = "");
  ~Program();  // kills and reaps
  Program(Program&& other) noexcept { *this = std::move(other); }
  Program& operator=(Program&& other) noexcept;

  pid_t pid() const { return pid_; }
  bool running();
  void Signal(int signal) const;
  // SIGSTOP, and waits until none of its threads runs. False if it has ended.
  bool Stop() const;
  // The exit status, 128 + signal, or -1 if it still runs at the deadline.
  int Wait(std::chrono::milliseconds deadline = 30s);
  std::string output() const;  // so far
  std::string errors() const;

 private:
  pid_t pid_ = 0;
  int status_ = -1;
  std::string out_path_, err_path_;
};

struct Finished {
  int status = -1;
  std::string output, errors;
};
// Runs a program to its end.
Finished RunProgram(std::vector<std::string> command, const std::string& input = "",
                    std::chrono::milliseconds deadline = 30s);

// joinqd on a port that stays the same over restarts.
class BrokerProcess {
 public:
  explicit BrokerProcess(std::vector<std::string> more = {}, bool memory = false);
  void Start();
  // The two halves of Start. AwaitReady is false if the broker ended instead.
  void Launch();
  bool AwaitReady();
  void Kill();  // -9
  // kill -9 and start again.
  void Crash();
  // NAME=VALUE of the starts from now on, added to this program's own.
  void SetEnvironment(std::vector<std::string> variables) { environment_ = std::move(variables); }
  const std::string& url() const { return url_; }
  const std::string& http() const { return http_; }
  Program& program() { return program_; }
  std::string data() const { return directory_.path() + "/data"; }

 private:
  std::string port_file() const { return directory_.path() + "/port"; }

  TempDirectory directory_;
  std::vector<std::string> more_, environment_;
  bool memory_;
  std::string url_, http_;
  Program program_;
};

// joinq-worker with two children and the demo handlers, serving `queue`. Ready
// once the broker lists it.
Program StartWorker(const std::string& url, const std::string& queue, std::vector<std::string> more = {});
// Process ids of its children, of all its threads, those it has adopted included.
std::vector<pid_t> ChildrenOf(pid_t pid);
// Process ids of all descendants.
std::vector<pid_t> Descendants(pid_t pid);
// Children of the worker that run handlers (those of its zygote).
std::vector<pid_t> PoolChildren(pid_t worker);
std::vector<pid_t> PoolZygotes(pid_t worker);
bool IsZombie(pid_t pid);

}  // namespace joinq::testing
