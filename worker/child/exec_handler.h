// Handlers that run a program for each task: --exec NAME='cmd args'.
//
// The payload goes to the program's standard input (it need not read it), its
// standard output is the result, its exit status the verdict (0 is success),
// and the last 4 KiB of its standard error go into the error's detail (all of it
// goes on to the child's own standard error). It finds
// JOINQ_TASK_ID, _ATTEMPT, _QUEUE, _HANDLER, _EPOCH, _SEQUENCE, with a time limit
// _SECONDS_LEFT, and _HEADER_<NAME> for each header (capitals, digits, the rest as _)
// in its environment, and runs in the child's process group, so it ends with it. When
// the task is cancelled or past its soft time limit the program gets SIGUSR1,
// which ends it unless it says otherwise; SIGTERM of the hard time limit leaves
// it the grace to end in order.
// It may say how far it is and put tasks: see exec_channel.h.
// No shell is involved.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/names.h"
#include "joinq/worker.h"

namespace joinq {

inline constexpr size_t kResultBytesMax = kPayloadBytesMaxDefault;
inline constexpr size_t kStderrTailBytes = 4096;

struct ExecSpec {
  std::string name;
  std::string program;            // an absolute or relative path, found and executable
  std::vector<std::string> argv;  // as the user wrote it, never empty
};

// Splits as a shell would: blanks separate; '...' and "..." group; a backslash
// keeps the next character (inside "..." only before " and \). Nothing is expanded.
absl::StatusOr<std::vector<std::string>> SplitCommand(std::string_view command);

// A program's name to an executable file: as it is if it has a slash, else looked up in PATH.
absl::StatusOr<std::string> FindProgram(const std::string& program);

// Reads NAME='cmd args' and looks the program up in PATH. The error says what is wrong.
absl::StatusOr<ExecSpec> ParseExec(std::string_view text);

// Thrown when a limit ended the program.
class LimitError : public HandlerError {
 public:
  enum class Kind { kSoftTime, kCpuTime };
  LimitError(Kind kind, const std::string& message, std::string detail)
      : HandlerError(message, std::move(detail)), kind_(kind) {}
  Kind kind() const { return kind_; }

 private:
  Kind kind_;
};

// The handler; throws HandlerError as any other would.
Handler MakeExecHandler(ExecSpec spec);

}  // namespace joinq
