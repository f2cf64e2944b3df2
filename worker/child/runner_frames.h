// The frames between a child and its runner program (docs/child-protocol.md):
// two big-endian 32-bit lengths, a JSON object, payload bytes. Pure.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/child/frames.h"

namespace joinq {

inline constexpr int kRunnerProtocol = 1;
inline constexpr size_t kRunnerLengthsBytes = 8;
inline constexpr size_t kRunnerFrameBytesMax = 16u << 20;  // the lengths included
inline constexpr size_t kRunnerHeaderBytesMax = 1u << 20;

// Bytes of `header` that are not UTF-8 are replaced. The frame must not exceed the limits.
void AppendRunnerFrame(const nlohmann::json& header, std::string_view payload, std::string& out);

struct RunnerFrame {
  std::string_view header;  // not yet looked at
  std::string_view payload;
};

// Takes the first frame off `in`. kIncomplete and kMalformed (a length past its
// limit, known as soon as it is there) leave it alone.
Parse TakeRunnerFrame(std::string_view& in, RunnerFrame& frame);
// Says what TakeRunnerFrame finds malformed, with the bytes it begins with.
std::string DescribeMalformed(std::string_view in);

struct RunnerHello {
  int64_t protocol = 0;
  std::vector<std::string> handlers;
  bool signal = false;
};
struct RunnerResult {
  enum class Kind { kHandlerError, kBadArguments, kTimeLimit };
  std::string id;
  bool done = false;
  std::string content_type;  // when done
  Kind kind = Kind::kHandlerError;
  std::string message;
  std::string detail;
  bool final = false;
};
struct RunnerLog {
  std::string level;
  std::string text;
};
struct RunnerProgress {
  std::string text;  // empty: nothing is said
};
using RunnerMessage = std::variant<RunnerHello, RunnerResult, RunnerLog, RunnerProgress>;

// What a runner said. The error names the field at fault; unknown fields are passed over.
absl::StatusOr<RunnerMessage> ReadRunnerMessage(std::string_view header);

}  // namespace joinq
