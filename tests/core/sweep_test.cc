// Purge, retry and purge of the dead, delete: bounded work a round, answered at the end.
#include "tests/support/core_harness.h"
#include "tests/support/sweeps.h"

namespace joinq::core {
namespace {

using testing::CoreHarness;
using testing::ReplyTo;

constexpr CallerId kCaller{77};

class Sweep : public ::testing::Test {
 protected:
  static Limits Few() {
    Limits limits;
    limits.sweep_per_round = 4;
    return limits;
  }
  Sweep() : core_(Few()) { core_.Create("q"); }
  void PutMany(int count) {
    for (int i = 0; i < count; ++i) core_.Put("q", std::to_string(i));
  }
  void BuryMany(int count) {
    PutSpec spec = core_.Spec("q");
    spec.policy.max_attempts = 1;
    for (int i = 0; i < count; ++i) {
      core_.Put(spec, "x");
      EXPECT_TRUE(core_.Fail("q", core_.Get("q")[0]).ok());
    }
  }
  // Rounds until `caller` has its answer: how many.
  int RoundsUntilAnswered(CallerId caller, Reply* answer) {
    for (int rounds = 1; rounds < 100; ++rounds) {
      EXPECT_EQ(core_.next_tick, core_.now) << "the rest has to wait for something else to happen";
      auto effects = core_.Do([](Broker&) {});
      for (Reply& reply : effects.replies) {
        if (reply.to != caller) continue;
        *answer = std::move(reply);
        return rounds;
      }
    }
    ADD_FAILURE() << "never answered";
    return 0;
  }
  CoreHarness core_;
};

TEST_F(Sweep, APurgeGoesOnRoundByRoundBesideOtherWork) {
  PutMany(30);
  core_.Create("other");
  core_.Put("other", "x");
  auto effects = core_.Do([](Broker& broker) { broker.PurgeQueue(kCaller, "q"); });
  EXPECT_EQ(ReplyTo(effects, kCaller), nullptr);
  EXPECT_GT(core_.Stats("q").ready, 20u);
  EXPECT_EQ(core_.Get("other").size(), 1u);
  Reply answer;
  EXPECT_GT(RoundsUntilAnswered(kCaller, &answer), 3);
  EXPECT_TRUE(answer.status.ok());
  EXPECT_EQ(answer.count, 30u);
  EXPECT_EQ(core_.Stats("q").cancelled_total, 30u);
}

// Whatever order the queue has, and while consumers take from it.
TEST_F(Sweep, WhatIsPutMeanwhileStaysAndNothingOlderDoes) {
  for (Order order : {Order::kFifo, Order::kLifo, Order::kPriority}) {
    const std::string queue(NameOf(order));
    core_.Create(queue, {.order = order});
    for (int i = 0; i < 20; ++i) {
      PutSpec spec = core_.Spec(queue);
      if (order == Order::kPriority) spec.policy.priority = static_cast<int16_t>(i % 3);
      spec.delay_ms = i % 4 == 0 ? 1000 : 0;
      core_.Put(spec, "old");
    }
    core_.Do([&](Broker& broker) { broker.PurgeQueue(kCaller, queue); });
    std::vector<TaskId> late;
    for (int i = 0; i < 8; ++i) {
      PutSpec spec = core_.Spec(queue);
      if (order == Order::kPriority) spec.policy.priority = -5;  // more urgent than all of them
      auto effects =
          core_.Do([&](Broker& broker) { broker.Put(CallerId{9}, spec, std::vector<NewTask>(1)); });
      ASSERT_TRUE(ReplyTo(effects, CallerId{9})->status.ok()) << ReplyTo(effects, CallerId{9})->status;
      late.push_back(ReplyTo(effects, CallerId{9})->task_ids.at(0));
      if (i == 0) core_.Advance(1000);  // the delayed ones fall due
    }
    const auto taken = core_.Get(queue, 2);
    for (const Delivery& each : taken) EXPECT_TRUE(core_.Done(queue, each).ok());
    while (core_.next_tick == core_.now) core_.Do([](Broker&) {});
    const auto left = core_.broker().Peek(queue, 100);
    for (const TaskView& each : *left) EXPECT_GE(each.id, late[0]) << queue;
    const QueueStats stats = core_.Stats(queue);
    EXPECT_EQ(stats.delayed, 0u);
    EXPECT_EQ(stats.put_total, 28u);
    EXPECT_EQ(stats.ready + stats.done_total + stats.cancelled_total, 28u)
        << stats.ready << " ready, " << stats.done_total << " done, " << stats.leased << " leased";
    EXPECT_LE(stats.cancelled_total, 20u);
  }
}

TEST_F(Sweep, WhoeverWaitsIsServedMeanwhile) {
  BuryMany(20);
  core_.Do([](Broker& broker) { broker.Get(CallerId{5}, "q", GetSpec{}); });
  auto effects = core_.Do([](Broker& broker) { broker.RetryDead(kCaller, "q", 0); });
  EXPECT_EQ(ReplyTo(effects, kCaller), nullptr);
  EXPECT_NE(ReplyTo(effects, CallerId{5}), nullptr) << "it waits for the end of the sweep";
}

TEST_F(Sweep, ARetryEndsWhenTheQueueIsClosed) {
  BuryMany(20);
  core_.Do([](Broker& broker) { broker.RetryDead(kCaller, "q", 0); });
  const uint64_t ready = core_.Stats("q").ready;
  ASSERT_LT(ready, 20u);
  core_.DoWithoutCommit([](Broker& broker) { EXPECT_TRUE(broker.CloseQueue("q").ok()); });
  core_.Commit();
  EXPECT_EQ(core_.Stats("q").ready, ready);
}

TEST_F(Sweep, ASmallOneIsNotHeldUpByALargeOne) {
  PutMany(60);
  core_.Create("small");
  core_.Put("small", "x");
  core_.Do([](Broker& broker) {
    broker.PurgeQueue(kCaller, "q");
    broker.PurgeQueue(CallerId{78}, "small");
  });
  EXPECT_EQ(core_.Stats("small").ready, 0u);
  EXPECT_GT(core_.Stats("q").ready, 40u);
  Reply answer;
  RoundsUntilAnswered(kCaller, &answer);
  EXPECT_EQ(answer.count, 60u);
}

TEST_F(Sweep, OneWhoseCallerIsGoneGoesOnUnheard) {
  PutMany(20);
  core_.Do([](Broker& broker) { broker.PurgeQueue(kCaller, "q"); });
  core_.Do([](Broker& broker) { broker.CallerGone(kCaller); });
  while (core_.next_tick == core_.now) {
    EXPECT_EQ(ReplyTo(core_.Do([](Broker&) {}), kCaller), nullptr);
  }
  EXPECT_EQ(core_.Stats("q").ready, 0u);
}

TEST_F(Sweep, AShutdownAnswersIt) {
  PutMany(20);
  core_.Do([](Broker& broker) { broker.PurgeQueue(kCaller, "q"); });
  auto effects = core_.Do([](Broker& broker) { broker.Shutdown(); });
  ASSERT_NE(ReplyTo(effects, kCaller), nullptr);
  EXPECT_EQ(ReplyTo(effects, kCaller)->status.code(), absl::StatusCode::kUnavailable);
}

TEST_F(Sweep, AQueueThatIsBeingDeletedIsGoneAtOnceAndItsNameFreeAtTheEnd) {
  PutSpec spec = core_.Spec("q");
  spec.policy.result_ttl_ms = 60'000;
  for (int i = 0; i < 10; ++i) {
    core_.Put(spec, "x");
    EXPECT_TRUE(core_.Done("q", core_.Get("q")[0], "kept").ok());
  }
  PutMany(20);
  const Delivery held = core_.Get("q", 1, 60'000).at(0);
  auto effects = core_.Do([](Broker& broker) { broker.DeleteQueue(kCaller, "q", true); });
  EXPECT_EQ(ReplyTo(effects, kCaller), nullptr);
  EXPECT_TRUE(absl::IsNotFound(core_.broker().GetQueue("q").status()));
  bool more = false;
  EXPECT_TRUE(core_.broker().ListQueues("", "", 10, &more).empty());
  EXPECT_FALSE(core_.Done("q", held).ok());
  core_.Do([](Broker& broker) {
    EXPECT_TRUE(absl::IsUnavailable(broker.CreateQueue("q", {}, true).status()));
    EXPECT_TRUE(absl::IsNotFound(joinq::testing::Purge(broker, "q").status()));
  });
  Reply answer;
  RoundsUntilAnswered(kCaller, &answer);
  EXPECT_TRUE(answer.status.ok());
  EXPECT_EQ(core_.broker().task_count(), 0u);
  core_.Create("q");
  EXPECT_EQ(core_.Stats("q").put_total, 0u);
  core_.Restart();
  EXPECT_EQ(core_.Stats("q").put_total, 0u);
  EXPECT_EQ(core_.broker().task_count(), 0u);
}

TEST_F(Sweep, ADeleteEndsTheOthersOfItsQueue) {
  PutMany(20);
  core_.Do([](Broker& broker) { broker.PurgeQueue(kCaller, "q"); });
  auto effects = core_.Do([](Broker& broker) { broker.DeleteQueue(CallerId{78}, "q", true); });
  ASSERT_NE(ReplyTo(effects, kCaller), nullptr);
  EXPECT_TRUE(absl::IsNotFound(ReplyTo(effects, kCaller)->status));
  Reply answer;
  RoundsUntilAnswered(CallerId{78}, &answer);
  EXPECT_TRUE(answer.status.ok());
}

TEST_F(Sweep, ARestartGoesOnWithADeletion) {
  PutMany(20);
  PutSpec spec = core_.Spec("q");
  for (int i = 0; i < 20; ++i) {
    core_.Do([&](Broker& broker) {
      std::vector<NewTask> tasks(1);
      tasks[0].request_id = std::to_string(i);
      broker.Put(CallerId{5}, spec, std::move(tasks));
    });
  }
  core_.Create("other");
  core_.Put("other", "x");
  core_.Do([](Broker& broker) { broker.DeleteQueue(kCaller, "q", true); });
  core_.Restart();
  EXPECT_TRUE(absl::IsNotFound(core_.broker().GetQueue("q").status()))
      << "those who waited were told that it is gone";
  do {
    core_.Do([](Broker&) {});
  } while (core_.next_tick == core_.now);
  EXPECT_EQ(core_.broker().task_count(), 1u);
  EXPECT_EQ(core_.broker().queue_count(), 1u);
  core_.Restart();
  EXPECT_EQ(core_.broker().queue_count(), 1u);
  EXPECT_EQ(core_.Stats("other").ready, 1u);
}

TEST_F(Sweep, DeadTasksGoBackToWorkRoundByRound) {
  BuryMany(20);
  ASSERT_EQ(core_.Stats("q").dead_kept, 20u);
  core_.Do([](Broker& broker) { broker.RetryDead(kCaller, "q", 15); });
  Reply answer;
  RoundsUntilAnswered(kCaller, &answer);
  EXPECT_EQ(answer.count, 15u);
  EXPECT_EQ(core_.Stats("q").ready, 15u);
  EXPECT_EQ(core_.Stats("q").dead_kept, 5u);
}

}  // namespace
}  // namespace joinq::core
