#include "tests/fault/checker.h"

#include <algorithm>
#include <limits>
#include <map>
#include <ostream>
#include <span>
#include <tuple>
#include <unordered_map>
#include <utility>

namespace joinq::testing {
namespace {

using Kind = Operation::Kind;
using Answer = Operation::Answer;
using Wrong = Violation::Kind;

constexpr Instant kNever = std::numeric_limits<Instant>::max();

bool IsOk(const Operation& o) {
  return o.answer == Answer::kOk;
}
bool IsCompletion(const Operation& o) {
  return o.kind == Kind::kDone || o.kind == Kind::kBury;
}
bool IsHandout(const Operation& o) {
  return (o.kind == Kind::kDelivery || o.kind == Kind::kRun) && IsOk(o);
}

// From the acknowledgement of a put to the first try to complete the task.
struct Span {
  Instant begin = 0, end = 0;
};

class Checker {
 public:
  explicit Checker(const History& history) : history_(history) {}

  Verdict Run(const Floors& floors) {
    CheckPayloads();
    CheckTasks();
    CheckJoins();
    CountDisturbances();
    CheckFloors(floors);
    return std::move(verdict_);
  }

 private:
  using Group = std::span<const Operation* const>;

  void Report(Wrong kind, std::string text) { verdict_.violations.push_back({kind, std::move(text)}); }

  // What was put and what was handed out, by payload.
  void CheckPayloads() {
    Counts& counts = verdict_.counts;
    std::unordered_map<uint64_t, const Operation*> puts;
    for (const Operation& o : history_.operations) {
      if (o.kind != Kind::kPut) continue;
      puts.emplace(o.payload, &o);
      ++(IsOk(o) ? counts.acknowledged : o.answer == Answer::kRefused ? counts.refused : counts.unknown);
    }
    std::vector<std::pair<uint64_t, uint64_t>> payload_tasks;
    uint64_t there = 0;
    for (const Operation& o : history_.operations) {
      if (o.task != 0 && o.payload != kForeign && (IsHandout(o) || (o.kind == Kind::kPut && IsOk(o)))) {
        payload_tasks.emplace_back(o.payload, o.task);
      }
      if (!IsHandout(o)) continue;
      const auto put = puts.find(o.payload);
      if (put == puts.end()) {
        Report(Wrong::kUnexpected, ToString(o) + ": nobody put it");
      } else if (put->second->answer == Answer::kRefused) {
        Report(Wrong::kUnexpected, ToString(o) + ": its put was refused: " + ToString(*put->second));
      } else if (o.end < put->second->start) {
        Report(Wrong::kUnexpected, ToString(o) + ": before its put: " + ToString(*put->second));
      }
    }
    std::sort(payload_tasks.begin(), payload_tasks.end());
    payload_tasks.erase(std::unique(payload_tasks.begin(), payload_tasks.end()), payload_tasks.end());
    for (size_t i = 0; i < payload_tasks.size(); ++i) {
      const auto [payload, task] = payload_tasks[i];
      if (i > 0 && payload_tasks[i - 1].first == payload) {
        Report(Wrong::kDuplicate, "payload " + std::to_string(payload) + " is task " +
                                      std::to_string(payload_tasks[i - 1].second) + " and task " +
                                      std::to_string(task));
        continue;
      }
      const auto put = puts.find(payload);
      there += put != puts.end() && put->second->answer == Answer::kUnknown;
    }
    counts.unknown_there = there;
  }

  void CheckTasks() {
    std::vector<const Operation*> by_task;
    for (const Operation& o : history_.operations) {
      if (o.task != 0) by_task.push_back(&o);
    }
    std::sort(by_task.begin(), by_task.end(), [](const Operation* a, const Operation* b) {
      return std::tie(a->task, a->start, a->end) < std::tie(b->task, b->start, b->end);
    });
    left_ = history_.left;
    std::sort(left_.begin(), left_.end());
    for (size_t begin = 0, end = 0; begin < by_task.size(); begin = end) {
      while (end < by_task.size() && by_task[end]->task == by_task[begin]->task) ++end;
      CheckTask(Group(by_task).subspan(begin, end - begin));
    }
  }

