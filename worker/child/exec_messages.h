// The lines that a program of --exec writes to JOINQ_CONTROL_FD (docs/child-protocol.md):
// a JSON object each, with the names of the runner's messages. Pure.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "absl/status/statusor.h"
#include "joinq/worker.h"

namespace joinq {

inline constexpr size_t kExecLineBytesMax = 2 << 20;

struct ExecProgress {
  std::string text;
};
// The names and limits of its fields are not checked yet: see TaskContext::put.
struct ExecPut {
  std::string queue;
  std::string handler;
  std::string payload;
  FollowUpOptions options;
};
using ExecMessage = std::variant<ExecProgress, ExecPut>;

// The error names the field and what is wrong with it.
absl::StatusOr<ExecMessage> ReadExecMessage(std::string_view line);

// Cuts what comes in pieces into lines; the newline is not part of them.
class ExecLines {
 public:
  // Calls take(line) for each whole one that is not empty, while that returns true. False: it
  // did not, or a line is longer than kExecLineBytesMax; no more may be added then.
  template <typename Take>
  bool Add(std::string_view bytes, Take take) {
    for (;;) {
      const size_t end = bytes.find('\n');
      if (rest_.size() + std::min(end, bytes.size()) > kExecLineBytesMax) return false;
      rest_.append(bytes.substr(0, end));
      if (end == bytes.npos) return true;
      bytes.remove_prefix(end + 1);
      const std::string line = std::exchange(rest_, {});
      if (!line.empty() && !take(line)) return false;
    }
  }
  // The last line, if it has no end.
  const std::string& rest() const { return rest_; }

 private:
  std::string rest_;
};

}  // namespace joinq
