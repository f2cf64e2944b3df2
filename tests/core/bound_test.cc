// Tasks that are bound to a client's session end with it.
#include "tests/support/core_harness.h"

namespace joinq::core {
namespace {

using testing::CoreHarness;
using testing::ReplyTo;

constexpr CallerId kStream{1}, kWorker{7};
constexpr uint64_t kSession = 5;

struct BoundTest : ::testing::Test {
  explicit BoundTest(Limits limits = {}) : core(limits) { core.Create("q"); }

  void Attach(CallerId stream = kStream, uint64_t session = kSession) {
    SessionProfile profile;
    profile.id = session;
    profile.name = "c";
    core.Do([&](Broker& broker) { ASSERT_TRUE(broker.AttachClient(stream, profile, {}).ok()); });
  }
  void AttachWorker(uint32_t credit) {
    SessionProfile profile;
    profile.id = 70;
    profile.name = "w";
    profile.queues = {"q"};
    core.Do([&](Broker& broker) {
      ASSERT_TRUE(broker.AttachWorker(kWorker, profile, {}).ok());
      broker.WorkerCredit(kWorker, credit);
    });
  }
  Effects Leave() {
    return core.Do([](Broker& broker) { broker.ClientLeaves(kStream); });
  }
  PutSpec Spec(uint64_t session = kSession) {
    PutSpec spec = core.Spec("q");
    spec.session_id = session;
    spec.policy.result_ttl_ms = 600'000;
    return spec;
  }
  absl::Status Refusal(const PutSpec& spec) {
    auto effects = core.Do([&](Broker& broker) { broker.Put(CallerId{9}, spec, std::vector<NewTask>(1)); });
    return effects.replies.at(0).status;
  }
  Outcome OutcomeOf(TaskId task) {
    auto view = core.broker().GetTask(task);
    EXPECT_TRUE(view.ok()) << view.status();
    return view.ok() ? view->outcome : Outcome::kUnfinished;
  }
  // So many milliseconds, in steps that no broker takes for a pause of its own.
  void Wait(int64_t ms) {
    for (; ms > 0; ms -= 1000) core.Advance(std::min<int64_t>(ms, 1000));
  }

