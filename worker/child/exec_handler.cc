#include "worker/child/exec_handler.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "worker/child/exec_channel.h"
#include "worker/child/program.h"
#include "worker/child/task_signals.h"
#include "worker/limits.h"
#include "worker/process/pidfd.h"

namespace joinq {
namespace {

struct Pipe {
  Pipe() {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) ThrowErrno("pipe", errno);
    read.Reset(fds[0]);
    write.Reset(fds[1]);
  }
  UniqueFd read;
  UniqueFd write;
};

// One run of a program. Reaps it on every way out.
class Run {
 public:
  Run(const ExecSpec& spec, const TaskContext& task, std::string_view input)
      : task_(task), channel_(task), input_(input) {
    Spawn(spec, task);
  }
  ~Run() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      Wait();
    }
  }
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  std::string Finish() {
    Pump();
    const int status = Wait();
    const std::string tail = std::move(error_tail_);
    if (WIFSIGNALED(status)) {
      const std::string why =
          absl::StrCat("killed by signal ", WTERMSIG(status), " (", strsignal(WTERMSIG(status)), ")");
      if (WTERMSIG(status) == kAskSignal && task_.soft_time_limit_passed())
        throw LimitError(LimitError::Kind::kSoftTime, why, tail);
      if (WTERMSIG(status) == SIGXCPU)
        throw LimitError(LimitError::Kind::kCpuTime, absl::StrCat(why, ": --max-cpu-per-child"), tail);
      throw HandlerError(why, tail);
    }
    if (WEXITSTATUS(status) != 0) throw HandlerError(absl::StrCat("exit status ", WEXITSTATUS(status)), tail);
    if (auto rest = channel_.ReadRest(); !rest.ok())
      throw HandlerError(std::string(rest.message()), tail, true);
    return std::move(output_);
  }

 private:
  void Spawn(const ExecSpec& spec, const TaskContext& task) {
    Pipe in, out, error;
    // Everything the new process needs is made before the spawn.
    std::vector<std::string> variables{absl::StrCat("JOINQ_TASK_ID=", task.task_id),
                                       absl::StrCat("JOINQ_TASK_ATTEMPT=", task.attempt),
                                       absl::StrCat("JOINQ_TASK_QUEUE=", std::string(task.queue)),
                                       absl::StrCat("JOINQ_TASK_HANDLER=", std::string(task.handler)),
                                       absl::StrCat("JOINQ_TASK_EPOCH=", task.epoch),
                                       absl::StrCat("JOINQ_TASK_SEQUENCE=", task.sequence)};
    if (task.deadline != std::chrono::steady_clock::time_point::max()) {
      const std::chrono::duration<double> left = task.deadline - std::chrono::steady_clock::now();
      variables.push_back(absl::StrFormat("JOINQ_TASK_SECONDS_LEFT=%.3f", std::max(0.0, left.count())));
    }
    for (const auto& header : task.headers) {
      if (header.value.find('\0') != header.value.npos) continue;  // cannot be said
      std::string name = "JOINQ_TASK_HEADER_";
      for (char c : header.name)
        name += absl::ascii_isalnum(static_cast<unsigned char>(c))
                    ? absl::ascii_toupper(static_cast<unsigned char>(c))
                    : '_';
      variables.push_back(absl::StrCat(name, "=", std::string(header.value)));
    }
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in.read.get(), 0);
    posix_spawn_file_actions_adddup2(&actions, out.write.get(), 1);
    posix_spawn_file_actions_adddup2(&actions, error.write.get(), 2);
    channel_.Prepare(variables, &actions);
    posix_spawn_file_actions_addclosefrom_np(&actions, ExecChannel::kFirstFree);
    pid_ = StartProgram(spec.program, spec.argv, variables, &actions);
    pidfd_ = OpenPidfd(pid_);
    if (!pidfd_.valid()) {
      const int error = errno;
      kill(pid_, SIGKILL);
      Wait();
      ThrowErrno("pidfd_open", error);
    }
    channel_.Started();
    in_ = std::move(in.write);
    out_ = std::move(out.read);
    error_ = std::move(error.read);
    SetNonBlocking(in_);
    SetNonBlocking(out_);
    SetNonBlocking(error_);
  }

  // Feeds and drains until the program has ended. Its own children may hold the
  // pipes open for longer; what they write after that is not waited for.
  void Pump() {
    if (input_.empty()) in_.Reset();
    for (;;) {
      pollfd polled[6] = {{pidfd_.get(), POLLIN, 0},       {in_.get(), POLLOUT, 0},
                          {out_.get(), POLLIN, 0},         {error_.get(), POLLIN, 0},
                          {channel_.control(), POLLIN, 0}, {channel_.progress(), POLLIN, 0}};
      Ask();
      if (ppoll(polled, 6, nullptr, signals_.let_in()) < 0) {
        if (errno == EINTR) continue;
        ThrowErrno("poll", errno);
      }
      if (polled[1].revents != 0) Feed();
      const bool ended = polled[0].revents != 0;
      if (polled[2].revents != 0 || ended)
        Drain(out_, ended, [this](const char* data, size_t n) { Keep(data, n); });
      if (polled[3].revents != 0 || ended)
        Drain(error_, ended, [this](const char* data, size_t n) { KeepTail(data, n); });
      if (polled[4].revents != 0 || polled[5].revents != 0 || ended) {
        if (auto status = channel_.Read(ended); !status.ok())
          throw HandlerError(std::string(status.message()), error_tail_, true);
      }
      if (ended) return;
    }
  }

  // Passes on that the task should end. The signal is only let in while ppoll waits.
  void Ask() {
    if (!asked_soft_ && task_.soft_time_limit_passed()) {
      asked_soft_ = true;
      kill(pid_, kAskSignal);
    }
    if (!asked_cancel_ && task_.cancelled()) {
      asked_cancel_ = true;
      kill(pid_, kAskSignal);
    }
  }

  void Feed() {
    const ssize_t wrote = write(in_.get(), input_.data(), std::min<size_t>(input_.size(), 64 << 10));
    if (wrote < 0) {
      if (errno != EAGAIN && errno != EINTR) in_.Reset();  // it does not want to read: fine
      return;
    }
    input_.remove_prefix(static_cast<size_t>(wrote));
    if (input_.empty()) in_.Reset();
  }

  template <typename Take>
  void Drain(UniqueFd& from, bool ended, Take take) {
    char buffer[16384];
    int left = 0;  // of what was there at its end
    if (ended && from.valid()) ioctl(from.get(), FIONREAD, &left);
    // Who writes without end must not keep a cancel from being seen.
    for (int reads = 0; (reads < 8 || left > 0) && from.valid(); ++reads) {
      const ssize_t got = read(from.get(), buffer, sizeof buffer);
      if (got > 0) {
        left -= static_cast<int>(got);
        take(buffer, static_cast<size_t>(got));
      } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
        from.Reset();
      } else if (errno == EAGAIN) {
        return;
      }
    }
  }

  void Keep(const char* data, size_t size) {
    if (output_.size() + size > kResultBytesMax) {
      throw HandlerError(absl::StrCat("wrote more than ", kResultBytesMax, " bytes to its standard output"),
                         error_tail_, true);
    }
    output_.append(data, size);
  }

  void KeepTail(const char* data, size_t size) {
    // Also where a handler's own words would go.
    for (size_t at = 0; at < size;) {
      const ssize_t wrote = write(STDERR_FILENO, data + at, size - at);
      if (wrote < 0 && errno != EINTR) break;
      if (wrote > 0) at += static_cast<size_t>(wrote);
    }
    error_tail_.append(data, size);
    if (error_tail_.size() > kStderrTailBytes) error_tail_.erase(0, error_tail_.size() - kStderrTailBytes);
  }

  int Wait() {
    int status = 0;
    while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return status;
  }

  const TaskContext& task_;
  ExecChannel channel_;
  TaskSignals signals_;
  bool asked_soft_ = false, asked_cancel_ = false;
  std::string_view input_;
  pid_t pid_ = -1;
  UniqueFd pidfd_, in_, out_, error_;
  std::string output_;
  std::string error_tail_;
};

