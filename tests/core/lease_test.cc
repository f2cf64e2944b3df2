#include "common/names.h"
#include "tests/support/core_harness.h"

namespace joinq::core {
namespace {

using testing::CoreHarness;
using testing::ReplyTo;

TEST(Lease, CompletionWithAnOldTokenIsRefusedAndARepeatedOneIsFine) {
  CoreHarness core;
  core.Create("q");
  core.Put("q", "x");
  auto first = core.Get("q", 1, 1000);
  core.Advance(1000);  // the lease runs out
  auto second = core.Get("q", 1, 1000);
  ASSERT_EQ(second.size(), 1u);
  EXPECT_EQ(second[0].attempt, 2u);
  EXPECT_GT(second[0].token, first[0].token);
  EXPECT_EQ(core.Done("q", first[0]).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(FieldOf(core.Done("q", first[0])), "lease");
  EXPECT_EQ(core.Stats("q").leased, 1u);
  EXPECT_TRUE(core.Done("q", second[0]).ok());
  EXPECT_TRUE(core.Done("q", second[0]).ok());
  EXPECT_EQ(core.Stats("q").done_total, 1u);
}

TEST(Lease, ExtendKeepsItAndReleaseGivesItBackToTheHead) {
  CoreHarness core;
  core.Create("q");
  core.Put("q", "a");
  core.Put("q", "b");
  auto got = core.Get("q", 1, 1000);
  const LeaseRef lease{got[0].task, got[0].token};
  core.Advance(900);
  core.Do([&](Broker& broker) { EXPECT_TRUE(broker.Extend("q", {&lease, 1}, 5000).ok()); });
  core.Advance(4000);
  EXPECT_EQ(core.Stats("q").leased, 1u);
  core.Do([&](Broker& broker) { EXPECT_TRUE(broker.Release("q", {&lease, 1}, 0).ok()); });
  auto again = core.Get("q");
  EXPECT_EQ(again[0].payload.view(), "a");
  core.Do([&](Broker& broker) {
    EXPECT_EQ(broker.Extend("q", {&lease, 1}, 5000).code(), absl::StatusCode::kFailedPrecondition);
  });
}

TEST(Lease, OnlyTheSameEndRepeatedIsFine) {
  CoreHarness core;
  core.Create("q");
  core.Put("q", "a");
  core.Put("q", "b");
  auto got = core.Get("q", 2);
  const LeaseRef released{got[0].task, got[0].token}, done{got[1].task, got[1].token};
  core.Do([&](Broker& broker) {
    EXPECT_TRUE(broker.Release("q", {&released, 1}, 0).ok());
    EXPECT_TRUE(broker.Release("q", {&released, 1}, 0).ok());
    EXPECT_FALSE(broker.Done("q", {&released, 1}, {}, {}).ok());
    EXPECT_FALSE(broker.Extend("q", {&released, 1}, 0).ok());
    EXPECT_TRUE(broker.Done("q", {&done, 1}, {}, {}).ok());
    EXPECT_FALSE(broker.Fail("q", {&done, 1}, {}).ok());
    EXPECT_FALSE(broker.Release("q", {&done, 1}, 0).ok());
  });
  EXPECT_EQ(core.Stats("q").ready, 1u);
  EXPECT_EQ(core.Stats("q").done_total, 1u);
}

TEST(Lease, AllOrNothingWhenOneOfManyIsStale) {
  CoreHarness core;
  core.Create("q");
  core.Put("q", "a");
  core.Put("q", "b");
  auto got = core.Get("q", 2);
  std::vector<LeaseRef> leases = {{got[0].task, got[0].token}, {got[1].task, {got[1].token.epoch, 99'999}}};
  core.Do([&](Broker& broker) { EXPECT_FALSE(broker.Done("q", leases, {}, {}).ok()); });
  EXPECT_EQ(core.Stats("q").leased, 2u);
}

TEST(Lease, OfAnotherQueueIsRefusedByName) {
  CoreHarness core;
  core.Create("q");
  core.Create("other");
  core.Put("q", "a");
  auto got = core.Get("q");
  EXPECT_EQ(FieldOf(core.Done("other", got[0])), "queue");
  EXPECT_EQ(core.Stats("q").leased, 1u);
}

struct BudgetCase {
  const char* name;
  FailureKind kind;
  bool final;
  uint16_t max_attempts, max_crashes;
  int deliveries;  // until the task is dead
};

class Budget : public ::testing::TestWithParam<BudgetCase> {};

TEST_P(Budget, EndsTheTaskAfterSoManyDeliveries) {
  const BudgetCase& p = GetParam();
  CoreHarness core;
  core.Create("q");
  auto spec = core.Spec("q");
  spec.policy.max_attempts = p.max_attempts;
  spec.policy.max_crashes = p.max_crashes;
  spec.policy.retry_delay_ms = 100;
  core.Put(spec, "x");
  int deliveries = 0;
  for (; deliveries < 50 && core.Stats("q").unfinished() > 0; ++deliveries) {
    auto got = core.Get("q");
    ASSERT_EQ(got.size(), 1u) << "after " << deliveries;
    TaskError error;
    error.kind = p.kind;
    error.final = p.final;
    EXPECT_TRUE(core.Fail("q", got[0], error).ok());
    core.Advance(60'000);
  }
  EXPECT_EQ(deliveries, p.deliveries);
  EXPECT_EQ(core.Stats("q").dead, 1u);
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, Budget,
    ::testing::Values(BudgetCase{"errors_use_attempts", FailureKind::kHandlerError, false, 3, 1, 3},
                      BudgetCase{"time_limits_use_attempts", FailureKind::kTimeLimit, false, 2, 9, 2},
                      BudgetCase{"crashes_use_crashes", FailureKind::kCrash, false, 1, 4, 4},
                      BudgetCase{"out_of_memory_is_a_crash", FailureKind::kOutOfMemory, false, 1, 2, 2},
                      BudgetCase{"final_ends_at_once", FailureKind::kHandlerError, true, 9, 9, 1},
                      BudgetCase{"unknown_handler_ends_at_once", FailureKind::kUnknownHandler, false, 9, 9,
                                 1},
                      BudgetCase{"bad_arguments_end_at_once", FailureKind::kBadArguments, false, 9, 9, 1}),
    [](const auto& info) { return info.param.name; });

TEST(Lease, AFailedAttemptWaitsItsBackoffAndStaysUnfinished) {
  CoreHarness core;
  core.Create("q");
  auto spec = core.Spec("q");
  spec.policy.max_attempts = 5;
  spec.policy.retry_delay_ms = 1000;
  core.Put(spec, "x");
  EXPECT_TRUE(core.Fail("q", core.Get("q")[0]).ok());
  EXPECT_EQ(core.Stats("q").delayed, 1u);
  EXPECT_EQ(core.Stats("q").unfinished(), 1u);
  core.Advance(749);
  EXPECT_TRUE(core.Get("q").empty());
  core.Advance(251);
  auto got = core.Get("q");
  ASSERT_EQ(got.size(), 1u);
  EXPECT_TRUE(core.Fail("q", got[0]).ok());
  core.Advance(1499);
  EXPECT_TRUE(core.Get("q").empty());
  core.Advance(501);
  EXPECT_EQ(core.Get("q").size(), 1u);
}

TEST(Lease, ATaskThatIsReleasedAfterItsTimeToLiveEnds) {
  CoreHarness core;
  core.Create("q");
  PutSpec spec = core.Spec("q");
  spec.ttl_ms = 1000;
  core.Put(spec, "a");
  const Delivery got = core.Get("q", 1, 60'000).at(0);
  core.Advance(2000);
  core.Do([&](Broker& broker) {
    const LeaseRef lease{got.task, got.token};
    EXPECT_TRUE(broker.Release("q", {&lease, 1}, 0).ok());
  });
  core.Advance(1);
  EXPECT_EQ(core.Stats("q").unfinished(), 0u);
  EXPECT_EQ(core.Stats("q").expired_total, 1u);
}

TEST(Lease, AReleaseCostsNothing) {
  CoreHarness core;
  core.Create("q");
  core.Put("q", "x");  // one attempt, three crashes
  for (int i = 0; i < 20; ++i) {
    auto got = core.Get("q");
    ASSERT_EQ(got.size(), 1u);
    const LeaseRef lease{got[0].task, got[0].token};
    core.Do([&](Broker& broker) { EXPECT_TRUE(broker.Release("q", {&lease, 1}, 0).ok()); });
  }
  EXPECT_EQ(core.Stats("q").ready, 1u);
}

TEST(Lease, GetWithAckCompletesAtOnce) {
  CoreHarness core;
  core.Create("q");
  core.Put("q", "x");
  GetSpec spec;
  spec.ack = true;
  auto effects = core.Do([&](Broker& broker) { broker.Get(CallerId{1}, "q", spec); });
  EXPECT_EQ(ReplyTo(effects, CallerId{1})->deliveries[0].token, Token{});
  EXPECT_EQ(core.Stats("q").done_total, 1u);
  core.Restart();
  EXPECT_EQ(core.Stats("q").unfinished(), 0u);
}

TEST(Lease, APauseOfTheWholeBrokerExpiresNothingBeforeTheMailIsRead) {
  CoreHarness core;
  core.Create("q");
  core.Put("q", "x");
  auto got = core.Get("q", 1, 5000);
  core.now += Millis(60'000);  // SIGSTOP, say
  const LeaseRef lease{got[0].task, got[0].token};
  core.Do([](Broker&) {});
  core.Do([&](Broker& broker) { EXPECT_TRUE(broker.Extend("q", {&lease, 1}, 5000).ok()); });
  core.Advance(1900);
  core.Advance(1900);
  EXPECT_TRUE(core.Done("q", got[0]).ok());
}

}  // namespace
}  // namespace joinq::core