  CoreHarness core;
};

TEST_F(BoundTest, TheyAreCancelledWhenTheSessionLeaves) {
  Attach();
  const TaskId ready = core.Put(Spec(), "x");
  PutSpec later = Spec();
  later.delay_ms = 1000;
  const TaskId delayed = core.Put(later, "y");
  const TaskId other = core.Put(Spec(0), "z");
  EXPECT_EQ(core.broker().GetTask(ready)->session_id, kSession);
  Leave();
  EXPECT_EQ(OutcomeOf(ready), Outcome::kCancelled);
  EXPECT_EQ(OutcomeOf(delayed), Outcome::kCancelled);
  EXPECT_EQ(OutcomeOf(other), Outcome::kUnfinished);
}

TEST_F(BoundTest, TheWorkerThatRunsOneIsTold) {
  Attach();
  const TaskId task = core.Put(Spec(), "x");
  AttachWorker(1);
  ASSERT_EQ(core.broker().GetTask(task)->state, TaskState::kLeased);
  const auto effects = Leave();
  ASSERT_EQ(effects.cancels.size(), 1u);
  EXPECT_EQ(effects.cancels[0].to, kWorker);
  EXPECT_EQ(effects.cancels[0].lease.task, task);
  EXPECT_EQ(OutcomeOf(task), Outcome::kCancelled);
}

TEST_F(BoundTest, WhoWaitsForTheResultHearsOfIt) {
  Attach();
  const TaskId task = core.Put(Spec(), "x");
  core.Do([&](Broker& broker) { broker.GetResult(CallerId{9}, task, 10'000, false); });
  const auto effects = Leave();
  ASSERT_NE(ReplyTo(effects, CallerId{9}), nullptr);
  EXPECT_EQ(ReplyTo(effects, CallerId{9})->result->outcome, Outcome::kCancelled);
}

TEST_F(BoundTest, AJoinOfTheQueueReturns) {
  Attach();
  core.Put(Spec(), "x");
  core.Do([&](Broker& broker) { broker.Join(CallerId{9}, "q", 0, false); });
  const auto effects = Leave();
  ASSERT_NE(ReplyTo(effects, CallerId{9}), nullptr);
  EXPECT_TRUE(ReplyTo(effects, CallerId{9})->status.ok());
}

TEST_F(BoundTest, ABrokenStreamHasTheGraceToComeBack) {
  Attach();
  const TaskId task = core.Put(Spec(), "x");
  core.Do([](Broker& broker) { broker.CallerGone(kStream); });
  Wait(2900);
  Attach(CallerId{2});
  Wait(4000);
  EXPECT_EQ(OutcomeOf(task), Outcome::kUnfinished);
  core.Do([](Broker& broker) { broker.CallerGone(CallerId{2}); });
  Wait(2900);
  EXPECT_EQ(OutcomeOf(task), Outcome::kUnfinished);
  Wait(200);
  EXPECT_EQ(OutcomeOf(task), Outcome::kCancelled);
}

TEST_F(BoundTest, ASilentSessionEndsThem) {
  Attach();
  const TaskId task = core.Put(Spec(), "x");
  Wait(14'000);
  EXPECT_EQ(OutcomeOf(task), Outcome::kUnfinished);
  Wait(2'000);
  EXPECT_EQ(OutcomeOf(task), Outcome::kCancelled);
}

TEST_F(BoundTest, ThoseThatEndedBeforeKeepTheirOutcome) {
  Attach();
  const TaskId task = core.Put(Spec(), "x");
  ASSERT_TRUE(core.Done("q", core.Get("q").at(0)).ok());
  EXPECT_EQ(core.broker().GetTask(task)->session_id, 0u);
  PutSpec failing = Spec();
  failing.policy.max_attempts = 1;
  const TaskId dead = core.Put(failing, "y");
  ASSERT_TRUE(core.Fail("q", core.Get("q").at(0)).ok());
  Leave();
  EXPECT_EQ(OutcomeOf(task), Outcome::kSucceeded);
  EXPECT_EQ(core.broker().GetTask(dead)->state, TaskState::kDead);
}

TEST_F(BoundTest, ADeadOneThatIsRetriedIsBoundNoMore) {
  Attach();
  const TaskId task = core.Put(Spec(), "x");
  ASSERT_TRUE(core.Fail("q", core.Get("q").at(0)).ok());
  core.Do([&](Broker& broker) { ASSERT_TRUE(broker.RetryTask(task).ok()); });
  Leave();
  EXPECT_EQ(OutcomeOf(task), Outcome::kUnfinished);
  core.Restart();
  Wait(12'000);
  EXPECT_EQ(OutcomeOf(task), Outcome::kUnfinished);
}

TEST_F(BoundTest, ARetryStaysBound) {
  Attach();
  PutSpec spec = Spec();
  spec.policy.max_attempts = 3;
  const TaskId task = core.Put(spec, "x");
  ASSERT_TRUE(core.Fail("q", core.Get("q").at(0)).ok());
  core.Restart();
  EXPECT_EQ(core.broker().GetTask(task)->session_id, kSession);
  Attach();
  Leave();
  EXPECT_EQ(OutcomeOf(task), Outcome::kCancelled);
}

TEST_F(BoundTest, WhatTheSessionItselfHoldsIsCancelledToo) {
  Attach();
  const TaskId task = core.Put(Spec(), "x");
  GetSpec get;
  get.session_id = kSession;
  get.no_wait = true;
  core.Do([&](Broker& broker) { broker.Get(CallerId{50}, "q", get); });
  ASSERT_EQ(core.broker().GetTask(task)->state, TaskState::kLeased);
  core.Do([](Broker& broker) { broker.CallerGone(kStream); });
  Wait(3100);
  EXPECT_EQ(OutcomeOf(task), Outcome::kCancelled);
}

TEST_F(BoundTest, OnlyAnOpenClientsSessionTakesThem) {
  const absl::Status unknown = Refusal(Spec());
  EXPECT_EQ(unknown.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(unknown.message()), ::testing::HasSubstr("options.session_id"));
  AttachWorker(0);
  EXPECT_EQ(Refusal(Spec(70)).code(), absl::StatusCode::kFailedPrecondition);
  Attach();
  Leave();
  EXPECT_EQ(Refusal(Spec()).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(core.Stats("q").put_total, 0u);
}

TEST_F(BoundTest, APutThatIsRepeatedAfterTheSessionsEndIsStillTheSameTask) {
  Attach();
  std::vector<TaskId> ids;
  for (int i = 0; i < 2; ++i) {
    auto effects = core.Do([&](Broker& broker) {
      std::vector<NewTask> tasks(1);
      tasks[0].request_id = "r";
      broker.Put(CallerId{9}, Spec(), std::move(tasks));
    });
    ASSERT_TRUE(effects.replies.at(0).status.ok()) << effects.replies[0].status;
    ids.push_back(effects.replies[0].task_ids.at(0));
    if (i == 0) Leave();
  }
  EXPECT_EQ(ids[0], ids[1]);
}

TEST_F(BoundTest, APutThatWaitedForRoomLongerThanTheSessionLivedIsRefused) {
  core.Create("small", {.maxsize = 1});
  Attach();
  core.Put("small", "x");
  PutSpec spec = Spec();
  spec.queue = "small";
  core.Do([&](Broker& broker) { broker.Put(CallerId{9}, spec, std::vector<NewTask>(1)); });
  Leave();
  auto effects = core.Do([&](Broker& broker) {
    GetSpec get;
    get.ack = get.no_wait = true;
    broker.Get(CallerId{50}, "small", get);
  });
  ASSERT_NE(ReplyTo(effects, CallerId{9}), nullptr);
  EXPECT_EQ(ReplyTo(effects, CallerId{9})->status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(core.Stats("small").unfinished(), 0u);
}

TEST_F(BoundTest, AfterARestartTheSessionHasTimeToComeBack) {
  Attach();
  const TaskId task = core.Put(Spec(), "x");
  core.Restart();
  Wait(9'900);
  EXPECT_EQ(OutcomeOf(task), Outcome::kUnfinished);
  Attach(CallerId{2});
  Wait(4'000);
  EXPECT_EQ(OutcomeOf(task), Outcome::kUnfinished);
}

TEST_F(BoundTest, AfterARestartAPutMayComeBeforeItsSessionDoes) {
  core.Restart();
  const TaskId kept = core.Put(Spec(), "x");
  const TaskId lost = core.Put(Spec(kSession + 1), "y");
  Attach();
  for (int i = 0; i < 6; ++i) {
    Wait(2'000);
    core.Do([](Broker& broker) { broker.SessionHeard(kStream); });
  }
  EXPECT_EQ(OutcomeOf(kept), Outcome::kUnfinished);
  EXPECT_EQ(OutcomeOf(lost), Outcome::kCancelled);
  EXPECT_EQ(Refusal(Spec(kSession + 1)).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(BoundTest, AfterARestartASessionThatHasLeftTakesNoMore) {
  core.Restart();
  Attach();
  Leave();
  EXPECT_EQ(Refusal(Spec()).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(BoundTest, AfterARestartThatTheSessionDoesNotSurviveTheyAreCancelled) {
  Attach();
  const TaskId waiting = core.Put(Spec(), "x");
  core.Restart();
  core.Restart();
  Wait(10'100);
  EXPECT_EQ(OutcomeOf(waiting), Outcome::kCancelled);
  core.Restart();
  EXPECT_EQ(OutcomeOf(waiting), Outcome::kCancelled);
}

TEST_F(BoundTest, AnEndThatWasDurableIsNotUndoneByARestart) {
  Attach();
  const TaskId task = core.Put(Spec(), "x");
  ASSERT_TRUE(core.Done("q", core.Get("q").at(0)).ok());
  core.Restart();
  Wait(10'100);
  EXPECT_EQ(OutcomeOf(task), Outcome::kSucceeded);
}

struct ManyBoundTest : BoundTest {
  static Limits FewPerRound() {
    Limits limits;
    limits.sweep_per_round = 10;
    limits.journal_bytes_min = 500;
    return limits;
  }
  ManyBoundTest() : BoundTest(FewPerRound()) {}
  void PutMany(int count) {
    for (int i = 0; i < count; ++i) core.Put(Spec(), "x");
  }
};

TEST_F(ManyBoundTest, AreCancelledSomeARoundAndTheBrokerAsksToBeCalledAgain) {
  Attach();
  PutMany(35);
  Leave();
  EXPECT_EQ(core.Stats("q").unfinished(), 25u);
  EXPECT_EQ(core.next_tick, core.now);
  core.Do([](Broker&) {});
  core.Do([](Broker&) {});
  core.Do([](Broker&) {});
  EXPECT_EQ(core.Stats("q").unfinished(), 0u);
  EXPECT_GT(core.next_tick, core.now);
}

TEST_F(ManyBoundTest, OfASessionThatOpensAgainMeanwhileTheNewOnesLive) {
  Attach();
  PutMany(35);
  Leave();
  Attach();
  const TaskId fresh = core.Put(Spec(), "new");
  for (int i = 0; i < 5; ++i) core.Do([](Broker&) {});
  EXPECT_EQ(core.Stats("q").unfinished(), 1u);
  EXPECT_EQ(OutcomeOf(fresh), Outcome::kUnfinished);
}

TEST_F(ManyBoundTest, ThatARestartInterruptedAreCancelledAfterwards) {
  Attach();
  PutMany(35);
  Leave();
  core.Restart();
  EXPECT_EQ(core.Stats("q").unfinished(), 25u);
  Wait(10'100);
  for (int i = 0; i < 3; ++i) core.Do([](Broker&) {});
  EXPECT_EQ(core.Stats("q").unfinished(), 0u);
}

TEST_F(ManyBoundTest, OfADeletedQueueAreForgotten) {
  Attach();
  PutMany(35);
  core.Do([](Broker& broker) { broker.DeleteQueue(CallerId{9}, "q", true); });
  for (int i = 0; i < 5; ++i) core.Do([](Broker&) {});
  EXPECT_FALSE(core.broker().GetQueue("q").ok());
  Leave();
}

}  // namespace
}  // namespace joinq::core