  // All operations of one task, by their start.
  void CheckTask(Group group) {
    const Operation* put = nullptr;
    Instant first_completion = kNever;
    uint64_t handouts = 0;
    for (const Operation* o : group) {
      if (o->kind == Kind::kPut && IsOk(*o)) {
        if (put != nullptr)
          Report(Wrong::kLost, ToString(*o) + ": has the task of another put: " + ToString(*put));
        put = o;
      }
      handouts += IsHandout(*o);
      if (!IsCompletion(*o)) continue;
      if (o->answer != Answer::kRefused) first_completion = std::min(first_completion, o->start);
      Counts& counts = verdict_.counts;
      ++(IsOk(*o) ? counts.completions : o->answer == Answer::kRefused ? counts.stale : counts.unanswered);
    }
    verdict_.counts.deliveries += handouts;
    verdict_.counts.redelivered += handouts > 1;
    if (put != nullptr) unfinished_.push_back({put->end, first_completion});
    const bool there = put != nullptr || handouts > 0;
    if (there && first_completion == kNever &&
        !std::binary_search(left_.begin(), left_.end(), group[0]->task)) {
      Report(Wrong::kLost, ToString(*group[0]) + ": never completed, and not in the queue; handed out " +
                               std::to_string(handouts) + " time(s)");
    }
    CheckPayloadOf(group);
    CheckCompletions(group);
    CheckTokens(group);
  }

  void CheckPayloadOf(Group group) {
    const Operation* first = nullptr;
    for (const Operation* o : group) {
      if (!IsHandout(*o) && !(o->kind == Kind::kPut && IsOk(*o))) continue;
      if (first == nullptr) first = o;
      if (o->payload != first->payload)
        Report(Wrong::kUnexpected, ToString(*o) + ": the task is another payload's: " + ToString(*first));
    }
  }

  void CheckCompletions(Group group) {
    const Operation* done = nullptr;  // the first that was acknowledged
    for (const Operation* o : group) {
      if (!IsCompletion(*o) || !IsOk(*o)) continue;
      if (done == nullptr || o->end < done->end) {
        if (done != nullptr && done->token != o->token)
          Report(Wrong::kCompletedTwice, ToString(*o) + " and " + ToString(*done));
        done = o;
      } else if (o->token != done->token) {
        Report(Wrong::kCompletedTwice, ToString(*done) + " and " + ToString(*o));
      }
    }
    if (done == nullptr) return;
    for (const Operation* o : group) {
      if (!IsHandout(*o)) continue;
      // When a run was delivered is not known: only its token can tell.
      if (o->kind == Kind::kDelivery && o->start > done->end) {
        Report(Wrong::kDeliveredAfterDone, ToString(*o) + " after " + ToString(*done));
      } else if (o->token > done->token && done->token != Token{}) {
        // Before the completion it made the older token void, after it there must be none.
        Report(Wrong::kStaleCompletion, ToString(*done) + " in spite of " + ToString(*o));
      }
    }
  }

  void CheckTokens(Group group) {
    std::vector<const Operation*> deliveries;
    for (const Operation* o : group) {
      if (o->kind == Kind::kDelivery && IsOk(*o)) deliveries.push_back(o);
    }
    for (size_t i = 0; i < deliveries.size(); ++i) {
      for (size_t n = 0; n < i; ++n) {
        const Operation &earlier = *deliveries[n], &later = *deliveries[i];
        const bool apart = earlier.end < later.start;
        if (later.token == earlier.token || (apart && later.token < earlier.token))
          Report(Wrong::kTokenNotGreater, ToString(later) + " after " + ToString(earlier));
      }
    }
  }

  // At each instant of a span some task was certainly unfinished; so it was over the
  // whole of spans that touch. A join within one of those cannot have seen 0.
  void CheckJoins() {
    std::sort(unfinished_.begin(), unfinished_.end(),
              [](const Span& a, const Span& b) { return a.begin < b.begin; });
    std::vector<Span> merged;
    for (const Span& span : unfinished_) {
      if (span.end < span.begin) continue;  // completed before its put's answer was there
      if (!merged.empty() && span.begin <= merged.back().end) {
        merged.back().end = std::max(merged.back().end, span.end);
      } else {
        merged.push_back(span);
      }
    }
    for (const Operation& o : history_.operations) {
      if (o.kind != Kind::kJoin || !IsOk(o)) continue;
      ++verdict_.counts.joins;
      auto after = std::upper_bound(merged.begin(), merged.end(), o.start,
                                    [](Instant at, const Span& span) { return at < span.begin; });
      if (after == merged.begin()) continue;
      const Span& span = *--after;
      if (span.end < o.end) continue;
      Report(Wrong::kUnsoundJoin, ToString(o) + ": something was unfinished from " +
                                      std::to_string(span.begin) + " to " +
                                      (span.end == kNever ? "the end" : std::to_string(span.end)));
    }
  }

