#include "tests/fault/history.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <tuple>
#include <utility>

namespace joinq::testing {

using Kind = Operation::Kind;
using Answer = Operation::Answer;

const char* ToString(Kind kind) {
  static constexpr const char* kNames[] = {"put",  "delivery", "run",     "done",
                                           "bury", "fail",     "release", "join"};
  return kNames[static_cast<int>(kind)];
}

const char* ToString(Answer answer) {
  static constexpr const char* kNames[] = {"ok", "refused", "unknown"};
  return kNames[static_cast<int>(answer)];
}

std::string ToString(const Operation& operation) {
  std::ostringstream out;
  out << ToString(operation.kind);
  if (operation.payload == kForeign) {
    out << " of a foreign payload";
  } else if (operation.payload != 0) {
    out << " of payload " << operation.payload;
  }
  if (operation.task != 0) out << " task " << operation.task;
  if (operation.token != Token{})
    out << " token " << operation.token.epoch << "-" << operation.token.sequence;
  out << " " << ToString(operation.answer) << " [" << operation.start << ", " << operation.end << "]";
  return out.str();
}

Recorder::Tape* Recorder::NewTape() {
  std::lock_guard lock(mutex_);
  return tapes_.emplace_back(std::make_unique<Tape>()).get();
}

void Recorder::Disturbed(Disturbance disturbance) {
  std::lock_guard lock(mutex_);
  disturbances_.push_back(std::move(disturbance));
}

History Recorder::Take() {
  std::lock_guard lock(mutex_);
  History history;
  for (auto& tape : tapes_) {
    history.operations.insert(history.operations.end(), tape->begin(), tape->end());
  }
  tapes_.clear();
  history.disturbances = std::move(disturbances_);
  disturbances_.clear();
  return history;
}

CallLog::CallLog(const std::string& path)
    : fd_(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)) {
  if (fd_ < 0) std::perror(path.c_str());
}

CallLog::~CallLog() {
  ::close(fd_);
}

// One write a call: what it wrote survives the death of the process, and appends of
// several processes to one file do not mix.
void CallLog::Write(char mark, const std::vector<Operation>& operations) {
  std::string text;
  char line[200];
  for (const Operation& o : operations) {
    const int length = std::snprintf(line, sizeof(line), "%c %d %d %lu %lu %lu %lu %ld %ld\n", mark,
                                     static_cast<int>(o.kind), static_cast<int>(o.answer), o.payload, o.task,
                                     o.token.epoch, o.token.sequence, o.start, o.end);
    text.append(line, static_cast<size_t>(length));
  }
  if (::write(fd_, text.data(), text.size()) != static_cast<ssize_t>(text.size())) std::perror("call log");
}

void CallLog::Invoked(std::vector<Operation>* operations) {
  for (Operation& o : *operations) {
    o.start = Now();
    o.end = 0;
    o.answer = Answer::kUnknown;
  }
  Write('?', *operations);
}

void CallLog::Answered(const std::vector<Operation>& operations) {
  Write('!', operations);
}

void CallLog::Record(const std::vector<Operation>& operations) {
  Write('=', operations);
}

std::vector<Operation> ReadCallLog(const std::string& path) {
  std::ifstream in(path);
  std::vector<Operation> operations;
  // The open calls, by what tells two of them apart.
  std::map<std::tuple<int, uint64_t, Token, Instant>, size_t> open;
  Instant last = 0;
  for (std::string line; std::getline(in, line) && !in.eof();) {
    char mark = 0;
    int kind = 0, answer = 0;
    Operation o;
    if (std::sscanf(line.c_str(), "%c %d %d %lu %lu %lu %lu %ld %ld", &mark, &kind, &answer, &o.payload,
                    &o.task, &o.token.epoch, &o.token.sequence, &o.start, &o.end) != 9) {
      continue;
    }
    o.kind = static_cast<Kind>(kind);
    o.answer = static_cast<Answer>(answer);
    last = std::max({last, o.start, o.end});
    const auto key = std::tuple(kind, o.task, o.token, o.start);
    if (mark == '!') {
      if (auto it = open.find(key); it != open.end()) {
        operations[it->second] = o;
        open.erase(it);
      }
      continue;
    }
    if (mark == '?') open[key] = operations.size();
    operations.push_back(o);
  }
  // A call that was cut off ended with its process at the latest.
  for (const auto& [key, index] : open) operations[index].end = std::max(last, operations[index].start);
  return operations;
}

std::vector<Operation> HeldAtTheEnd(const std::vector<Operation>& operations) {
  std::set<std::pair<uint64_t, Token>> tried;
  for (const Operation& o : operations) {
    if (o.kind != Kind::kDelivery) tried.insert({o.task, o.token});
  }
  std::vector<Operation> held;
  for (const Operation& o : operations) {
    if (o.kind == Kind::kDelivery && o.answer == Answer::kOk && !tried.contains({o.task, o.token}))
      held.push_back(o);
  }
  return held;
}

}  // namespace joinq::testing