bool IsProgram(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && access(path.c_str(), X_OK) == 0;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> SplitCommand(std::string_view command) {
  std::vector<std::string> words;
  std::string word;
  bool in_word = false;
  char quote = 0;
  for (size_t i = 0; i < command.size(); ++i) {
    const char c = command[i];
    if (c == '\0') return absl::InvalidArgumentError("contains a NUL byte");
    if (quote != 0) {
      const bool escape = quote == '"' && c == '\\' && i + 1 < command.size() &&
                          (command[i + 1] == '"' || command[i + 1] == '\\');
      if (c == quote) {
        quote = 0;
      } else {
        word += escape ? command[++i] : c;
      }
    } else if (c == '\'' || c == '"') {
      quote = c;
      in_word = true;
    } else if (c == '\\') {
      if (++i == command.size()) return absl::InvalidArgumentError("ends with a backslash");
      word += command[i];
      in_word = true;
    } else if (c == ' ' || c == '\t' || c == '\n') {
      if (in_word) words.push_back(std::exchange(word, {}));
      in_word = false;
    } else {
      word += c;
      in_word = true;
    }
  }
  if (quote != 0) return absl::InvalidArgumentError(absl::StrCat("has an unclosed ", std::string(1, quote)));
  if (in_word) words.push_back(std::move(word));
  if (words.empty() || words[0].empty()) return absl::InvalidArgumentError("names no program");
  return words;
}

absl::StatusOr<std::string> FindProgram(const std::string& program) {
  if (program.find('/') != std::string::npos) {
    if (IsProgram(program)) return program;
    return absl::NotFoundError(absl::StrCat("\"", program, "\" is not an executable file"));
  }
  const char* path = getenv("PATH");
  for (const auto& folder : absl::StrSplit(path == nullptr ? "/usr/bin:/bin" : path, ':')) {
    std::string file = absl::StrCat(folder.empty() ? "." : std::string(folder), "/", program);
    if (IsProgram(file)) return file;
  }
  return absl::NotFoundError(absl::StrCat("no program \"", program, "\" in PATH"));
}

absl::StatusOr<ExecSpec> ParseExec(std::string_view text) {
  const size_t equals = text.find('=');
  if (equals == std::string_view::npos) return absl::InvalidArgumentError("must be NAME='command args'");
  ExecSpec spec;
  spec.name = std::string(text.substr(0, equals));
  if (auto status = CheckName("handler name", spec.name); !status.ok()) return status;
  auto argv = SplitCommand(text.substr(equals + 1));
  if (!argv.ok())
    return absl::InvalidArgumentError(
        absl::StrCat("the command of \"", spec.name, "\" ", argv.status().message()));
  spec.argv = *std::move(argv);
  auto program = FindProgram(spec.argv[0]);
  if (!program.ok()) return program.status();
  spec.program = *std::move(program);
  return spec;
}

Handler MakeExecHandler(ExecSpec spec) {
  return [spec = std::move(spec)](const TaskContext& task, std::string_view payload) {
    return HandlerResult{Run(spec, task, payload).Finish(), ""};
  };
}

}  // namespace joinq
