#include "worker/child/runner.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "worker/process/death.h"

namespace joinq {
namespace {

using Event = RunnerProcess::Event;
using nlohmann::json;

constexpr auto kStopTime = std::chrono::seconds(1);
constexpr int kLateMessagesMax = 1000;  // looked at between two tasks

// To where a handler's own words would go.
void Say(std::string_view text) {
  while (!text.empty()) {
    const ssize_t wrote = write(STDERR_FILENO, text.data(), text.size());
    if (wrote < 0 && errno != EINTR) return;
    if (wrote > 0) text.remove_prefix(static_cast<size_t>(wrote));
  }
}

std::string HowItEnded(int wait_status) {
  if (WIFSIGNALED(wait_status))
    return absl::StrCat("signal ", WTERMSIG(wait_status), ", ", SignalName(WTERMSIG(wait_status)));
  return absl::StrCat("exit status ", WEXITSTATUS(wait_status));
}

// A limit on CPU time counts for the program's whole life: one that used half is replaced between tasks.
bool SpentCpu(const RunnerProcess& process) {
  rlimit cpu{};
  if (getrlimit(RLIMIT_CPU, &cpu) != 0 || cpu.rlim_cur == RLIM_INFINITY) return false;
  return process.CpuTimeMs() >= cpu.rlim_cur * 500;
}

json TaskMessage(const TaskContext& task) {
  json message{{"type", "task"},
               {"id", absl::StrCat(task.task_id)},
               {"attempt", task.attempt},
               {"epoch", absl::StrCat(task.epoch)},
               {"sequence", absl::StrCat(task.sequence)},
               {"queue", task.queue},
               {"handler", task.handler},
               {"content_type", task.content_type}};
  if (task.deadline != std::chrono::steady_clock::time_point::max()) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(task.deadline - std::chrono::steady_clock::now());
    message["deadline_ms"] = std::max<int64_t>(left.count(), 0);
  }
  if (!task.headers.empty()) {
    json& headers = message["headers"] = json::array();
    for (const HeaderView& each : task.headers) headers.push_back({each.name, each.value});
  }
  return message;
}

// Passes on, once each, that the task should end.
class Asker {
 public:
  Asker(const TaskContext& task, RunnerProcess& process, bool takes_signal)
      : task_(task), process_(process), takes_signal_(takes_signal) {}

  void Ask() {
    if (!soft_ && task_.soft_time_limit_passed()) Send(soft_, "soft_time_limit");
    if (!cancelled_ && task_.cancelled()) Send(cancelled_, "cancelled");
    // Behind the message, which then is there to be read.
    if (!signal_due_ || !process_.all_sent()) return;
    signal_due_ = false;
    process_.Signal(kAskSignal);
  }
  bool soft() const { return soft_; }
  bool asked() const { return soft_ || cancelled_; }

 private:
  void Send(bool& done, const char* reason) {
    done = true;
    process_.Send({{"type", "cancel"}, {"id", absl::StrCat(task_.task_id)}, {"reason", reason}}, "");
    signal_due_ = takes_signal_;
  }

  const TaskContext& task_;
  RunnerProcess& process_;
  const bool takes_signal_;
  bool soft_ = false, cancelled_ = false, signal_due_ = false;
};

}  // namespace

Runner::Runner(RunnerSpec spec, uint32_t start_timeout_ms)
    : spec_(std::move(spec)), start_timeout_ms_(start_timeout_ms) {}

HandlerResult Runner::Run(const TaskContext& task, std::string_view payload) {
  TaskSignals signals;
  if (process_ && SpentCpu(*process_)) Stop();
  if (process_) {
    if (const std::string why = Unfit(signals); !why.empty()) {
      Say(absl::StrCat(Named(), " ", why, "; a new one is started\n"));
      process_.reset();
    }
  }
  Answer answer;
  try {
    const bool fresh = !process_;
    if (fresh) Start(task, signals);
    auto found = Await(task, payload, signals);
    if (!found && !fresh) {
      // It was about to die, for reasons of its own.
      Start(task, signals);
      found = Await(task, payload, signals);
    }
    if (!found) throw RunnerCrash(absl::StrCat(Named(), " ends after its hello, without reading a task"));
    answer = *std::move(found);
  } catch (...) {
    process_.reset();  // whatever state it is in
    throw;
  }
  if (!answer.result.done) ThrowFailure(answer);
  return {std::move(answer.payload), std::move(answer.result.content_type)};
}

void Runner::Start(const TaskContext& task, const TaskSignals& signals) {
  process_.reset();
  process_ = std::make_unique<RunnerProcess>(spec_);
  const auto until = RunnerProcess::Clock::now() + std::chrono::milliseconds(start_timeout_ms_);
  for (;;) {
    task.check();  // nothing has begun: there is nobody to ask
    const Event event = process_->Next(signals.let_in(), until);
    if (event == Event::kInterrupted) continue;
    if (event == Event::kTimeout) {
      throw HandlerError(absl::StrFormat("%s did not start: no hello within %g s (--runner-start-timeout)",
                                         Named(), start_timeout_ms_ / 1000.0));
    }
    if (event != Event::kFrame)
      throw HandlerError(absl::StrCat(Named(), " did not start: it ", Describe(event)));
    const auto message = Read();
    if (!message.ok())
      throw HandlerError(
          absl::StrCat(Named(), " did not start: it broke the protocol: ", message.status().message()));
    if (std::holds_alternative<RunnerLog>(*message)) continue;
    const auto* hello = std::get_if<RunnerHello>(&*message);
    if (hello == nullptr)
      throw HandlerError(absl::StrCat(Named(), " did not start: its first message is no hello"));
    if (hello->protocol != kRunnerProtocol) {
      throw HandlerError(absl::StrCat(Named(), " speaks version ", hello->protocol,
                                      " of the protocol, this worker version ", kRunnerProtocol));
    }
    std::vector<std::string> missing;
    for (const auto& name : spec_.names) {
      if (std::find(hello->handlers.begin(), hello->handlers.end(), name) == hello->handlers.end())
        missing.push_back(name);
    }
    if (!missing.empty()) {
      throw HandlerError(absl::StrCat(
          Named(), " does not serve ", absl::StrJoin(missing, ", "), ", which --runner names; it serves ",
          hello->handlers.empty() ? "nothing" : absl::StrJoin(hello->handlers, ", ")));
    }
    takes_signal_ = hello->signal;
    return;
  }
}

