// Dead tasks: kept with what happened to them, replayed, forgotten.
#include "tests/support/core_harness.h"
#include "tests/support/sweeps.h"

namespace joinq::core {
namespace {

using testing::CoreHarness;

TaskError Error(const std::string& message, FailureKind kind = FailureKind::kHandlerError) {
  TaskError error;
  error.kind = kind;
  error.message = message;
  return error;
}

// A task that died after two attempts.
TaskId Kill(CoreHarness& core, const std::string& payload = "x") {
  PutSpec spec = core.Spec("q");
  spec.policy.max_attempts = 2;
  spec.policy.retry_delay_ms = 10;
  const TaskId id = core.Put(spec, payload);
  EXPECT_TRUE(core.Fail("q", core.Get("q").at(0), Error("first")).ok());
  core.Advance(20);
  EXPECT_TRUE(core.Fail("q", core.Get("q").at(0), Error("second")).ok());
  return id;
}

TEST(Dead, ATaskKeepsItsErrorAndHistoryAndIsFinished) {
  CoreHarness core;
  core.Create("q");
  const TaskId id = Kill(core);
  for (bool restarted : {false, true}) {
    if (restarted) core.Restart();
    EXPECT_EQ(core.Stats("q").unfinished(), 0u);
    EXPECT_EQ(core.Stats("q").dead_kept, 1u);
    EXPECT_EQ(core.Stats("q").dead, 1u);
    auto view = core.broker().GetTask(id);
    ASSERT_TRUE(view.ok());
    EXPECT_EQ(view->state, TaskState::kDead);
    EXPECT_EQ(view->outcome, Outcome::kFailed);
    EXPECT_EQ(view->payload.view(), "x");
    ASSERT_NE(view->error, nullptr);
    EXPECT_EQ(view->error->message, "second");
    ASSERT_EQ(view->history.size(), 2u);
    EXPECT_EQ(view->history[0].message, "first");
    EXPECT_EQ(view->history[1].delivery, 2u);
  }
}

TEST(Dead, ARetryGivesFreshBudgetsAndIsUnfinishedAgain) {
  CoreHarness core;
  core.Create("q");
  const TaskId id = Kill(core);
  core.Do([&](Broker& broker) { EXPECT_TRUE(broker.RetryTask(id).ok()); });
  for (bool restarted : {false, true}) {
    if (restarted) core.Restart();
    EXPECT_EQ(core.Stats("q").unfinished(), 1u);
    EXPECT_EQ(core.Stats("q").dead_kept, 0u);
    EXPECT_EQ(core.Stats("q").retried_total, 1u);
    EXPECT_EQ(core.broker().GetTask(id)->attempts, 0u);
  }
  EXPECT_TRUE(core.Fail("q", core.Get("q").at(0), Error("third")).ok());
  EXPECT_EQ(core.Stats("q").delayed, 1u) << "one of two attempts is left";
}

TEST(Dead, ManyAreRetriedOldestFirstUpToALimitAndPurged) {
  CoreHarness core;
  core.Create("q");
  for (const char* payload : {"1", "2", "3"}) Kill(core, payload);
  core.Do([](Broker& broker) { EXPECT_EQ(*joinq::testing::RetryDead(broker, "q", 2), 2u); });
  std::string order;
  for (const auto& delivery : core.Get("q", 10)) order += delivery.payload.view();
  EXPECT_EQ(order, "12");
  core.Do([](Broker& broker) { EXPECT_EQ(*joinq::testing::PurgeDead(broker, "q"), 1u); });
  core.Restart();
  EXPECT_EQ(core.Stats("q").dead_kept, 0u);
}

TEST(Dead, OnlyTheNewestAreKept) {
  CoreHarness core;
  core.Create("q", {.dead_max = 2});
  for (const char* payload : {"1", "2", "3"}) Kill(core, payload);
  EXPECT_EQ(core.Stats("q").dead_kept, 2u);
  EXPECT_EQ(core.Stats("q").dead, 3u);
  core.Do([](Broker& broker) { EXPECT_EQ(*joinq::testing::RetryDead(broker, "q", 0), 2u); });
  EXPECT_EQ(core.Get("q").at(0).payload.view(), "2");
}

TEST(Dead, NoneAreKeptWhereTheQueueWantsNone) {
  CoreHarness core;
  core.Create("q", {.dead_max = 0});
  const TaskId id = Kill(core);
  EXPECT_EQ(core.Stats("q").dead, 1u);
  EXPECT_FALSE(core.broker().GetTask(id).ok());
}

TEST(Dead, AWaiterForTheResultIsTold) {
  CoreHarness core;
  core.Create("q");
  PutSpec spec = core.Spec("q");
  spec.policy.result_ttl_ms = 60'000;
  const TaskId id = core.Put(spec, "x");
  const Delivery taken = core.Get("q").at(0);
  core.Do([&](Broker& broker) { broker.GetResult(CallerId{7}, id, 1000, false); });
  auto effects = core.Do([&](Broker& broker) {
    const LeaseRef lease{taken.task, taken.token};
    EXPECT_TRUE(broker.Fail("q", {&lease, 1}, Error("no")).ok());
  });
  const Reply* reply = testing::ReplyTo(effects, CallerId{7});
  ASSERT_NE(reply, nullptr);
  EXPECT_EQ(reply->result->outcome, Outcome::kFailed);
  EXPECT_EQ(reply->result->error->message, "no");
  EXPECT_TRUE(reply->result->payload.view().empty()) << "its payload is not its result";
}

TEST(Cancel, EndsAWaitingTaskOnce) {
  CoreHarness core;
  core.Create("q");
  const TaskId id = core.Put("q", "x");
  core.Do([&](Broker& broker) { EXPECT_EQ(broker.CancelTask(id)->outcome, Outcome::kCancelled); });
  EXPECT_EQ(core.Stats("q").cancelled_total, 1u);
  EXPECT_TRUE(core.Get("q").empty());
  // Its answer may have been lost: repeating it is OK.
  core.Do([&](Broker& broker) { EXPECT_EQ(broker.CancelTask(id)->outcome, Outcome::kCancelled); });
  EXPECT_EQ(core.Stats("q").cancelled_total, 1u);
  const TaskId other = core.Put("q", "y");
  EXPECT_TRUE(core.Done("q", core.Get("q")[0]).ok());
  core.Do([&](Broker& broker) {
    EXPECT_EQ(broker.CancelTask(other).status().code(), absl::StatusCode::kNotFound);
  });
}

TEST(Cancel, OfALeasedTaskTellsItsHolderAndMakesTheLeaseStale) {
  CoreHarness core;
  SessionProfile profile;
  profile.id = 3;
  profile.name = "w";
  profile.queues = {"q"};
  core.Do([&](Broker& broker) {
    ASSERT_TRUE(broker.AttachWorker(CallerId{1}, profile, {}).ok());
    broker.WorkerCredit(CallerId{1}, 1);
  });
  auto effects =
      core.Do([&](Broker& broker) { broker.Put(CallerId{9}, core.Spec("q"), std::vector<NewTask>(1)); });
  const Delivery taken = effects.deliveries.at(0);
  effects = core.Do([&](Broker& broker) { EXPECT_TRUE(broker.CancelTask(taken.task).ok()); });
  ASSERT_EQ(effects.cancels.size(), 1u);
  EXPECT_EQ(effects.cancels[0].lease.token, taken.token);
  EXPECT_FALSE(core.Done("q", taken).ok());
  EXPECT_EQ(core.Stats("q").unfinished(), 0u);
}

TEST(Retry, MakesADelayedTaskReadyAtOnceAndRefusesOthers) {
  CoreHarness core;
  core.Create("q");
  PutSpec spec = core.Spec("q");
  spec.delay_ms = 100'000;
  const TaskId id = core.Put(spec, "x");
  core.Do([&](Broker& broker) {
    EXPECT_TRUE(broker.RetryTask(id).ok());
    EXPECT_EQ(broker.RetryTask(id).status().code(), absl::StatusCode::kFailedPrecondition);
  });
  EXPECT_EQ(core.Get("q").size(), 1u);
}

}  // namespace
}  // namespace joinq::core
