#include "common/names.h"
#include "tests/support/core_harness.h"
#include "tests/support/sweeps.h"

namespace joinq::core {
namespace {

using testing::CoreHarness;
using testing::ReplyTo;

std::vector<NewTask> One(std::string_view body) {
  std::vector<NewTask> tasks(1);
  tasks[0].payload = Blob(body);
  return tasks;
}

TEST(ParkedPut, WaitsForRoomAndKeepsTheOrder) {
  CoreHarness core;
  core.Create("q", {.maxsize = 1});
  core.Put("q", "a");
  auto effects = core.Do([&](Broker& broker) {
    broker.Put(CallerId{11}, core.Spec("q"), One("b"));
    broker.Put(CallerId{12}, core.Spec("q"), One("c"));
  });
  EXPECT_TRUE(effects.replies.empty());
  EXPECT_EQ(core.Stats("q").parked_puts, 2u);
  effects = core.Do([](Broker& broker) { broker.Get(CallerId{1}, "q", {}); });
  ASSERT_NE(ReplyTo(effects, CallerId{11}), nullptr);
  EXPECT_TRUE(ReplyTo(effects, CallerId{11})->status.ok());
  EXPECT_EQ(ReplyTo(effects, CallerId{12}), nullptr);
  EXPECT_EQ(core.Get("q")[0].payload.view(), "b");
  EXPECT_EQ(core.Get("q")[0].payload.view(), "c");
}

TEST(ParkedPut, TimesOutAsFullAndLeavesNothing) {
  CoreHarness core;
  core.Create("q", {.maxsize = 1});
  core.Put("q", "a");
  auto spec = core.Spec("q");
  spec.timeout_ms = 50;
  core.Do([&](Broker& broker) { broker.Put(CallerId{11}, spec, One("b")); });
  auto effects = core.Advance(49);
  EXPECT_TRUE(effects.replies.empty());
  effects = core.Advance(1);
  EXPECT_EQ(ReplyTo(effects, CallerId{11})->status.code(), absl::StatusCode::kDeadlineExceeded);
  core.Get("q");
  EXPECT_TRUE(core.Get("q").empty());
  EXPECT_EQ(core.broker().parked_count(), 0u);
}

TEST(ParkedPut, WhoIsGoneIsSkippedAndTheNextOneEnters) {
  CoreHarness core;
  core.Create("q", {.maxsize = 2});
  core.Put("q", "a");
  core.Do([&](Broker& broker) {
    std::vector<NewTask> two(2);
    two[0].payload = Blob("b1");
    two[1].payload = Blob("b2");
    broker.Put(CallerId{11}, core.Spec("q"), std::move(two));
    broker.Put(CallerId{12}, core.Spec("q"), One("c"));
  });
  auto effects = core.Do([](Broker& broker) { broker.CallerGone(CallerId{11}); });
  ASSERT_NE(ReplyTo(effects, CallerId{12}), nullptr);
  EXPECT_EQ(core.Stats("q").ready, 2u);
}

TEST(ParkedPut, ABatchThatTimesOutLetsThoseBehindItIn) {
  CoreHarness core;
  core.Create("q", {.maxsize = 3});
  core.Put("q", "a");
  core.Put("q", "b");
  auto spec = core.Spec("q");
  spec.timeout_ms = 1000;
  auto effects = core.Do([&](Broker& broker) {
    broker.Put(CallerId{11}, spec, std::vector<NewTask>(2));
    broker.Put(CallerId{12}, core.Spec("q"), One("c"));
  });
  EXPECT_TRUE(effects.replies.empty());
  effects = core.Advance(1000);
  EXPECT_FALSE(ReplyTo(effects, CallerId{11})->status.ok());
  ASSERT_NE(ReplyTo(effects, CallerId{12}), nullptr);
  EXPECT_TRUE(ReplyTo(effects, CallerId{12})->status.ok());
}

TEST(ParkedPut, WhatEntersBehindOneThatIsGoneReachesTheGetThatWaits) {
  CoreHarness core;
  core.Create("q", {.maxsize = 3});
  auto delayed = core.Spec("q");
  delayed.delay_ms = 100'000;
  core.Put(delayed, "a");
  core.Put(delayed, "b");
  core.Do([&](Broker& broker) {
    broker.Get(CallerId{21}, "q", {});
    broker.Put(CallerId{11}, core.Spec("q"), std::vector<NewTask>(2));
    broker.Put(CallerId{12}, core.Spec("q"), One("c"));
  });
  auto effects = core.Do([](Broker& broker) { broker.CallerGone(CallerId{11}); });
  ASSERT_NE(ReplyTo(effects, CallerId{21}), nullptr);
  EXPECT_EQ(ReplyTo(effects, CallerId{21})->deliveries[0].payload.view(), "c");
}

TEST(ParkedPut, CountsAgainstTheMemoryLimit) {
  Limits limits;
  limits.memory_bytes = 100'000;
  CoreHarness core(limits);
  core.Create("q", {.maxsize = 1});
  core.Put("q", "a");
  int refused = 0;
  for (uint64_t n = 10; n < 30; ++n) {
    auto effects = core.Do(
        [&](Broker& broker) { broker.Put(CallerId{n}, core.Spec("q"), One(std::string(10'000, 'x'))); });
    if (!effects.replies.empty()) {
      EXPECT_EQ(effects.replies[0].status.code(), absl::StatusCode::kResourceExhausted);
      ++refused;
    }
  }
  EXPECT_GE(refused, 10);
  EXPECT_LT(refused, 15);
}

TEST(ParkedPut, ABatchThatNeverFitsIsRefused) {
  CoreHarness core;
  core.Create("q", {.maxsize = 2});
  auto effects =
      core.Do([&](Broker& broker) { broker.Put(CallerId{1}, core.Spec("q"), std::vector<NewTask>(3)); });
  EXPECT_EQ(ReplyTo(effects, CallerId{1})->status.code(), absl::StatusCode::kInvalidArgument);
}

TEST(ParkedPut, NoWaitIsFullAtOnce) {
  CoreHarness core;
  core.Create("q", {.maxsize = 1});
  core.Put("q", "a");
  auto spec = core.Spec("q");
  spec.no_wait = true;
  auto effects = core.Do([&](Broker& broker) { broker.Put(CallerId{1}, spec, One("b")); });
  EXPECT_EQ(ReplyTo(effects, CallerId{1})->status.code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(ParkedGet, OnePutWakesOneGetter) {
  CoreHarness core;
  core.Create("q");
  core.Do([](Broker& broker) {
    broker.Get(CallerId{21}, "q", {});
    broker.Get(CallerId{22}, "q", {});
  });
  auto effects = core.Do([&](Broker& broker) { broker.Put(CallerId{1}, core.Spec("q"), One("a")); });
  ASSERT_NE(ReplyTo(effects, CallerId{21}), nullptr);
  EXPECT_EQ(ReplyTo(effects, CallerId{21})->deliveries.size(), 1u);
  EXPECT_EQ(ReplyTo(effects, CallerId{22}), nullptr);
}

TEST(ParkedGet, AWakeUpThatMeetsACancelledGetterGoesToTheNext) {
  CoreHarness core;
  core.Create("q");
  core.Do([](Broker& broker) {
    broker.Get(CallerId{21}, "q", {});
    broker.Get(CallerId{22}, "q", {});
    broker.CallerGone(CallerId{21});
  });
  auto effects = core.Do([&](Broker& broker) { broker.Put(CallerId{1}, core.Spec("q"), One("a")); });
  EXPECT_EQ(ReplyTo(effects, CallerId{21}), nullptr);
  ASSERT_NE(ReplyTo(effects, CallerId{22}), nullptr);
}

TEST(ParkedGet, WhatCouldNotBeHandedOverGoesBackToTheHead) {
  CoreHarness core;
  core.Create("q");
  core.Put("q", "a");
  core.Put("q", "b");
  auto got = core.Get("q");
  const LeaseRef lease{got[0].task, got[0].token};
  core.Do([&](Broker& broker) { broker.ReturnUndelivered({&lease, 1}); });
  EXPECT_EQ(core.Get("q")[0].payload.view(), "a");
}

TEST(ParkedJoin, ReturnsWhenTheLastTaskIsDoneAndNotBefore) {
  CoreHarness core;
  core.Create("q");
  core.Put("q", "a");
  core.Put("q", "b");
  auto effects = core.Do([](Broker& broker) { broker.Join(CallerId{31}, "q", 0, false); });
  EXPECT_TRUE(effects.replies.empty());
  auto got = core.Get("q", 2);
  EXPECT_TRUE(core.Done("q", got[0]).ok());
  EXPECT_EQ(core.Stats("q").parked_joins, 1u);
  const LeaseRef lease{got[1].task, got[1].token};
  effects = core.Do([&](Broker& broker) { EXPECT_TRUE(broker.Done("q", {&lease, 1}, {}, {}).ok()); });
  ASSERT_NE(ReplyTo(effects, CallerId{31}), nullptr);
  EXPECT_TRUE(ReplyTo(effects, CallerId{31})->status.ok());
}

TEST(ParkedJoin, ReturnsAtOnceOnAnEmptyQueueAndTimesOutOtherwise) {
  CoreHarness core;
  core.Create("q");
  auto effects = core.Do([](Broker& broker) { broker.Join(CallerId{31}, "q", 0, false); });
  EXPECT_TRUE(ReplyTo(effects, CallerId{31})->status.ok());
  core.Put("q", "a");
  core.Do([](Broker& broker) { broker.Join(CallerId{32}, "q", 200, false); });
  effects = core.Advance(200);
  EXPECT_EQ(ReplyTo(effects, CallerId{32})->status.code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(ParkedJoin, EveryWayOutOfUnfinishedWakesIt) {
  for (const char* way : {"purge", "dead", "ack"}) {
    CoreHarness core;
    core.Create("q");
    core.Put("q", "a");
    core.Do([](Broker& broker) { broker.Join(CallerId{31}, "q", 0, false); });
    Effects effects;
    if (std::string(way) == "purge") {
      effects = core.Do([](Broker& broker) { EXPECT_TRUE(joinq::testing::Purge(broker, "q").ok()); });
    } else if (std::string(way) == "dead") {
      auto got = core.Get("q");
      const LeaseRef lease{got[0].task, got[0].token};
      effects = core.Do([&](Broker& broker) { EXPECT_TRUE(broker.Fail("q", {&lease, 1}, {}).ok()); });
    } else {
      GetSpec spec;
      spec.ack = true;
      effects = core.Do([&](Broker& broker) { broker.Get(CallerId{1}, "q", spec); });
    }
    EXPECT_NE(ReplyTo(effects, CallerId{31}), nullptr) << way;
  }
}

TEST(Parked, ShutdownAnswersEveryoneAndNobodyParksAfterwards) {
  CoreHarness core;
  core.Create("q", {.maxsize = 1});
  core.Create("empty");
  const TaskId task = core.Put("q", "a");
  auto effects = core.Do([&](Broker& broker) {
    broker.Put(CallerId{1}, core.Spec("q"), One("b"));
    broker.Get(CallerId{2}, "empty", {});
    broker.Join(CallerId{3}, "q", 0, false);
    broker.GetResult(CallerId{4}, task, 1000, false);
    broker.Shutdown();
    broker.Join(CallerId{5}, "q", 0, false);
  });
  for (uint64_t caller : {1, 2, 3, 4, 5}) {
    ASSERT_NE(ReplyTo(effects, CallerId{caller}), nullptr) << caller;
    EXPECT_EQ(ReplyTo(effects, CallerId{caller})->status.code(), absl::StatusCode::kUnavailable) << caller;
  }
  EXPECT_EQ(core.broker().parked_count(), 0u);
}

TEST(Parked, TimersOfCallsThatEndedEarlyDoNotPileUp) {
  CoreHarness core;
  core.Create("q");
  GetSpec get;
  get.timeout_ms = 3'600'000;
  get.ack = true;
  core.Do([&](Broker& broker) {
    for (int i = 0; i < 150'000; ++i) {
      broker.Get(CallerId{2}, "q", get);
      broker.Put(CallerId{1}, core.Spec("q"), std::vector<NewTask>(1));
      broker.effects().Clear();
      if (i % 1000 == 0) broker.Tick();
    }
  });
  EXPECT_LT(core.broker().timer_count(), 100'000u);
}

TEST(Parked, AreBoundedInNumber) {
  Limits limits;
  limits.parked_calls_max = 3;
  CoreHarness core(limits);
  core.Create("q");
  auto effects = core.Do([](Broker& broker) {
    for (uint64_t n = 1; n <= 4; ++n) broker.Get(CallerId{n}, "q", {});
  });
  ASSERT_EQ(effects.replies.size(), 1u);
  EXPECT_EQ(effects.replies[0].status.code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace joinq::core
