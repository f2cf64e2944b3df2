// Judges a history against what the broker guarantees. Pure: the same history always
// gets the same verdict. A rule counts only what is certain whatever the broker and the
// network did between a call and its answer, so a violation is never a false alarm.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

#include "tests/fault/history.h"

namespace joinq::testing {

struct Violation {
  enum class Kind {
    kLost,                // put acknowledged, completed by nobody, not in the queue
    kDeliveredAfterDone,  // a get that began after a completion was acknowledged got the task
    kStaleCompletion,     // a completion was accepted whose token was not the task's newest
    kCompletedTwice,      // with two different tokens
    kUnexpected,          // delivered, and nobody had put it
    kDuplicate,           // two tasks of one put
    kUnsoundJoin,         // returned although some task was unfinished at every instant
    kTokenNotGreater,     // a later delivery of a task without a greater token
    kTooFew,              // the run saw too little to prove anything
  };
  Kind kind;
  std::string text;
};

const char* ToString(Violation::Kind kind);

// A run with fewer of these proves too little and fails.
struct Floors {
  uint64_t acknowledged = 1;
  uint64_t deliveries = 1;
  uint64_t disturbances = 0;
  uint64_t joins = 0;
};

struct Counts {
  uint64_t acknowledged = 0;   // puts
  uint64_t refused = 0;        // puts
  uint64_t unknown = 0;        // puts
  uint64_t unknown_there = 0;  // those of them that turned out to have happened
  uint64_t deliveries = 0;     // runs of handlers among them
  uint64_t redelivered = 0;    // tasks that were delivered more than once
  uint64_t completions = 0;    // acknowledged ones
  uint64_t stale = 0;          // completions that were refused
  uint64_t unanswered = 0;     // completions without an answer
  uint64_t joins = 0;          // that returned
  uint64_t disturbances = 0;
  Instant longest_recovery = 0;
  Instant longest_silence = 0;  // between two calls with an answer

  Counts& operator+=(const Counts& other);
};

struct Verdict {
  std::vector<Violation> violations;
  Counts counts;

  bool ok() const { return violations.empty(); }
  uint64_t Count(Violation::Kind kind) const;
};

Verdict Check(const History& history, const Floors& floors);

std::ostream& operator<<(std::ostream& out, const Counts& counts);
// The counts and the first violations of each kind.
std::ostream& operator<<(std::ostream& out, const Verdict& verdict);

}  // namespace joinq::testing
