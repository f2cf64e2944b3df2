#include "tests/worker/worker_process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <stdexcept>

#include "absl/time/clock.h"
#include "worker/process/pidfd.h"

namespace joinq {

WorkerProcess::WorkerProcess(std::vector<std::string> arguments, std::vector<std::string> environment,
                             std::string program) {
  if (program.empty()) program = std::string(JOINQ_BIN_DIR) + "/joinq-worker";
  std::vector<char*> argv{program.data()};
  for (auto& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  std::vector<char*> envp;
  for (auto& variable : environment) envp.push_back(variable.data());
  for (char** variable = environ; *variable != nullptr; ++variable) envp.push_back(*variable);
  envp.push_back(nullptr);
  errors_ = memfd_create("stderr", MFD_CLOEXEC);
  // Several processes write; without this, one may overwrite what another writes just then.
  fcntl(errors_, F_SETFL, O_APPEND);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, errors_, 2);
  if (posix_spawn(&pid_, program.c_str(), &actions, nullptr, argv.data(), envp.data()) != 0) {
    throw std::runtime_error("cannot start " + program);
  }
  posix_spawn_file_actions_destroy(&actions);
  pidfd_ = OpenPidfd(pid_).Release();
}

WorkerProcess::~WorkerProcess() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    if (const char* show = std::getenv("JOINQ_TEST_SHOW"); show != nullptr) {
      const std::string text = Errors();
      (void)!write(2, text.data(), text.size());
    }
  }
  close(pidfd_);
  close(errors_);
}

void WorkerProcess::Signal(int number) const {
  kill(pid_, number);
}

int WorkerProcess::WaitEnd(absl::Duration timeout) {
  pollfd polled{pidfd_, POLLIN, 0};
  if (poll(&polled, 1, static_cast<int>(absl::ToInt64Milliseconds(timeout))) <= 0) return -1;
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = -1;
  return status;
}

std::string WorkerProcess::Errors() {
  std::string text(static_cast<size_t>(lseek(errors_, 0, SEEK_END)), '\0');
  const ssize_t got = pread(errors_, text.data(), text.size(), 0);
  text.resize(got < 0 ? 0 : static_cast<size_t>(got));
  return text;
}

void ExpectRefused(const std::vector<std::string>& arguments, const std::string& message) {
  WorkerProcess worker(arguments);
  const int status = worker.WaitEnd();
  const std::string errors = worker.Errors();
  ASSERT_TRUE(WIFEXITED(status)) << errors;
  EXPECT_EQ(WEXITSTATUS(status), 2) << errors;
  EXPECT_NE(errors.find(message), std::string::npos) << errors;
  EXPECT_TRUE(errors.starts_with("joinq-worker: ")) << errors;
  EXPECT_EQ(std::count(errors.begin(), errors.end(), '\n'), 1) << errors;
}

std::vector<pid_t> ChildrenOf(pid_t parent) {
  const std::string pid = std::to_string(parent);
  std::ifstream file("/proc/" + pid + "/task/" + pid + "/children");
  std::vector<pid_t> children;
  for (pid_t child; file >> child;) children.push_back(child);
  return children;
}

char StateOf(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  if (!std::getline(file, line)) return 0;
  return line[line.rfind(')') + 2];
}

bool WaitGone(const std::vector<pid_t>& pids, absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  for (pid_t pid : pids) {
    UniqueFd pidfd = OpenPidfd(pid);
    if (!pidfd.valid()) continue;  // gone already
    pollfd polled{pidfd.get(), POLLIN, 0};
    const auto left = absl::ToInt64Milliseconds(deadline - absl::Now());
    if (left <= 0 || poll(&polled, 1, static_cast<int>(left)) <= 0) return false;
  }
  return true;
}

}  // namespace joinq
