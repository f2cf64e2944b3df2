#include "tests/support/programs.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

extern char** environ;

namespace joinq::testing {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

std::string ReadFile(const std::string& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

}  // namespace

std::string BuildDirectory() {
  return fs::read_symlink("/proc/self/exe").parent_path().parent_path();
}
std::string ProgramPath(const std::string& name) {
  return BuildDirectory() + "/bin/" + name;
}
std::string DemoHandlers() {
  return BuildDirectory() + "/lib/joinq/demo_handlers.so";
}

bool Eventually(const std::function<bool()>& condition, std::chrono::milliseconds deadline) {
  const auto end = Clock::now() + deadline;
  while (!condition()) {
    if (Clock::now() > end) return false;
    std::this_thread::sleep_for(5ms);  // between looks at another process
  }
  return true;
}

Program::Program(std::vector<std::string> command, const std::string& input) {
  if (command[0].find('/') == std::string::npos) command[0] = ProgramPath(command[0]);
  std::string pattern = ::testing::TempDir() + "joinq-out-XXXXXX";
  const int out = ::mkostemp(pattern.data(), O_CLOEXEC);
  out_path_ = pattern;
  pattern = ::testing::TempDir() + "joinq-err-XXXXXX";
  const int err = ::mkostemp(pattern.data(), O_CLOEXEC);
  err_path_ = pattern;
  pattern = ::testing::TempDir() + "joinq-in-XXXXXX";
  const int in = ::mkostemp(pattern.data(), O_CLOEXEC);
  ::unlink(pattern.c_str());
  EXPECT_EQ(::write(in, input.data(), input.size()), static_cast<ssize_t>(input.size()));
  ::lseek(in, 0, SEEK_SET);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in, 0);
  posix_spawn_file_actions_adddup2(&actions, out, 1);
  posix_spawn_file_actions_adddup2(&actions, err, 2);
  std::vector<char*> argv;
  for (std::string& word : command) argv.push_back(word.data());
  argv.push_back(nullptr);
  if (int error = ::posix_spawn(&pid_, argv[0], &actions, nullptr, argv.data(), environ); error != 0) {
    ADD_FAILURE() << "cannot start " << command[0] << ": " << std::strerror(error);
    pid_ = 0;
  }
  posix_spawn_file_actions_destroy(&actions);
  for (int fd : {in, out, err}) ::close(fd);
}

