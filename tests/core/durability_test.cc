// What survives what: levels a queue, leases over a restart, payloads on disk only.
#include "tests/support/core_harness.h"

namespace joinq::core {
namespace {

using testing::CoreHarness;

SessionProfile Worker(uint64_t id) {
  SessionProfile profile;
  profile.id = id;
  profile.name = "w";
  profile.queues = {"q"};
  profile.concurrency = 4;
  return profile;
}
// A worker that has just been handed one task.
Delivery HandOut(CoreHarness& core, CallerId stream, uint64_t worker) {
  core.Do([&](Broker& broker) {
    ASSERT_TRUE(broker.AttachWorker(stream, Worker(worker), {}).ok());
    broker.WorkerCredit(stream, 1);
  });
  auto effects =
      core.Do([&](Broker& broker) { broker.Put(CallerId{99}, core.Spec("q"), std::vector<NewTask>(1)); });
  EXPECT_EQ(effects.deliveries.size(), 1u);
  return effects.deliveries.at(0);
}
SessionWelcome Reattach(CoreHarness& core, CallerId stream, uint64_t worker, const Delivery& held) {
  SessionWelcome welcome;
  const LeaseRef lease{held.task, held.token};
  core.Do([&](Broker& broker) { welcome = *broker.AttachWorker(stream, Worker(worker), {&lease, 1}); });
  return welcome;
}

TEST(Durability, OnlyFsyncQueuesAskForASync) {
  CoreHarness core;
  core.Create("f");
  core.Create("w", {.durability = Durability::kWal});
  core.Put("f", "x");
  EXPECT_TRUE(core.last_sync);
  core.Put("w", "x");
  EXPECT_FALSE(core.last_sync);
}

TEST(Durability, AMemoryQueueOutlivesARestartWithoutItsTasks) {
  CoreHarness core;
  core.Create("m", {.durability = Durability::kMemory});
  core.Put("m", "x");
  EXPECT_TRUE(core.disk().entries.size() == 1u) << "nothing but the queue itself is written";
  core.Restart();
  EXPECT_EQ(core.Stats("m").unfinished(), 0u);
  core.Put("m", "y");
  EXPECT_EQ(core.Get("m").at(0).payload.view(), "y");
}

TEST(Durability, ThePutsAnswerSaysWhichLevelWasReached) {
  CoreHarness core;
  core.Create("w", {.durability = Durability::kWal});
  auto effects =
      core.Do([&](Broker& broker) { broker.Put(CallerId{1}, core.Spec("w"), std::vector<NewTask>(1)); });
  EXPECT_EQ(effects.replies.at(0).durability, Durability::kWal);
  effects = core.Do([&](Broker& broker) {
    EXPECT_TRUE(broker.AttachProducer(CallerId{2}, 9, "p").ok());
    std::vector<NewTask> tasks(1);
    tasks[0].tag = 1;
    broker.PutStream(CallerId{2}, core.Spec("w"), tasks);
  });
  EXPECT_EQ(effects.put_acks.at(0).durability, Durability::kWal);
}

TEST(Durability, AndOrderOfAQueueThatHoldsTasksCannotChange) {
  CoreHarness core;
  core.Create("q");
  core.Put("q", "x");
  QueueChanges changes;
  changes.order = Order::kLifo;
  core.Do([&](Broker& broker) {
    const absl::Status no = broker.UpdateQueue("q", changes).status();
    EXPECT_EQ(no.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(no.message()), ::testing::HasSubstr("order of queue \"q\" cannot change"));
  });
  EXPECT_TRUE(core.Done("q", core.Get("q").at(0)).ok());
  core.Do([&](Broker& broker) { EXPECT_EQ(broker.UpdateQueue("q", changes)->options.order, Order::kLifo); });
  core.Restart();
  core.Put("q", "1");
  core.Put("q", "2");
  EXPECT_EQ(core.Get("q").at(0).payload.view(), "2");
}

TEST(LeaseOverRestart, ALeaseOlderThanASecondIsReclaimedAndItsCompletionCounts) {
  CoreHarness core;
  const Delivery taken = HandOut(core, CallerId{1}, 7);
  core.Advance(1000);
  core.Restart();
  EXPECT_EQ(core.Stats("q").leased, 1u) << "its holder may come back";
  EXPECT_TRUE(Reattach(core, CallerId{2}, 7, taken).lost.empty());
  // Another worker does not get it.
  auto effects = core.Do([](Broker& broker) {
    ASSERT_TRUE(broker.AttachWorker(CallerId{3}, Worker(8), {}).ok());
    broker.WorkerCredit(CallerId{3}, 10);
  });
  EXPECT_TRUE(effects.deliveries.empty());
  EXPECT_TRUE(core.Done("q", taken).ok());
  EXPECT_EQ(core.Stats("q").done_total, 1u);
}

TEST(LeaseOverRestart, AYoungerOneIsReclaimedAsLongAsNobodyGotTheTask) {
  CoreHarness core;
  const Delivery taken = HandOut(core, CallerId{1}, 7);
  core.Restart();
  EXPECT_EQ(core.Stats("q").ready, 1u);
  EXPECT_TRUE(Reattach(core, CallerId{2}, 7, taken).lost.empty());
  EXPECT_EQ(core.Stats("q").leased, 1u);
  EXPECT_TRUE(core.Done("q", taken).ok());
}

TEST(LeaseOverRestart, OneWhoseTaskWasDelayedBeforeIsReclaimedBeforeTheFirstTick) {
  CoreHarness core;
  core.Do([](Broker& broker) {
    EXPECT_TRUE(broker.AttachWorker(CallerId{1}, Worker(7), {}).ok());
    broker.WorkerCredit(CallerId{1}, 1);
  });
  PutSpec spec = core.Spec("q");
  spec.delay_ms = 1000;
  core.Put(spec, "x");
  auto effects = core.Advance(1000);
  ASSERT_EQ(effects.deliveries.size(), 1u);
  const Delivery taken = effects.deliveries[0];
  core.Restart();  // the disk has it as delayed, and its time has come
  EXPECT_TRUE(Reattach(core, CallerId{2}, 7, taken).lost.empty());
  EXPECT_TRUE(core.Done("q", taken).ok());
}

TEST(LeaseOverRestart, OneThatSomebodyGotMeanwhileIsLost) {
  CoreHarness core;
  const Delivery taken = HandOut(core, CallerId{1}, 7);
  core.Restart();
  const Delivery again = core.Get("q").at(0);
  EXPECT_GT(again.token, taken.token);
  EXPECT_EQ(Reattach(core, CallerId{2}, 7, taken).lost.size(), 1u);
  EXPECT_FALSE(core.Done("q", taken).ok());
}

TEST(LeaseOverRestart, OfTwoHoldersTheNewerTokenWins) {
  CoreHarness core;
  const Delivery older = HandOut(core, CallerId{1}, 7);
  Delivery newer = older;
  ++newer.token.sequence;  // as if it had been handed on before the crash
  core.Restart();
  EXPECT_TRUE(Reattach(core, CallerId{2}, 7, older).lost.empty());
  EXPECT_TRUE(Reattach(core, CallerId{3}, 8, newer).lost.empty());
  EXPECT_FALSE(core.Done("q", older).ok());
  EXPECT_TRUE(core.Done("q", newer).ok());
}

TEST(LeaseOverRestart, AHolderThatDoesNotComeBackLosesTheTaskAfterTheGrace) {
  CoreHarness core;
  HandOut(core, CallerId{1}, 7);
  core.Advance(1000);
  core.Restart();
  for (int i = 0; i < 5; ++i) core.Advance(1'999);  // longer steps would look like a pause of the broker
  EXPECT_TRUE(core.Get("q").empty());
  core.Advance(5);
  EXPECT_EQ(core.Get("q").size(), 1u);
}

TEST(LeaseOverRestart, ADirectConsumersLeaseGoesOn) {
  CoreHarness core;
  core.Create("q");
  core.Put("q", "x");
  const Delivery taken = core.Get("q", 1, 60'000).at(0);
  core.Advance(1500);
  core.Restart();
  EXPECT_TRUE(core.Get("q").empty());
  EXPECT_TRUE(core.Done("q", taken).ok());
}

TEST(LeaseOverRestart, ACompletionThatWasAcceptedIsOkWhenItIsRepeated) {
  CoreHarness core;
  core.Create("q");
  core.Put("q", "x");
  const Delivery taken = core.Get("q").at(0);
  EXPECT_TRUE(core.Done("q", taken).ok());
  core.Restart();
  EXPECT_TRUE(core.Done("q", taken).ok()) << "its answer may have been lost";
  EXPECT_EQ(core.Stats("q").done_total, 1u);
}

TEST(LeaseOverRestart, AReleaseOfAMarkedLeaseIsRemembered) {
  CoreHarness core;
  const Delivery taken = HandOut(core, CallerId{1}, 7);
  core.Advance(1000);
  const LeaseRef lease{taken.task, taken.token};
  core.Do([&](Broker& broker) { EXPECT_TRUE(broker.Release("q", {&lease, 1}, 0).ok()); });
  core.Restart();
  EXPECT_EQ(core.Stats("q").leased, 0u);
}

// A broker that may keep 4,000 bytes of payloads in memory.
class Budget : public ::testing::Test {
 protected:
  Budget() : core_(Small()) { core_.Create("q"); }
  static Limits Small() {
    Limits limits;
    limits.memory_budget_bytes = 4'000;
    limits.journal_bytes_min = 2'000;
    return limits;
  }
  static std::string Body(int i) { return std::to_string(i) + std::string(100, '.'); }
  void PutMany(int from, int to) {
    for (int i = from; i < to; ++i) {
      core_.Put("q", Body(i));
      // Tasks elsewhere that come and go turn the journal over.
      core_.Put("other", std::string(200, 'x'));
      ASSERT_TRUE(core_.Done("other", core_.Get("other").at(0)).ok());
    }
  }
  CoreHarness core_;
};

TEST_F(Budget, PayloadsBeyondItLeaveMemoryAndComeBackInOrder) {
  core_.Create("other");
  PutMany(0, 300);
  EXPECT_LT(core_.broker().resident_bytes(), 15'000u);
  EXPECT_GT(core_.broker().payload_bytes(), 30'000u);
  for (int i = 0; i < 300; ++i) {
    auto got = core_.Get("q");
    if (got.empty()) got = core_.Get("q");  // it was being read
    ASSERT_EQ(got.size(), 1u) << i;
    ASSERT_EQ(got[0].payload.view(), Body(i));
    ASSERT_TRUE(core_.Done("q", got[0]).ok());
  }
  EXPECT_EQ(core_.Stats("q").done_total, 300u);
}

TEST_F(Budget, ARestartKeepsToIt) {
  core_.Create("other");
  PutMany(0, 300);
  core_.Restart();
  EXPECT_LT(core_.broker().resident_bytes(), 15'000u);
  EXPECT_EQ(core_.Stats("q").ready, 300u);
}

TEST_F(Budget, AParkedGetIsServedOnceThePayloadIsRead) {
  core_.Create("other");
  PutMany(0, 300);
  core_.Do([](Broker& broker) { EXPECT_TRUE(broker.PauseQueue("q", true).ok()); });
  GetSpec get;
  get.timeout_ms = 1000;
  core_.Do([&](Broker& broker) { broker.Get(CallerId{5}, "q", get); });
  auto effects = core_.Do([](Broker& broker) { EXPECT_TRUE(broker.PauseQueue("q", false).ok()); });
  ASSERT_NE(testing::ReplyTo(effects, CallerId{5}), nullptr);
  EXPECT_EQ(testing::ReplyTo(effects, CallerId{5})->deliveries.at(0).payload.view(), Body(0));
}

TEST_F(Budget, WhatIsReadAheadForManyQueuesStaysWithinABound) {
  Limits limits;
  limits.memory_budget_bytes = 64 << 10;
  limits.journal_bytes_min = 4096;
  CoreHarness core(limits);
  const auto name = [](int q) { return "q" + std::to_string(q); };
  for (int q = 0; q < 50; ++q) {
    core.Create(name(q));
    for (int i = 0; i < 100; ++i) core.Put(name(q), std::string(1000, 'x'));
  }
  core.Create("other");
  const auto churn = [&] {
    for (int i = 0; i < 200; ++i) {
      core.Put("other", std::string(1000, 'x'));
      EXPECT_TRUE(core.Done("other", core.Get("other").at(0)).ok());
    }
  };
  churn();
  ASSERT_LT(core.broker().resident_bytes(), 100u << 10);
  // Every queue once, so that each reads ahead; then nobody comes again.
  for (int round = 0; round < 3; ++round) {
    for (int q = 0; q < 50; ++q) {
      const auto got = core.Get(name(q));
      for (const Delivery& each : got) EXPECT_TRUE(core.Done(name(q), each).ok());
    }
    EXPECT_LT(core.broker().resident_bytes(), 2u * (64 << 10));
  }
  // And one that is wanted in earnest is read far ahead all the same.
  int tasks = 0, reads = 0;
  while (core.Stats("q7").ready > 0) {
    const auto got = core.Get("q7", 10);
    tasks += static_cast<int>(got.size());
    reads += got.empty();
    for (const Delivery& each : got) EXPECT_TRUE(core.Done("q7", each).ok());
  }
  EXPECT_GE(tasks, 97);
  EXPECT_LT(reads, 10);
}

TEST_F(Budget, WhatIsHandedBackLeavesMemoryAgain) {
  Limits limits;
  limits.memory_budget_bytes = 64 << 10;
  limits.journal_bytes_min = 4096;
  CoreHarness core(limits);
  core.Create("q");
  core.Create("other");
  for (int i = 0; i < 200; ++i) core.Put("q", std::string(10'000, 'x'));
  for (int i = 0; i < 40; ++i) {
    for (const Delivery& each : core.Get("q", 10, 60'000)) {
      core.Do([&](Broker& broker) {
        const LeaseRef lease{each.task, each.token};
        EXPECT_TRUE(broker.Release("q", {&lease, 1}, 0).ok());
      });
    }
    core.Put("other", std::string(1000, 'y'));  // a commit
  }
  EXPECT_LT(core.broker().resident_bytes(), 300'000u);
}

TEST(Disk, WhenItIsLowPutsAreRefusedAndCompletionsAreNot) {
  CoreHarness core;
  core.Create("q");
  core.Put("q", "x");
  core.Put("q", "y");
  core.Do([](Broker& broker) { broker.SetDiskLevel(DiskLevel::kLow); });
  auto effects =
      core.Do([&](Broker& broker) { broker.Put(CallerId{1}, core.Spec("q"), std::vector<NewTask>(1)); });
  EXPECT_EQ(effects.replies.at(0).status.code(), absl::StatusCode::kResourceExhausted);
  const Delivery taken = core.Get("q").at(0);
  core.Do([](Broker& broker) { broker.SetDiskLevel(DiskLevel::kCritical); });
  EXPECT_TRUE(core.Get("q").empty()) << "nothing is handed out";
  EXPECT_TRUE(core.Done("q", taken).ok());
  core.Do([](Broker& broker) { broker.SetDiskLevel(DiskLevel::kOk); });
  EXPECT_EQ(core.Get("q").size(), 1u);
}

}  // namespace
}  // namespace joinq::core
