// The checker on histories written by hand: each violation is planted and must be found,
// and what only looks like one must not be.
#include "tests/fault/checker.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "tests/fault/history.h"

namespace joinq::testing {
namespace {

using Kind = Operation::Kind;
using Answer = Operation::Answer;
using Wrong = Violation::Kind;

Operation Put(uint64_t payload, uint64_t task, Instant start, Instant end, Answer answer = Answer::kOk) {
  return {Kind::kPut, answer, payload, task, {}, start, end};
}
Operation Delivery(uint64_t payload, uint64_t task, Token token, Instant start, Instant end) {
  return {Kind::kDelivery, Answer::kOk, payload, task, token, start, end};
}
Operation Ran(uint64_t payload, uint64_t task, Token token, Instant at) {
  return {Kind::kRun, Answer::kOk, payload, task, token, at, at};
}
Operation Done(uint64_t task, Token token, Instant start, Instant end, Answer answer = Answer::kOk) {
  return {Kind::kDone, answer, 0, task, token, start, end};
}
Operation Join(Instant start, Instant end, Answer answer = Answer::kOk) {
  return {Kind::kJoin, answer, 0, 0, {}, start, end};
}

// The kinds of what is wrong with it, one name each.
std::string Verdicts(std::vector<Operation> operations, std::vector<uint64_t> left = {}) {
  History history{std::move(operations), {}, std::move(left)};
  std::string names;
  for (const Violation& violation : Check(history, {0, 0, 0, 0}).violations) {
    names += std::string(names.empty() ? "" : ", ") + ToString(violation.kind);
  }
  return names;
}

constexpr Token kFirst{1, 1}, kSecond{1, 2}, kNextEpoch{2, 1};

TEST(Checker, AcceptsATaskThatIsPutDeliveredAndDone) {
  EXPECT_EQ(Verdicts({Put(7, 70, 10, 20), Delivery(7, 70, kFirst, 15, 30), Done(70, kFirst, 31, 40),
                      Join(5, 50), Join(45, 50)}),
            "");
}

TEST(Checker, FindsALostTask) {
  EXPECT_EQ(Verdicts({Put(7, 70, 10, 20)}), "LOST");
  // A refused completion completes nothing, nor does a release.
  EXPECT_EQ(Verdicts({Put(7, 70, 10, 20), Delivery(7, 70, kFirst, 15, 30),
                      Done(70, kFirst, 31, 40, Answer::kRefused)}),
            "LOST");
  EXPECT_EQ(Verdicts({Put(7, 70, 10, 20), {Kind::kRelease, Answer::kOk, 0, 70, kFirst, 31, 40}}), "LOST");
  // A delivery proves that it was there as well as an acknowledgement does.
  EXPECT_EQ(Verdicts({Put(7, 0, 10, 20, Answer::kUnknown), Delivery(7, 70, kFirst, 15, 30)}), "LOST");
  // Two puts cannot share a task.
  EXPECT_EQ(Verdicts({Put(7, 70, 10, 20), Put(8, 70, 21, 30), Done(70, kFirst, 31, 40)}), "LOST, UNEXPECTED");
}

TEST(Checker, DoesNotMissWhatIsInTheQueueOrMayBeDone) {
  EXPECT_EQ(Verdicts({Put(7, 70, 10, 20)}, {70}), "");
  EXPECT_EQ(Verdicts({Put(7, 70, 10, 20), Put(8, 80, 10, 20)}, {70}), "LOST");
  EXPECT_EQ(Verdicts({Put(7, 70, 10, 20), Done(70, kFirst, 31, 40, Answer::kUnknown)}), "");
  EXPECT_EQ(Verdicts({Put(7, 70, 10, 20), {Kind::kBury, Answer::kOk, 0, 70, kFirst, 31, 40}}), "");
  EXPECT_EQ(Verdicts({Put(7, 0, 10, 20, Answer::kUnknown)}), "");
  EXPECT_EQ(Verdicts({Put(7, 0, 10, 20, Answer::kRefused)}), "");
}

TEST(Checker, TakesARefusedCompletionForNoneEvenWhenTheBrokerDiedMeanwhile) {
  History history{{Put(7, 70, 10, 20), Done(70, kFirst, 31, 40, Answer::kRefused)}, {}, {}};
  history.disturbances = {{"kill", 32, 33, true}};
  EXPECT_EQ(Check(history, {}).Count(Wrong::kLost), 1u);
}

TEST(Checker, FindsADeliveryAfterTheAcknowledgedCompletion) {
  EXPECT_EQ(Verdicts({Put(7, 70, 10, 20), Delivery(7, 70, kFirst, 15, 30), Done(70, kFirst, 31, 40),
                      Delivery(7, 70, kNextEpoch, 41, 50)}),
            "DELIVERED AFTER ACKNOWLEDGEMENT");
  EXPECT_EQ(Verdicts({Put(7, 70, 10, 20),
                      {Kind::kBury, Answer::kOk, 0, 70, kFirst, 31, 40},
                      Delivery(7, 70, kNextEpoch, 41, 50)}),
            "DELIVERED AFTER ACKNOWLEDGEMENT");
}

TEST(Checker, AllowsADeliveryThatBeganBeforeTheCompletionWasAcknowledged) {
  // The older token's answer was late; the newer one's completion counts.
  EXPECT_EQ(Verdicts({Put(7, 70, 10, 20), Delivery(7, 70, kFirst, 29, 60), Delivery(7, 70, kSecond, 15, 30),
                      Done(70, kSecond, 31, 40)}),
            "");
  // A completion without an answer may not have happened.
  EXPECT_EQ(Verdicts({Put(7, 70, 10, 20), Delivery(7, 70, kFirst, 15, 30),
                      Done(70, kFirst, 31, 40, Answer::kUnknown), Delivery(7, 70, kNextEpoch, 41, 50),
                      Done(70, kNextEpoch, 51, 60)}),
            "");
  // A handler may begin late with what was delivered early.
  EXPECT_EQ(Verdicts({Put(7, 70, 10, 20), Ran(7, 70, kNextEpoch, 30), Done(70, kNextEpoch, 31, 40),
                      Ran(7, 70, kFirst, 50)}),
            "");
}

TEST(Checker, FindsACompletionWithAStaleToken) {
  EXPECT_EQ(Verdicts({Put(7, 70, 10, 20), Delivery(7, 70, kFirst, 15, 30), Delivery(7, 70, kSecond, 31, 40),
                      Done(70, kFirst, 41, 50)}),
            "STALE COMPLETION ACCEPTED");
  // Whichever came first, one of the two answers is wrong, however the calls overlap.
  EXPECT_EQ(Verdicts({Put(7, 70, 10, 20), Delivery(7, 70, kFirst, 15, 30), Done(70, kFirst, 31, 50),
                      Delivery(7, 70, kSecond, 35, 60)}),
            "STALE COMPLETION ACCEPTED");
  EXPECT_EQ(Verdicts({Put(7, 70, 10, 20), Done(70, kFirst, 31, 50), Ran(7, 70, kSecond, 60)}),
            "STALE COMPLETION ACCEPTED");
}

TEST(Checker, FindsTwoCompletions) {
  EXPECT_EQ(Verdicts({Put(7, 70, 10, 20), Delivery(7, 70, kFirst, 15, 30), Done(70, kFirst, 31, 90),
                      Delivery(7, 70, kSecond, 31, 40), Done(70, kSecond, 41, 50)}),
            "COMPLETED TWICE");
  // The same one again is fine.
  EXPECT_EQ(Verdicts({Put(7, 70, 10, 20), Done(70, kFirst, 31, 40), Done(70, kFirst, 41, 50)}), "");
}

TEST(Checker, FindsWhatNobodyPut) {
  EXPECT_EQ(Verdicts({Delivery(7, 70, kFirst, 15, 30), Done(70, kFirst, 31, 40)}), "UNEXPECTED");
  EXPECT_EQ(Verdicts({Delivery(kForeign, 70, kFirst, 15, 30), Done(70, kFirst, 31, 40)}), "UNEXPECTED");
  EXPECT_EQ(Verdicts({Put(7, 0, 10, 20, Answer::kRefused), Delivery(7, 70, kFirst, 15, 30),
                      Done(70, kFirst, 31, 40)}),
            "UNEXPECTED");
  EXPECT_EQ(Verdicts({Put(7, 70, 31, 40), Delivery(7, 70, kFirst, 15, 30), Done(70, kFirst, 31, 40)}),
            "UNEXPECTED");
  // One task with the payloads of two puts.
  EXPECT_EQ(Verdicts({Put(7, 70, 1, 2), Put(8, 80, 1, 2), Delivery(8, 70, kFirst, 15, 30),
                      Done(70, kFirst, 31, 40), Done(80, kFirst, 31, 40)}),
            "DUPLICATE PUT, UNEXPECTED");
}

TEST(Checker, FindsTwoTasksOfOnePut) {
  EXPECT_EQ(Verdicts({Put(7, 70, 10, 20), Done(70, kFirst, 31, 40), Delivery(7, 71, kSecond, 15, 30),
                      Done(71, kSecond, 31, 40)}),
            "DUPLICATE PUT");
  EXPECT_EQ(Verdicts({Put(7, 0, 10, 20, Answer::kUnknown), Delivery(7, 70, kFirst, 15, 30),
                      Delivery(7, 71, kSecond, 15, 30), Done(70, kFirst, 31, 40), Done(71, kSecond, 31, 40)}),
            "DUPLICATE PUT");
}

TEST(Checker, FindsAnUnsoundJoin) {
  // The put was acknowledged before the join began, and nobody had begun to complete it.
  EXPECT_EQ(Verdicts({Put(7, 70, 10, 20), Join(21, 30), Done(70, kFirst, 31, 40)}), "UNSOUND JOIN");
  // No task covers the whole of the join, the two together do.
  EXPECT_EQ(Verdicts({Put(7, 70, 10, 20), Put(8, 80, 20, 25), Join(21, 40), Done(70, kFirst, 30, 35),
                      Done(80, kFirst, 41, 50)}),
            "UNSOUND JOIN");
  EXPECT_EQ(Verdicts({Put(7, 70, 10, 20), Join(21, 30)}, {70}), "UNSOUND JOIN");
}

TEST(Checker, AllowsAJoinThatMayHaveSeenNothingUnfinished) {
  EXPECT_EQ(Verdicts({Join(1, 9), Put(7, 70, 10, 20), Join(15, 30), Done(70, kFirst, 31, 40), Join(21, 35)}),
            "");
  // Between the two tasks there may have been none.
  EXPECT_EQ(Verdicts({Put(7, 70, 10, 20), Done(70, kFirst, 30, 35), Put(8, 80, 30, 33), Join(21, 40),
                      Done(80, kFirst, 41, 50)}),
            "");
  EXPECT_EQ(Verdicts({Put(7, 70, 10, 20), Join(21, 30, Answer::kUnknown), Done(70, kFirst, 31, 40)}), "");
  EXPECT_EQ(Verdicts({Put(7, 70, 10, 20), Done(70, kFirst, 22, 40, Answer::kUnknown), Join(21, 30)}), "");
}

TEST(Checker, FindsATokenThatIsNotGreater) {
  const auto end = Done(70, kNextEpoch, 61, 70);
  EXPECT_EQ(Verdicts({Put(7, 70, 10, 20), Delivery(7, 70, kSecond, 15, 30), Delivery(7, 70, kFirst, 31, 40),
                      Delivery(7, 70, kNextEpoch, 51, 60), end}),
            "TOKEN NOT GREATER");
  EXPECT_EQ(Verdicts({Put(7, 70, 10, 20), Delivery(7, 70, kNextEpoch, 15, 30),
                      Delivery(7, 70, kSecond, 31, 40), end}),
            "TOKEN NOT GREATER");
  // Nobody may share one, however the calls overlap.
  EXPECT_EQ(Verdicts({Put(7, 70, 10, 20), Delivery(7, 70, kFirst, 15, 30), Delivery(7, 70, kFirst, 15, 30),
                      Done(70, kFirst, 61, 70)}),
            "TOKEN NOT GREATER");
  // Of calls that overlap the order is not known.
  EXPECT_EQ(Verdicts({Put(7, 70, 10, 20), Delivery(7, 70, kSecond, 15, 30), Delivery(7, 70, kFirst, 16, 40),
                      Done(70, kNextEpoch, 61, 70)}),
            "");
}

TEST(Checker, RefusesARunThatSawTooLittle) {
  History history{
      {Put(7, 70, 10, 20), Delivery(7, 70, kFirst, 15, 30), Done(70, kFirst, 31, 40), Join(41, 42)},
      {{"kill", 5, 6}},
      {}};
  EXPECT_TRUE(Check(history, {1, 1, 1, 1}).ok());
  EXPECT_FALSE(Check(history, {2, 1, 1, 1}).ok());
  EXPECT_FALSE(Check(history, {1, 2, 1, 1}).ok());
  EXPECT_FALSE(Check(history, {1, 1, 2, 1}).ok());
  EXPECT_FALSE(Check(history, {1, 1, 1, 2}).ok());
  EXPECT_FALSE(Check({}, {}).ok());
  EXPECT_EQ(Check({}, {}).Count(Wrong::kTooFew), 2u);
}

TEST(Checker, Counts) {
  const History history{
      {Put(1, 10, 1, 2), Put(2, 0, 1, 2, Answer::kRefused), Put(3, 0, 1, 2, Answer::kUnknown),
       Put(4, 0, 1, 2, Answer::kUnknown), Delivery(1, 10, kFirst, 3, 4), Delivery(1, 10, kSecond, 5, 6),
       Delivery(3, 30, kFirst, 3, 4), Done(10, kFirst, 7, 8, Answer::kRefused), Done(10, kSecond, 7, 9),
       Done(30, kFirst, 7, 1'000'000'011, Answer::kOk), Done(30, kFirst, 7, 8, Answer::kUnknown),
       Join(1'000'000'020, 1'000'000'021)},
      {{"kill", 9, 10}, {"kill", 5, 6}, {"kill of one among many", 1, 0}},
      {}};
  const Verdict verdict = Check(history, {});
  EXPECT_TRUE(verdict.ok()) << verdict;
  std::ostringstream text;
  text << verdict;
  EXPECT_EQ(text.str(),
            "puts: 1 acknowledged, 2 unknown (1 there), 1 refused; deliveries: 3, tasks delivered twice or "
            "more: 1; completions: 2, 1 refused, 1 unanswered; joins: 1; faults: 3, "
            "longest recovery 1 s, longest silence 1 s");
}

TEST(CallLog, KeepsWhatWasAnsweredAndWhatWasCutOff) {
  const std::string path = ::testing::TempDir() + "joinq-call-log-" + std::to_string(Now());
  std::vector<Operation> calls = {Done(70, kFirst, 0, 0), Done(80, kNextEpoch, 0, 0)};
  {
    CallLog log(path);
    log.Record({Delivery(7, 70, kFirst, 15, 30)});
    log.Invoked(&calls);
    std::vector<Operation> answered = {calls[0]};
    answered[0].answer = Answer::kOk;
    answered[0].end = Now();
    log.Answered(answered);
  }
  std::ofstream(path, std::ios::app) << "! 3 0 0 80 2";  // died while it wrote
  const auto read = ReadCallLog(path);
  ::remove(path.c_str());
  ASSERT_EQ(read.size(), 3u);
  EXPECT_EQ(ToString(read[0]), ToString(Delivery(7, 70, kFirst, 15, 30)));
  EXPECT_EQ(read[1].answer, Answer::kOk);
  EXPECT_EQ(read[1].task, 70u);
  EXPECT_GE(read[1].end, read[1].start);
  EXPECT_EQ(read[2].answer, Answer::kUnknown);
  EXPECT_EQ(read[2].token, kNextEpoch);
  EXPECT_GE(read[2].end, read[2].start);
}

TEST(CallLog, TellsWhatItsConsumerHolds) {
  const std::vector<Operation> operations = {
      Put(1, 10, 1, 2),
      Delivery(1, 10, kFirst, 3, 4),
      Done(10, kFirst, 5, 6),
      Delivery(2, 20, kFirst, 3, 4),
      Done(20, kFirst, 5, 6, Answer::kUnknown),  // the broker may have taken it
      Delivery(3, 30, kFirst, 3, 4),
      Done(30, kFirst, 5, 6, Answer::kRefused),
      Delivery(3, 30, kSecond, 7, 8),  // once more
      Delivery(4, 40, kFirst, 7, 8),
  };
  const auto held = HeldAtTheEnd(operations);
  ASSERT_EQ(held.size(), 2u);
  EXPECT_EQ(held[0].task, 30u);
  EXPECT_EQ(held[0].token, kSecond);
  EXPECT_EQ(held[1].task, 40u);
  EXPECT_TRUE(HeldAtTheEnd({}).empty());
}

}  // namespace
}  // namespace joinq::testing