std::string Runner::Unfit(const TaskSignals& signals) {
  // What it said since its last result.
  for (int i = 0; i < kLateMessagesMax; ++i) {
    const Event event = process_->Next(signals.let_in(), RunnerProcess::Clock::now());
    if (event == Event::kTimeout) return "";
    if (event == Event::kSent || event == Event::kInterrupted) continue;
    if (event != Event::kFrame) return absl::StrCat(Describe(event), " between two tasks");
    const auto message = Read();
    if (!message.ok())
      return absl::StrCat("broke the protocol between two tasks: ", message.status().message());
    if (!std::holds_alternative<RunnerLog>(*message) && !std::holds_alternative<RunnerProgress>(*message))
      return "broke the protocol between two tasks: a hello or a result that nobody waits for";
  }
  return "";
}

std::optional<Runner::Answer> Runner::Await(const TaskContext& task, std::string_view payload,
                                            const TaskSignals& signals) {
  const std::string id = absl::StrCat(task.task_id);
  const size_t size = process_->Send(TaskMessage(task), payload);
  Asker asker(task, *process_, takes_signal_);
  bool has_task = process_->all_sent();
  for (;;) {
    if (has_task) asker.Ask();
    const Event event = process_->Next(signals.let_in());
    has_task = has_task || process_->all_sent();
    if (event == Event::kSent || event == Event::kInterrupted || event == Event::kTimeout) continue;
    if (event == Event::kMalformed) throw RunnerCrash(absl::StrCat(Named(), " ", Describe(event)));
    if (event != Event::kFrame) {
      if (!asker.asked() && process_->Unread() >= size) return std::nullopt;
      const std::string how = Describe(event);
      if (event == Event::kEnded && WIFSIGNALED(process_->WaitStatus()) &&
          WTERMSIG(process_->WaitStatus()) == SIGXCPU) {
        throw LimitError(LimitError::Kind::kCpuTime, absl::StrCat(Named(), " ", how, ": --max-cpu-per-child"),
                         "");
      }
      throw RunnerCrash(absl::StrCat(Named(), " ", how, " in the middle of a task"));
    }
    auto message = Read();
    if (!message.ok())
      throw RunnerCrash(absl::StrCat(Named(), " broke the protocol: ", message.status().message()));
    if (const auto* progress = std::get_if<RunnerProgress>(&*message);
        progress != nullptr && !progress->text.empty())
      task.progress(progress->text);
    if (std::holds_alternative<RunnerHello>(*message))
      throw RunnerCrash(absl::StrCat(Named(), " broke the protocol: a second hello"));
    auto* result = std::get_if<RunnerResult>(&*message);
    if (result == nullptr) continue;
    if (result->id != id) {
      throw RunnerCrash(absl::StrCat(Named(), " broke the protocol: a result of task \"",
                                     absl::CHexEscape(result->id.substr(0, 40)), "\" while task ", id,
                                     " runs"));
    }
    if (!has_task)
      throw RunnerCrash(
          absl::StrCat(Named(), " broke the protocol: a result before it had read the whole task"));
    return Answer{std::move(*result), std::string(process_->frame().payload), asker.soft()};
  }
}

void Runner::ThrowFailure(const Answer& answer) const {
  const RunnerResult& result = answer.result;
  const std::string message = result.message.empty() ? "failed, and said no more" : result.message;
  switch (result.kind) {
    case RunnerResult::Kind::kBadArguments:
      throw DecodeError(message);
    case RunnerResult::Kind::kTimeLimit:
      if (answer.asked_soft) throw LimitError(LimitError::Kind::kSoftTime, message, result.detail);
      break;  // nobody asked it
    case RunnerResult::Kind::kHandlerError:
      break;
  }
  throw HandlerError(message, result.detail, result.final);
}

void Runner::Stop() {
  if (!process_) return;
  process_->Send({{"type", "shutdown"}}, "");
  process_->End(RunnerProcess::Clock::now() + kStopTime);
  process_.reset();
}

absl::StatusOr<RunnerMessage> Runner::Read() const {
  auto message = ReadRunnerMessage(process_->frame().header);
  if (message.ok()) {
    if (const auto* log = std::get_if<RunnerLog>(&*message))
      Say(absl::StrCat(log->level, ": ", absl::StripTrailingAsciiWhitespace(log->text), "\n"));
  }
  return message;
}

std::string Runner::Describe(Event event) {
  if (event == Event::kMalformed) return absl::StrCat("broke the protocol: ", process_->complaint());
  if (event == Event::kEnded) return absl::StrCat("died (", HowItEnded(process_->WaitStatus()), ")");
  return "closed its end of the protocol's pipes";
}

std::string Runner::Named() const {
  return absl::StrCat("the runner `", spec_.command, "`");
}

}  // namespace joinq