  // From the fault to the first answer after what it hit runs again.
  void CountDisturbances() {
    verdict_.counts.disturbances = history_.disturbances.size();
    std::vector<Instant> answers;
    for (const Operation& o : history_.operations) {
      if (IsOk(o)) answers.push_back(o.end);
    }
    std::sort(answers.begin(), answers.end());
    for (size_t i = 1; i < answers.size(); ++i)
      verdict_.counts.longest_silence =
          std::max(verdict_.counts.longest_silence, answers[i] - answers[i - 1]);
    for (const Disturbance& disturbance : history_.disturbances) {
      if (disturbance.until == 0) continue;
      const auto answer = std::upper_bound(answers.begin(), answers.end(), disturbance.until);
      if (answer == answers.end()) continue;
      verdict_.counts.longest_recovery = std::max(verdict_.counts.longest_recovery, *answer - disturbance.at);
    }
  }

  void CheckFloors(const Floors& floors) {
    const Counts& counts = verdict_.counts;
    auto require = [this](const char* what, uint64_t seen, uint64_t floor) {
      if (seen >= floor) return;
      Report(Wrong::kTooFew,
             std::string("only ") + std::to_string(seen) + " " + what + ", not " + std::to_string(floor));
    };
    require("acknowledged puts", counts.acknowledged, floors.acknowledged);
    require("deliveries", counts.deliveries, floors.deliveries);
    require("faults", counts.disturbances, floors.disturbances);
    require("joins", counts.joins, floors.joins);
  }

  const History& history_;
  Verdict verdict_;
  std::vector<uint64_t> left_;
  std::vector<Span> unfinished_;
};

}  // namespace

const char* ToString(Violation::Kind kind) {
  static constexpr const char* kNames[] = {"LOST",
                                           "DELIVERED AFTER ACKNOWLEDGEMENT",
                                           "STALE COMPLETION ACCEPTED",
                                           "COMPLETED TWICE",
                                           "UNEXPECTED",
                                           "DUPLICATE PUT",
                                           "UNSOUND JOIN",
                                           "TOKEN NOT GREATER",
                                           "TOO FEW"};
  return kNames[static_cast<int>(kind)];
}

uint64_t Verdict::Count(Violation::Kind kind) const {
  return static_cast<uint64_t>(std::count_if(violations.begin(), violations.end(),
                                             [kind](const Violation& v) { return v.kind == kind; }));
}

Counts& Counts::operator+=(const Counts& other) {
  acknowledged += other.acknowledged;
  refused += other.refused;
  unknown += other.unknown;
  unknown_there += other.unknown_there;
  deliveries += other.deliveries;
  redelivered += other.redelivered;
  completions += other.completions;
  stale += other.stale;
  unanswered += other.unanswered;
  joins += other.joins;
  disturbances += other.disturbances;
  longest_recovery = std::max(longest_recovery, other.longest_recovery);
  longest_silence = std::max(longest_silence, other.longest_silence);
  return *this;
}

Verdict Check(const History& history, const Floors& floors) {
  return Checker(history).Run(floors);
}

std::ostream& operator<<(std::ostream& out, const Counts& counts) {
  return out << "puts: " << counts.acknowledged << " acknowledged, " << counts.unknown << " unknown ("
             << counts.unknown_there << " there), " << counts.refused
             << " refused; deliveries: " << counts.deliveries
             << ", tasks delivered twice or more: " << counts.redelivered
             << "; completions: " << counts.completions << ", " << counts.stale << " refused, "
             << counts.unanswered << " unanswered; joins: " << counts.joins
             << "; faults: " << counts.disturbances << ", longest recovery "
             << Seconds(counts.longest_recovery) << " s, longest silence " << Seconds(counts.longest_silence)
             << " s";
}

std::ostream& operator<<(std::ostream& out, const Verdict& verdict) {
  constexpr int kShown = 5;
  out << verdict.counts;
  std::map<Violation::Kind, int> seen;
  for (const Violation& violation : verdict.violations) {
    if (++seen[violation.kind] <= kShown) out << "\n  " << ToString(violation.kind) << ": " << violation.text;
  }
  for (const auto& [kind, count] : seen) {
    if (count > kShown) out << "\n  " << ToString(kind) << ": " << count << " in all";
  }
  return out;
}

}  // namespace joinq::testing
