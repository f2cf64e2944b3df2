#include "client/cli/bench_rig.h"

#include <fcntl.h>
#include <joinq/errors.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <mutex>
#include <set>
#include <sstream>

namespace joinq::cli {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr auto kStartTime = std::chrono::seconds(20);
constexpr auto kStopTime = std::chrono::seconds(3);
constexpr auto kPoll = std::chrono::milliseconds(5);
constexpr size_t kLogTail = 400;

std::string Sibling(const std::string& program) {
  const fs::path path = fs::read_symlink("/proc/self/exe").parent_path() / program;
  if (access(path.c_str(), X_OK) != 0)
    throw Error("bench: there is no " + program + " beside joinq: " + path.string());
  return path.string();
}

std::string Tail(const std::string& path) {
  std::ifstream file(path);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  return text.size() > kLogTail ? text.substr(text.size() - kLogTail) : text;
}

// utime + stime of one process in microseconds, and its parent; false if it is gone.
bool ReadStat(pid_t pid, double* micros, pid_t* parent) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text{std::istreambuf_iterator<char>(file), {}};
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return false;
  std::istringstream fields(text.substr(name_end + 1));
  std::vector<std::string> all{std::istream_iterator<std::string>(fields), {}};
  if (all.size() < 13) return false;
  *parent = static_cast<pid_t>(std::stol(all[1]));
  *micros = (std::stod(all[11]) + std::stod(all[12])) * 1e6 / static_cast<double>(sysconf(_SC_CLK_TCK));
  return true;
}

// Of a process and all below it.
double TreeMicros(pid_t root) {
  std::map<pid_t, std::pair<pid_t, double>> processes;
  for (const auto& entry : fs::directory_iterator("/proc", fs::directory_options::skip_permission_denied)) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const pid_t pid = static_cast<pid_t>(std::stol(name));
    double micros = 0;
    pid_t parent = 0;
    if (ReadStat(pid, &micros, &parent)) processes[pid] = {parent, micros};
  }
  std::set<pid_t> tree = {root};
  for (bool grew = true; grew;) {
    grew = false;
    for (const auto& [pid, process] : processes)
      grew |= tree.contains(process.first) && tree.insert(pid).second;
  }
  double total = 0;
  for (pid_t pid : tree) total += processes.contains(pid) ? processes[pid].second : 0;
  return total;
}

}  // namespace

// ---------------------------------------------------------------- ChildProcess

ChildProcess::ChildProcess(std::vector<std::string> command, const std::string& log) {
  const int out = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  const int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
  std::vector<char*> argv;
  for (auto& word : command) argv.push_back(word.data());
  argv.push_back(nullptr);
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ == 0) {  // only async-signal-safe calls from here to exec
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    signal(SIGPIPE, SIG_DFL);
    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    setpgid(0, 0);  // an interrupt at the terminal is the benchmark's to handle
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(127);
    execv(argv[0], argv.data());
    _exit(127);
  }
  const int error = errno;
  close(out);
  close(in);
  if (pid_ < 0) throw Error("bench: cannot start " + command[0] + ": " + std::strerror(error));
}

ChildProcess::~ChildProcess() {
  Stop();
}

bool ChildProcess::running() {
  if (pid_ < 0) return false;
  if (waitpid(pid_, nullptr, WNOHANG) == 0) return true;
  pid_ = -1;
  return false;
}

void ChildProcess::Stop() {
  if (!running()) return;
  kill(pid_, SIGTERM);
  const auto deadline = Clock::now() + kStopTime;
  while (running()) {
    if (Clock::now() >= deadline) {
      kill(-pid_, SIGKILL);
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
      pid_ = -1;
      return;
    }
    std::this_thread::sleep_for(kPoll);
  }
}

// ---------------------------------------------------------------- TemporaryDirectory

TemporaryDirectory::TemporaryDirectory() {
  std::string name = (fs::temp_directory_path() / "joinq-bench-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr)
    throw Error("bench: cannot make " + name + ": " + std::strerror(errno));
  path_ = name;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

// ---------------------------------------------------------------- BenchRig

BenchRig::BenchRig(bool memory) {
  const std::string& dir = directory_.path();
  std::vector<std::string> broker = {Sibling("joinqd"), "--listen",    "127.0.0.1:0", "--http", "off",
                                     "--port-file",     dir + "/port", "--log-level", "warn"};
  if (memory) {
    broker.push_back("--memory");
  } else {
    broker.insert(broker.end(), {"--data", dir + "/data"});
  }
  const std::string worker = Sibling("joinq-worker");
  broker_ = std::make_unique<ChildProcess>(std::move(broker), dir + "/joinqd.log");
  url_ = AwaitPort();
  worker_ = std::make_unique<ChildProcess>(
      std::vector<std::string>{worker, "-u", url_, "-Q", kQueue, "-c", "2", "--log-level", "warn"},
      dir + "/joinq-worker.log");
}

std::string BenchRig::AwaitPort() {
  const auto deadline = Clock::now() + kStartTime;
  while (true) {
    std::ifstream file(directory_.path() + "/port");
    std::string kind, address;
    while (file >> kind >> address) {
      if (kind == "grpc") return address;
    }
    Check();
    if (Clock::now() >= deadline)
      throw Error("bench: joinqd did not start: " + Tail(directory_.path() + "/joinqd.log"));
    std::this_thread::sleep_for(kPoll);
  }
}

void BenchRig::Check() {
  const std::string& dir = directory_.path();
  if (broker_ && !broker_->running()) throw Error("bench: joinqd ended: " + Tail(dir + "/joinqd.log"));
  if (worker_ && !worker_->running())
    throw Error("bench: joinq-worker ended: " + Tail(dir + "/joinq-worker.log"));
}

void BenchRig::TearDown() {
  if (worker_) worker_->Stop();
  if (broker_) broker_->Stop();
  std::error_code ignored;
  fs::remove_all(directory_.path(), ignored);
}

std::map<std::string, double> BenchRig::CpuMicros() const {
  std::map<std::string, double> micros = {{"broker", TreeMicros(broker_->pid())},
                                          {"worker", TreeMicros(worker_->pid())}};
  pid_t parent = 0;
  ReadStat(getpid(), &micros["client"], &parent);
  return micros;
}

// ---------------------------------------------------------------- InterruptGuard

struct InterruptGuard::State {
  // A lock, since the rig is made by one thread and torn down by another.
  std::mutex mutex;
  BenchRig* rig = nullptr;
  bool over = false;
};

InterruptGuard::InterruptGuard() : state_(std::make_shared<State>()) {
  sigset_t signals;
  sigemptyset(&signals);
  for (int number : {SIGINT, SIGTERM, SIGHUP, SIGUSR2}) sigaddset(&signals, number);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  thread_ = std::thread([state = state_, signals] {
    int number = 0;
    sigwait(&signals, &number);
    std::lock_guard lock(state->mutex);
    if (state->over) return;
    if (state->rig != nullptr) state->rig->TearDown();
    _exit(number == SIGINT ? 130 : 128 + number);
  });
}

InterruptGuard::~InterruptGuard() {
  {
    std::lock_guard lock(state_->mutex);
    state_->over = true;
  }
  pthread_kill(thread_.native_handle(), SIGUSR2);
  thread_.join();
}

std::shared_ptr<void> InterruptGuard::Protect(BenchRig* rig) {
  std::lock_guard lock(state_->mutex);
  state_->rig = rig;
  return {rig, [state = state_](void*) {
            std::lock_guard lock(state->mutex);
            state->over = true;
          }};
}

}  // namespace joinq::cli