Program::~Program() {
  if (pid_ != 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  if (!out_path_.empty()) ::unlink(out_path_.c_str());
  if (!err_path_.empty()) ::unlink(err_path_.c_str());
}

Program& Program::operator=(Program&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(status_, other.status_);
  std::swap(out_path_, other.out_path_);
  std::swap(err_path_, other.err_path_);
  return *this;
}

bool Program::running() {
  if (pid_ == 0) return false;
  int status = 0;
  if (::waitpid(pid_, &status, WNOHANG) != pid_) return true;
  status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  pid_ = 0;
  return false;
}

void Program::Signal(int signal) const {
  if (pid_ != 0) ::kill(pid_, signal);
}

bool Program::Stop() const {
  if (pid_ == 0) return false;
  Signal(SIGSTOP);
  siginfo_t info{};
  // Its end is left for running() to find.
  while (::waitid(P_PID, static_cast<id_t>(pid_), &info, WSTOPPED | WEXITED | WNOWAIT) != 0 &&
         errno == EINTR) {
  }
  if (info.si_code != CLD_STOPPED) return false;
  // Taken, so that the next stop is not mistaken for this one.
  ::waitid(P_PID, static_cast<id_t>(pid_), &info, WSTOPPED | WNOHANG);
  return true;
}

int Program::Wait(std::chrono::milliseconds deadline) {
  return Eventually([this] { return !running(); }, deadline) ? status_ : -1;
}

std::string Program::output() const {
  return ReadFile(out_path_);
}
std::string Program::errors() const {
  return ReadFile(err_path_);
}

Finished RunProgram(std::vector<std::string> command, const std::string& input,
                    std::chrono::milliseconds deadline) {
  Program program(std::move(command), input);
  Finished finished;
  finished.status = program.Wait(deadline);
  finished.output = program.output();
  finished.errors = program.errors();
  return finished;
}

BrokerProcess::BrokerProcess(std::vector<std::string> more, bool memory)
    : more_(std::move(more)), memory_(memory) {
  Start();
}

void BrokerProcess::Start() {
  Launch();
  ASSERT_TRUE(AwaitReady()) << program_.errors();
}

void BrokerProcess::Launch() {
  std::error_code ignored;
  fs::remove(port_file(), ignored);
  std::vector<std::string> command;
  if (!environment_.empty()) {
    command.push_back("/usr/bin/env");
    command.insert(command.end(), environment_.begin(), environment_.end());
  }
  command.insert(command.end(),
                 {environment_.empty() ? "joinqd" : ProgramPath("joinqd"), "--listen",
                  url_.empty() ? "127.0.0.1:0" : url_, "--http", "127.0.0.1:0", "--port-file", port_file()});
  if (memory_) {
    command.push_back("--memory");
  } else {
    command.insert(command.end(), {"--data", data()});
  }
  command.insert(command.end(), more_.begin(), more_.end());
  program_ = Program(command);
}

bool BrokerProcess::AwaitReady() {
  if (!Eventually([&] { return fs::exists(port_file()) || !program_.running(); })) return false;
  std::ifstream in(port_file());
  for (std::string kind, address; in >> kind >> address;) (kind == "grpc" ? url_ : http_) = address;
  return in.eof();
}

void BrokerProcess::Kill() {
  program_.Signal(SIGKILL);
  program_.Wait();
}

void BrokerProcess::Crash() {
  Kill();
  Start();
}

Program StartWorker(const std::string& url, const std::string& queue, std::vector<std::string> more) {
  std::vector<std::string> command = {"joinq-worker", "-u", url,        "-Q",          queue,
                                      "-c",           "2",  "--module", DemoHandlers()};
  command.insert(command.end(), more.begin(), more.end());
  Program worker(command);
  const std::string pid = "\"pid\":" + std::to_string(worker.pid());
  EXPECT_TRUE(Eventually([&] {
    std::string listed = RunProgram({"joinq", "-u", url, "worker", "list", "--json"}).output;
    std::erase(listed, ' ');
    return listed.find(pid) != std::string::npos || !worker.running();
  })) << worker.errors();
  EXPECT_TRUE(worker.running()) << worker.errors();
  return worker;
}

std::vector<pid_t> ChildrenOf(pid_t pid) {
  std::vector<pid_t> found;
  std::error_code ignored;
  for (const auto& thread : fs::directory_iterator("/proc/" + std::to_string(pid) + "/task", ignored)) {
    std::ifstream in(thread.path() / "children");
    for (pid_t child; in >> child;) found.push_back(child);
  }
  return found;
}

std::vector<pid_t> Descendants(pid_t pid) {
  std::vector<pid_t> found;
  for (pid_t child : ChildrenOf(pid)) {
    found.push_back(child);
    for (pid_t below : Descendants(child)) found.push_back(below);
  }
  return found;
}

std::vector<pid_t> PoolZygotes(pid_t worker) {
  std::vector<pid_t> zygotes;
  for (pid_t keeper : ChildrenOf(worker)) {
    for (pid_t zygote : ChildrenOf(keeper)) zygotes.push_back(zygote);
  }
  return zygotes;
}

std::vector<pid_t> PoolChildren(pid_t worker) {
  std::vector<pid_t> children;
  for (pid_t zygote : PoolZygotes(worker)) {
    for (pid_t child : Descendants(zygote)) children.push_back(child);
  }
  return children;
}

bool IsZombie(pid_t pid) {
  const std::string stat = ReadFile("/proc/" + std::to_string(pid) + "/stat");
  const size_t paren = stat.rfind(')');
  return paren != std::string::npos && paren + 2 < stat.size() && stat[paren + 2] == 'Z';
}

}  // namespace joinq::testing
