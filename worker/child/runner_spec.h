// What --runner says: the handlers of a long-lived program and how to start it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace joinq {

struct RunnerSpec {
  std::vector<std::string> names;  // of its handlers, never empty
  std::string program;             // an absolute or relative path, found and executable
  std::vector<std::string> argv;   // as the user wrote it, never empty
  std::string command;             // the same in one line, for people
};

// Reads NAME[,NAME...]='cmd args' (words as in --exec) and looks the program up in PATH.
// The error says what is wrong.
absl::StatusOr<RunnerSpec> ParseRunner(std::string_view text);

}  // namespace joinq
