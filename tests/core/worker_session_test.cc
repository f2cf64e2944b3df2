#include "common/names.h"
#include "tests/support/core_harness.h"
#include "tests/support/sweeps.h"

namespace joinq::core {
namespace {

using testing::CoreHarness;

SessionProfile Profile(uint64_t id, std::vector<std::string> queues = {"q"}, uint32_t concurrency = 2) {
  SessionProfile profile;
  profile.id = id;
  profile.name = "w" + std::to_string(id);
  profile.queues = std::move(queues);
  profile.concurrency = concurrency;
  return profile;
}

void Attach(CoreHarness& core, CallerId stream, const SessionProfile& profile, uint32_t credit) {
  core.Do([&](Broker& broker) {
    ASSERT_TRUE(broker.AttachWorker(stream, profile, {}).ok());
    broker.WorkerCredit(stream, credit);
  });
}

Completion DoneOf(const Delivery& delivery) {
  Completion completion;
  completion.lease = {delivery.task, delivery.token};
  return completion;
}

TEST(Worker, IsSentNoMoreThanItsCredit) {
  CoreHarness core;
  Attach(core, CallerId{1}, Profile(1), 2);
  auto effects = core.Do([&](Broker& broker) {
    for (int i = 0; i < 5; ++i) broker.Put(CallerId{9}, core.Spec("q"), std::vector<NewTask>(1));
  });
  EXPECT_EQ(effects.deliveries.size(), 2u);
  effects = core.Do([](Broker& broker) { broker.WorkerCredit(CallerId{1}, 10); });
  EXPECT_EQ(effects.deliveries.size(), 3u);
}

TEST(Worker, TwoOfThemShareABurst) {
  CoreHarness core;
  Attach(core, CallerId{1}, Profile(1), 100);
  Attach(core, CallerId{2}, Profile(2), 100);
  auto effects =
      core.Do([&](Broker& broker) { broker.Put(CallerId{9}, core.Spec("q"), std::vector<NewTask>(40)); });
  int first = 0;
  for (const auto& delivery : effects.deliveries) first += delivery.to == CallerId{1};
  EXPECT_EQ(effects.deliveries.size(), 40u);
  EXPECT_EQ(first, 20);
}

TEST(Worker, AllItsQueuesAreServed) {
  CoreHarness core;
  core.Create("a");
  core.Create("b");
  for (int i = 0; i < 500; ++i) core.Put("a", "x");
  core.Put("b", "x");
  core.Do([](Broker& broker) {
    ASSERT_TRUE(broker.AttachWorker(CallerId{1}, Profile(1, {"a", "b"}), {}).ok());
  });
  auto effects = core.Do([](Broker& broker) { broker.WorkerCredit(CallerId{1}, 100); });
  bool b_served = false;
  for (const auto& delivery : effects.deliveries) b_served |= delivery.queue.view() == "b";
  EXPECT_TRUE(b_served);
}

TEST(Worker, CompletionsEndTasksAndAreAcknowledgedByNumber) {
  CoreHarness core;
  Attach(core, CallerId{1}, Profile(1), 2);
  core.Put("q", "x");
  auto effects = core.Do([](Broker& broker) { broker.WorkerCredit(CallerId{1}, 0); });
  core.Create("other");
  Effects put =
      core.Do([&](Broker& broker) { broker.Put(CallerId{9}, core.Spec("q"), std::vector<NewTask>(1)); });
  ASSERT_EQ(put.deliveries.size(), 1u);
  Completion done = DoneOf(put.deliveries[0]);
  effects = core.Do([&](Broker& broker) { broker.WorkerCompletions(CallerId{1}, 1, {&done, 1}); });
  ASSERT_EQ(effects.completion_acks.size(), 1u);
  EXPECT_EQ(effects.completion_acks[0].completions_seq, 1u);
  EXPECT_TRUE(effects.completion_acks[0].stale.empty());
  // Sent again after a reconnect: seen, acknowledged, not counted twice.
  effects = core.Do([&](Broker& broker) { broker.WorkerCompletions(CallerId{1}, 1, {&done, 1}); });
  EXPECT_EQ(effects.completion_acks[0].completions_seq, 1u);
  EXPECT_EQ(core.Stats("q").done_total, 1u);
  // A lease that is not there: said, and nothing else happens.
  Completion stale = done;
  stale.lease.token.sequence += 1000;
  effects = core.Do([&](Broker& broker) { broker.WorkerCompletions(CallerId{1}, 2, {&stale, 1}); });
  EXPECT_EQ(effects.completion_acks[0].stale.size(), 1u);
}

TEST(Worker, KeepsItsTasksThroughABriefDisconnect) {
  CoreHarness core;
  Attach(core, CallerId{1}, Profile(1), 3);
  auto effects =
      core.Do([&](Broker& broker) { broker.Put(CallerId{9}, core.Spec("q"), std::vector<NewTask>(3)); });
  ASSERT_EQ(effects.deliveries.size(), 3u);
  core.Do([](Broker& broker) { broker.CallerGone(CallerId{1}); });
  core.Advance(1000);
  EXPECT_EQ(core.Stats("q").leased, 3u);
  // It comes back with two of the three: the third was lost on the way and goes to others.
  const std::vector<LeaseRef> held = {{effects.deliveries[0].task, effects.deliveries[0].token},
                                      {effects.deliveries[1].task, effects.deliveries[1].token},
                                      {TaskId{999}, {1, 1}}};
  core.Do([&](Broker& broker) {
    auto welcome = broker.AttachWorker(CallerId{2}, Profile(1), held);
    ASSERT_TRUE(welcome.ok());
    ASSERT_EQ(welcome->lost.size(), 1u);
    EXPECT_EQ(welcome->lost[0].task, TaskId{999});
  });
  EXPECT_EQ(core.Stats("q").leased, 2u);
  EXPECT_EQ(core.Stats("q").ready, 1u);
}

TEST(Worker, WhenTheGraceIsOverItsTasksGoToOthersAndOnlyStartedOnesPayForIt) {
  CoreHarness core;
  Attach(core, CallerId{1}, Profile(1, {"q"}, /*concurrency=*/1), 3);
  core.Do([&](Broker& broker) {
    PutSpec spec = core.Spec("q");
    spec.policy.max_crashes = 1;
    broker.Put(CallerId{9}, spec, std::vector<NewTask>(3));
  });
  core.Do([](Broker& broker) { broker.CallerGone(CallerId{1}); });
  for (int ms : {1000, 1000, 999}) core.Advance(ms);
  EXPECT_EQ(core.Stats("q").leased, 3u);
  core.Advance(1);
  EXPECT_EQ(core.Stats("q").ready, 2u);
  EXPECT_EQ(core.Stats("q").dead, 1u);
  EXPECT_TRUE(core.broker().ListWorkers().empty());
}

TEST(Worker, SilenceIsDeathAndAWordIsLife) {
  CoreHarness core;
  Attach(core, CallerId{1}, Profile(1), 1);
  core.Do([&](Broker& broker) { broker.Put(CallerId{9}, core.Spec("q"), std::vector<NewTask>(1)); });
  for (int i = 0; i < 40; ++i) {
    core.Advance(1000);
    core.Do([](Broker& broker) { broker.SessionHeard(CallerId{1}); });
  }
  EXPECT_EQ(core.Stats("q").leased, 1u);
  for (int i = 0; i < 16; ++i) core.Advance(1000);
  EXPECT_EQ(core.Stats("q").ready, 1u);
  EXPECT_FALSE(core.broker().IsCurrent(CallerId{1}));
}

TEST(Worker, DrainingMeansNoMoreDeliveries) {
  CoreHarness core;
  Attach(core, CallerId{1}, Profile(1), 10);
  core.Do([](Broker& broker) { broker.WorkerDrains(CallerId{1}); });
  auto effects = core.Do([&](Broker& broker) {
    broker.Put(CallerId{9}, core.Spec("q"), std::vector<NewTask>(1));
    broker.WorkerCredit(CallerId{1}, 5);
  });
  EXPECT_TRUE(effects.deliveries.empty());
  core.Do([](Broker& broker) { broker.CallerGone(CallerId{1}); });
  EXPECT_TRUE(core.broker().ListWorkers().empty());
}

TEST(Worker, APausedOneKeepsItsCreditAndGetsNothing) {
  CoreHarness core;
  Attach(core, CallerId{1}, Profile(1), 10);
  auto effects = core.Do(
      [](Broker& broker) { EXPECT_EQ(broker.ControlWorker("w1", WorkerAction::kPause)->size(), 1u); });
  ASSERT_EQ(effects.actions.size(), 1u);
  EXPECT_EQ(effects.actions[0].to, CallerId{1});
  effects = core.Do([&](Broker& broker) {
    broker.Put(CallerId{9}, core.Spec("q"), std::vector<NewTask>(3));
    broker.WorkerCredit(CallerId{1}, 1);
  });
  EXPECT_TRUE(effects.deliveries.empty());
  EXPECT_EQ(core.broker().ListWorkers().at(0).state, WorkerState::kPaused);
  effects =
      core.Do([](Broker& broker) { EXPECT_TRUE(broker.ControlWorker("1", WorkerAction::kResume).ok()); });
  EXPECT_EQ(effects.deliveries.size(), 3u);
}

TEST(Worker, OneThatIsToldToDrainGetsNothingMore) {
  CoreHarness core;
  Attach(core, CallerId{1}, Profile(1), 10);
  Attach(core, CallerId{2}, Profile(2), 10);
  core.Do([](Broker& broker) { EXPECT_TRUE(broker.ControlWorker("w1", WorkerAction::kDrain).ok()); });
  auto effects =
      core.Do([&](Broker& broker) { broker.Put(CallerId{9}, core.Spec("q"), std::vector<NewTask>(3)); });
  ASSERT_EQ(effects.deliveries.size(), 3u);
  for (const Delivery& each : effects.deliveries) EXPECT_EQ(each.to, CallerId{2});
}

TEST(Worker, OneThatIsNotThereCannotBeToldAnything) {
  CoreHarness core;
  Attach(core, CallerId{1}, Profile(1), 10);
  core.Do([](Broker& broker) {
    EXPECT_EQ(broker.ControlWorker("", WorkerAction::kPause).status().code(),
              absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(broker.ControlWorker("w2", WorkerAction::kPause).status().code(), absl::StatusCode::kNotFound);
    broker.CallerGone(CallerId{1});
    EXPECT_EQ(broker.ControlWorker("w1", WorkerAction::kPause).status().code(),
              absl::StatusCode::kFailedPrecondition);
  });
}

TEST(Worker, IsToldWhenWhatItHoldsIsDeleted) {
  CoreHarness core;
  Attach(core, CallerId{1}, Profile(1), 1);
  auto put =
      core.Do([&](Broker& broker) { broker.Put(CallerId{9}, core.Spec("q"), std::vector<NewTask>(1)); });
  auto effects = core.Do([](Broker& broker) { EXPECT_TRUE(joinq::testing::Delete(broker, "q", true).ok()); });
  ASSERT_EQ(effects.cancels.size(), 1u);
  EXPECT_EQ(effects.cancels[0].lease.task, put.deliveries[0].task);
  EXPECT_EQ(core.broker().ListWorkers()[0].leases, 0u);
}

TEST(Worker, GoesOnWithAQueueThatWasDeletedAndMadeAnew) {
  CoreHarness core;
  Attach(core, CallerId{1}, Profile(1), 1);
  core.Do([](Broker& broker) {
    EXPECT_TRUE(joinq::testing::Delete(broker, "q", true).ok());
    EXPECT_TRUE(broker.CreateQueue("q", {}, false).ok());
  });
  auto effects =
      core.Do([&](Broker& broker) { broker.Put(CallerId{9}, core.Spec("q"), std::vector<NewTask>(1)); });
  EXPECT_EQ(effects.deliveries.size(), 1u);
}

TEST(Worker, BadHelloIsRefusedByField) {
  CoreHarness core;
  core.Do([](Broker& broker) {
    EXPECT_FALSE(broker.AttachWorker(CallerId{1}, Profile(0), {}).ok());
    EXPECT_FALSE(broker.AttachWorker(CallerId{1}, Profile(1, {}), {}).ok());
    EXPECT_FALSE(broker.AttachWorker(CallerId{1}, Profile(1, {"bad name"}), {}).ok());
    EXPECT_EQ(broker.queue_count(), 0u);
  });
}

// ---------------------------------------------------------------- resizing

TEST(Worker, AResizeReachesTheWorkerWithItsNumber) {
  CoreHarness core;
  Attach(core, CallerId{1}, Profile(1), 0);
  auto effects = core.Do([](Broker& broker) {
    ASSERT_TRUE(broker.ControlWorker("w1", WorkerAction::kPause).ok());
    auto told = broker.ControlWorker("w1", WorkerAction::kResize, 8);
    ASSERT_TRUE(told.ok()) << told.status();
    EXPECT_EQ((*told)[0].state, WorkerState::kPaused);  // which a resize leaves alone
  });
  ASSERT_EQ(effects.actions.size(), 2u);
  EXPECT_EQ(effects.actions[1].action, WorkerAction::kResize);
  EXPECT_EQ(effects.actions[1].children, 8u);
}

TEST(Worker, AResizeToAnythingElseIsRefused) {
  CoreHarness core;
  Attach(core, CallerId{1}, Profile(1), 0);
  core.Do([](Broker& broker) {
    for (uint32_t children : {0u, kChildrenMax + 1}) {
      auto told = broker.ControlWorker("w1", WorkerAction::kResize, children);
      EXPECT_EQ(FieldOf(told.status()), "children");
    }
    EXPECT_EQ(FieldOf(broker.ControlWorker("w1", WorkerAction::kPause, 1).status()), "children");
    EXPECT_TRUE(broker.effects().actions.empty());
  });
}

TEST(Worker, InTroubleIsFailing) {
  CoreHarness core;
  Attach(core, CallerId{1}, Profile(1), 0);
  core.Do([](Broker& broker) {
    WorkerStatus status;
    status.trouble = std::string(kTroubleBytesMax - 1, 'x') + "\xc3\xa4";
    broker.WorkerReports(CallerId{1}, status);
    const WorkerView view = broker.ListWorkers()[0];
    EXPECT_EQ(view.state, WorkerState::kFailing);
    EXPECT_EQ(view.status.trouble, std::string(kTroubleBytesMax - 1, 'x'));  // no half characters
    ASSERT_TRUE(broker.ControlWorker("w1", WorkerAction::kDrain).ok());
    EXPECT_EQ(broker.ListWorkers()[0].state, WorkerState::kDraining);
  });
}

}  // namespace
}  // namespace joinq::core
