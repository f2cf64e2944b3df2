// What clients of a broker asked and what they were told, with the times: the material
// that the checker judges. Nothing here talks to a broker.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace joinq::testing {

// Nanoseconds of the monotonic clock, which all processes of a host share.
using Instant = int64_t;
inline Instant Now() {
  return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}
inline double Seconds(Instant span) {
  return static_cast<double>(span) / 1e9;
}

struct Token {
  uint64_t epoch = 0, sequence = 0;
  auto operator<=>(const Token&) const = default;
};

// The payload of a delivery that no producer can have written.
inline constexpr uint64_t kForeign = ~uint64_t{0};

struct Operation {
  enum class Kind : uint8_t {
    kPut,
    kDelivery,  // an answer of get: one operation a task
    kRun,       // a handler began: its delivery was earlier, nobody saw when
    kDone,
    kBury,  // a failure for good: it ends the task as kDone does
    kFail,  // the task comes back
    kRelease,
    kJoin,
  };
  // Unknown: the call ended without the broker's answer, so it may have had its effect,
  // or may still have it.
  enum class Answer : uint8_t { kOk, kRefused, kUnknown };

  Kind kind = Kind::kPut;
  Answer answer = Answer::kOk;
  uint64_t payload = 0;  // the number that a payload stands for (see payload.h)
  uint64_t task = 0;     // 0: not known
  Token token = {};
  Instant start = 0, end = 0;
};

const char* ToString(Operation::Kind kind);
const char* ToString(Operation::Answer answer);
std::string ToString(const Operation& operation);

// A process that was killed or stopped at `at`. If nothing could go on without it, it ran
// again from `until`; else that is 0.
struct Disturbance {
  std::string what;
  Instant at = 0, until = 0;
  bool restart = false;  // the broker lost its connections and what it had not committed
};

struct History {
  std::vector<Operation> operations;
  std::vector<Disturbance> disturbances;
  // Ids of tasks that the queue still held when all was over.
  std::vector<uint64_t> left;
};

// Gathers a history from many threads: each appends to a tape of its own.
class Recorder {
 public:
  using Tape = std::vector<Operation>;
  // Valid as long as the recorder.
  Tape* NewTape();
  void Disturbed(Disturbance disturbance);
  // All tapes in one. Their threads must have ended.
  History Take();

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Tape>> tapes_;
  std::vector<Disturbance> disturbances_;
};

// How a process that may be killed at any moment records: a line before each call and a
// line after it, each a single write. A call without its second line has no answer.
class CallLog {
 public:
  explicit CallLog(const std::string& path);
  ~CallLog();
  CallLog(const CallLog&) = delete;
  CallLog& operator=(const CallLog&) = delete;

  // The operations of one call, as far as they are known before it.
  void Invoked(std::vector<Operation>* operations);
  // The same ones, with their answer.
  void Answered(const std::vector<Operation>& operations);
  // Operations that are known with their answers only (deliveries, runs).
  void Record(const std::vector<Operation>& operations);

 private:
  void Write(char mark, const std::vector<Operation>& operations);
  int fd_;
};

// Reads what a CallLog wrote; a torn last line counts as not written.
std::vector<Operation> ReadCallLog(const std::string& path);

// The deliveries that their consumer has not tried to finish in any way.
std::vector<Operation> HeldAtTheEnd(const std::vector<Operation>& operations);

}  // namespace joinq::testing
