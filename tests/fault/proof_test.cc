// That the judgement can go against the broker: histories of real runs from which
// something is taken or to which something is added, and a broker that does lose tasks.
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "tests/fault/load.h"
#include "tests/support/programs.h"

namespace joinq::testing {
namespace {

using Kind = Operation::Kind;
using Answer = Operation::Answer;
using Wrong = Violation::Kind;

class Proof : public ::testing::Test {
 protected:
  // A sound history of a broker that was killed once, made for all tests of this process.
  static void SetUpTestSuite() {
    BrokerProcess broker({"--log-level", "warn"});
    Recorder recorder;
    Load load(broker.url(), "q", {.padding = 50}, 1, Seed(), &recorder);
    EXPECT_TRUE(load.Await(1000, 30s));
    Disturbance disturbance{"kill -9 of the broker", Now(), 0, true};
    broker.Kill();
    disturbance.until = Now();
    broker.Start();
    recorder.Disturbed(disturbance);
    EXPECT_TRUE(load.Await(1000, 30s));
    sound_ = load.Finish();
    ASSERT_TRUE(Check(sound_, kFloors).ok()) << Check(sound_, kFloors);
  }

  // A task that was put, delivered once and done, each with an answer.
  void SetUp() override {
    history_ = sound_;
    auto& all = history_.operations;
    for (const Operation& o : all) {
      if (o.kind != Kind::kDone || o.answer != Answer::kOk) continue;
      const auto others = std::count_if(all.begin(), all.end(), [&](const Operation& other) {
        return other.task == o.task && other.answer == Answer::kOk;
      });
      if (others != 3) continue;
      done_ = o;
      for (const Operation& other : all) {
        if (other.task != o.task || other.answer != Answer::kOk) continue;
        if (other.kind == Kind::kPut) put_ = other;
        if (other.kind == Kind::kDelivery) delivery_ = other;
      }
      if (put_.task == o.task && delivery_.task == o.task) return;
    }
    FAIL() << "no task was put, delivered and done";
  }
  void Drop(Kind kind) {
    std::erase_if(history_.operations,
                  [&](const Operation& o) { return o.kind == kind && o.payload == put_.payload; });
  }
  void Add(const Operation& operation) { history_.operations.push_back(operation); }
  uint64_t Found(Wrong kind) const { return Check(history_, kFloors).Count(kind); }

  static constexpr Floors kFloors{1000, 1000, 1, 1};
  static History sound_;
  History history_;
  Operation put_, delivery_, done_;
};
History Proof::sound_;

TEST_F(Proof, ADroppedCompletionIsALoss) {
  Drop(Kind::kDone);
  EXPECT_EQ(Found(Wrong::kLost), 1u);
  EXPECT_GE(Found(Wrong::kUnsoundJoin), 1u) << "the last join returned before it";
}

TEST_F(Proof, ATaskThatNobodyGotIsALoss) {
  Drop(Kind::kDone);
  Drop(Kind::kDelivery);
  EXPECT_EQ(Found(Wrong::kLost), 1u);
}

TEST_F(Proof, ADeliveryAfterTheEndIsFound) {
  Operation again = delivery_;
  again.token.epoch += 1;
  again.start = done_.end + 1;
  again.end = done_.end + 2;
  Add(again);
  EXPECT_EQ(Found(Wrong::kDeliveredAfterDone), 1u);
}

TEST_F(Proof, AnOlderTokenIsFound) {
  Operation again = delivery_;
  again.token.epoch -= 1;
  again.start = delivery_.end + 1;
  again.end = delivery_.end + 2;
  Add(again);
  EXPECT_EQ(Found(Wrong::kTokenNotGreater), 1u);
}

TEST_F(Proof, ADeliveryWithoutItsPutIsFound) {
  Drop(Kind::kPut);
  EXPECT_EQ(Found(Wrong::kUnexpected), 1u);
}

TEST_F(Proof, ASecondTaskOfAPutIsFound) {
  Operation twin = delivery_;
  twin.task += 1'000'000'000;
  Add(twin);
  twin.kind = Kind::kDone;
  Add(twin);
  EXPECT_EQ(Found(Wrong::kDuplicate), 1u);
}

// No forgery: a broker without a disk forgets, and is found out.
TEST(ProofByABroker, ThatForgetsIsFoundOut) {
  BrokerProcess broker({"--log-level", "warn"}, /*memory=*/true);
  Recorder recorder;
  const LoadOptions options{.consumers = 0, .joiners = 0, .padding = 50};
  Load load(broker.url(), "q", options, 1, Seed(), &recorder);
  EXPECT_TRUE(load.Await(1000, 30s));
  load.StopProducers();
  recorder.Disturbed({"kill -9 of the broker", Now(), 0});
  broker.Crash();
  Load drain(broker.url(), "q", {.producers = 0}, 1, Seed(), &recorder);
  const Verdict verdict = Check(drain.Finish(), {.acknowledged = 1000, .deliveries = 0, .disturbances = 1});
  EXPECT_EQ(verdict.Count(Wrong::kLost), load.acknowledged()) << verdict;
}

}  // namespace
}  // namespace joinq::testing
