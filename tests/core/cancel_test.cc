// Cancelling leased tasks: what becomes of their work, and who is told.
#include "common/names.h"
#include "tests/support/core_harness.h"

namespace joinq::core {
namespace {

using testing::CoreHarness;
using testing::ReplyTo;

constexpr CallerId kWorker{1}, kAsker{50}, kOther{51};

class CancelTask : public ::testing::Test {
 protected:
  // A worker with one task.
  void SetUp() override {
    Attach(kWorker, {});
    auto effects = core_.Do([&](Broker& broker) {
      broker.WorkerCredit(kWorker, 1);
      broker.Put(CallerId{9}, core_.Spec("q"), std::vector<NewTask>(1));
    });
    ASSERT_EQ(effects.deliveries.size(), 1u);
    lease_ = {effects.deliveries[0].task, effects.deliveries[0].token};
  }
  Effects Attach(CallerId stream, std::vector<LeaseRef> held) {
    SessionProfile profile;
    profile.id = 7;
    profile.name = "w";
    profile.queues = {"q"};
    profile.concurrency = 1;
    return core_.Do([&](Broker& broker) { ASSERT_TRUE(broker.AttachWorker(stream, profile, held).ok()); });
  }
  CancelAnswer Ask(CallerId caller, const CancelSpec& spec, Effects* effects = nullptr) {
    CancelAnswer answer;
    auto caused = core_.Do([&](Broker& broker) {
      auto got = broker.CancelTask(caller, lease_.task, spec);
      ASSERT_TRUE(got.ok()) << got.status();
      answer = *std::move(got);
    });
    if (effects != nullptr) *effects = std::move(caused);
    return answer;
  }
  Effects Stopped(WorkEnd end, CallerId stream = kWorker) {
    return core_.Do([&](Broker& broker) { broker.WorkerStopped(stream, lease_, end); });
  }

  CoreHarness core_;
  LeaseRef lease_;
};

TEST_F(CancelTask, OfALeasedTaskIsAnsweredWhenItsWorkHasEnded) {
  Effects effects;
  const CancelAnswer answer = Ask(kAsker, {.wait_ms = 1000}, &effects);
  EXPECT_TRUE(answer.parked);
  EXPECT_EQ(answer.task.outcome, Outcome::kCancelled);
  ASSERT_EQ(effects.cancels.size(), 1u);
  EXPECT_FALSE(effects.cancels[0].terminate);
  EXPECT_EQ(ReplyTo(effects, kAsker), nullptr);
  EXPECT_EQ(core_.Stats("q").unfinished(), 0u);
  effects = Stopped(WorkEnd::kReturned);
  ASSERT_NE(ReplyTo(effects, kAsker), nullptr);
  EXPECT_EQ(ReplyTo(effects, kAsker)->work_end, WorkEnd::kReturned);
  EXPECT_EQ(core_.broker().parked_count(), 0u);
}

TEST_F(CancelTask, OfAWaitingTaskIsAnsweredAtOnce) {
  lease_.task = core_.Put("q", "x");
  const CancelAnswer answer = Ask(kAsker, {.wait_ms = 1000});
  EXPECT_FALSE(answer.parked);
  EXPECT_EQ(answer.work_end, WorkEnd::kNotRunning);
  EXPECT_EQ(Ask(kAsker, {.wait_ms = 1000}).work_end, WorkEnd::kNotRunning);
}

TEST_F(CancelTask, EndsItsWaitWithoutKnowing) {
  Ask(kAsker, {.wait_ms = 1000});
  EXPECT_EQ(ReplyTo(core_.Advance(999), kAsker), nullptr);
  auto effects = core_.Advance(1);
  ASSERT_NE(ReplyTo(effects, kAsker), nullptr);
  EXPECT_TRUE(ReplyTo(effects, kAsker)->status.ok());
  EXPECT_EQ(ReplyTo(effects, kAsker)->work_end, WorkEnd::kUnspecified);
  // Who asks again still hears of it, also when it has come meanwhile.
  EXPECT_TRUE(Ask(kOther, {.wait_ms = 1000}).parked);
  EXPECT_EQ(ReplyTo(Stopped(WorkEnd::kKilled), kOther)->work_end, WorkEnd::kKilled);
  EXPECT_EQ(Ask(kAsker, {.wait_ms = 1000}).work_end, WorkEnd::kKilled);
}

TEST_F(CancelTask, ThatWaitsForNothingIsAnsweredAtOnceAndMayWaitLater) {
  EXPECT_FALSE(Ask(kAsker, {}).parked);
  EXPECT_TRUE(Ask(kOther, {.wait_ms = 1000}).parked);
  EXPECT_NE(ReplyTo(Stopped(WorkEnd::kReturned), kOther), nullptr);
}

TEST_F(CancelTask, MayBeFollowedByATerminateOfTheSameWork) {
  Ask(kAsker, {.wait_ms = 1000});
  Effects effects;
  EXPECT_TRUE(Ask(kOther, {.terminate = true, .wait_ms = 1000}, &effects).parked);
  ASSERT_EQ(effects.cancels.size(), 1u);
  EXPECT_TRUE(effects.cancels[0].terminate);
  Ask(kOther, {.terminate = true}, &effects);
  EXPECT_TRUE(effects.cancels.empty());
  effects = Stopped(WorkEnd::kKilled);
  EXPECT_NE(ReplyTo(effects, kAsker), nullptr);
  EXPECT_NE(ReplyTo(effects, kOther), nullptr);
}

TEST_F(CancelTask, HearsThatTheHostWasLost) {
  Ask(kAsker, {.wait_ms = 60'000});
  core_.Do([](Broker& broker) { broker.CallerGone(kWorker); });
  EXPECT_EQ(core_.broker().parked_count(), 1u);
  core_.Advance(1500);
  auto effects = core_.Advance(1500);  // in steps: after a long pause nobody is declared lost at once
  ASSERT_NE(ReplyTo(effects, kAsker), nullptr);
  EXPECT_EQ(ReplyTo(effects, kAsker)->work_end, WorkEnd::kHostLost);
}

TEST_F(CancelTask, IsSaidAgainToAWorkerThatComesBack) {
  Ask(kAsker, {.terminate = true, .wait_ms = 60'000});
  core_.Do([](Broker& broker) { broker.CallerGone(kWorker); });
  auto effects = Attach(CallerId{2}, {});
  ASSERT_EQ(effects.cancels.size(), 1u);
  EXPECT_EQ(effects.cancels[0].to, CallerId{2});
  EXPECT_TRUE(effects.cancels[0].terminate);
  EXPECT_EQ(ReplyTo(Stopped(WorkEnd::kKilled, CallerId{2}), kAsker)->work_end, WorkEnd::kKilled);
}

TEST_F(CancelTask, IsSaidToAWorkerThatWasAwayWhenItWasCancelled) {
  core_.Do([](Broker& broker) { broker.CallerGone(kWorker); });
  EXPECT_TRUE(Ask(kAsker, {.wait_ms = 60'000}).parked);
  EXPECT_EQ(Attach(CallerId{2}, {lease_}).cancels.size(), 1u);
}

TEST_F(CancelTask, OfADrainingWorkerWaitsForItToComeBack) {
  Ask(kAsker, {.wait_ms = 60'000});
  core_.Do([](Broker& broker) {
    broker.WorkerDrains(kWorker);
    broker.CallerGone(kWorker);
  });
  EXPECT_EQ(Attach(CallerId{2}, {}).cancels.size(), 1u);
}

TEST_F(CancelTask, PassesOverWhatNobodyWaitsFor) {
  Ask(kAsker, {.wait_ms = 1000});
  const LeaseRef real = lease_;
  EXPECT_TRUE(Stopped(WorkEnd::kKilled, CallerId{99}).replies.empty());  // no such stream
  ++lease_.token.sequence;
  EXPECT_TRUE(Stopped(WorkEnd::kKilled).replies.empty());
  lease_ = {TaskId{12345}, real.token};
  EXPECT_TRUE(Stopped(WorkEnd::kKilled).replies.empty());
  lease_ = real;
  // What only the broker can know is not for a worker to say.
  EXPECT_EQ(ReplyTo(Stopped(WorkEnd::kHostLost), kAsker)->work_end, WorkEnd::kUnspecified);
  EXPECT_TRUE(Stopped(WorkEnd::kKilled).replies.empty());
}

struct Crossing {
  Verdict verdict;
  FailureKind kind;
  WorkEnd end;
};

class CancelCrossing : public CancelTask, public ::testing::WithParamInterface<Crossing> {};

TEST_P(CancelCrossing, TakesTheCompletionAsTheEnd) {
  Ask(kAsker, {.wait_ms = 1000});
  Completion completion;
  completion.lease = lease_;
  completion.verdict = GetParam().verdict;
  completion.error.kind = GetParam().kind;
  auto effects = core_.Do([&](Broker& broker) { broker.WorkerCompletions(kWorker, 1, {&completion, 1}); });
  ASSERT_NE(ReplyTo(effects, kAsker), nullptr);
  EXPECT_EQ(ReplyTo(effects, kAsker)->work_end, GetParam().end);
}

INSTANTIATE_TEST_SUITE_P(Verdicts, CancelCrossing,
                         ::testing::Values(Crossing{Verdict::kDone, {}, WorkEnd::kReturned},
                                           Crossing{Verdict::kFailed, FailureKind::kHandlerError,
                                                    WorkEnd::kReturned},
                                           Crossing{Verdict::kFailed, FailureKind::kCrash, WorkEnd::kKilled},
                                           Crossing{Verdict::kReleased, {}, WorkEnd::kNotRunning}));

TEST_F(CancelTask, OfACallerThatHasGoneAnswersNobody) {
  Ask(kAsker, {.wait_ms = 1000});
  core_.Do([](Broker& broker) { broker.CallerGone(kAsker); });
  EXPECT_EQ(core_.broker().parked_count(), 0u);
  EXPECT_TRUE(Stopped(WorkEnd::kKilled).replies.empty());
}

TEST_F(CancelTask, IsAnsweredWhenTheBrokerStops) {
  Ask(kAsker, {.wait_ms = 1000});
  auto effects = core_.Do([](Broker& broker) { broker.Shutdown(); });
  EXPECT_EQ(ReplyTo(effects, kAsker)->status.code(), absl::StatusCode::kUnavailable);
}

TEST_F(CancelTask, AfterARestartItsEndIsNotKnown) {
  PutSpec spec = core_.Spec("q");
  spec.policy.result_ttl_ms = 60'000;
  lease_.task = core_.Put(spec, "x");
  Ask(kAsker, {});
  core_.Restart();
  const CancelAnswer answer = Ask(kAsker, {.wait_ms = 1000});
  EXPECT_FALSE(answer.parked);
  EXPECT_EQ(answer.work_end, WorkEnd::kUnspecified);
}

TEST_F(CancelTask, WithTooLongAWaitChangesNothing) {
  absl::Status status;
  core_.Do([&](Broker& broker) {
    status = broker.CancelTask(kAsker, lease_.task, {.wait_ms = kCancelWaitMsMax + 1}).status();
  });
  EXPECT_EQ(FieldOf(status), "wait_ms");
  EXPECT_EQ(core_.Stats("q").leased, 1u);
}

TEST_F(CancelTask, GivesUpTheOldestOfVeryMany) {
  Ask(kAsker, {.wait_ms = 600'000});
  Effects all;
  for (size_t left = kCancelledWorkMax; left > 0;) {
    const size_t batch = std::min<size_t>(left, 1000);
    left -= batch;
    auto effects = core_.Do([&](Broker& broker) {
      broker.WorkerCredit(kWorker, static_cast<uint32_t>(batch));
      broker.Put(CallerId{9}, core_.Spec("q"), std::vector<NewTask>(batch));
    });
    ASSERT_EQ(effects.deliveries.size(), batch);
    effects = core_.Do([&](Broker& broker) {
      for (const Delivery& delivery : effects.deliveries) ASSERT_TRUE(broker.CancelTask(delivery.task).ok());
    });
    for (Reply& reply : effects.replies) all.replies.push_back(std::move(reply));
  }
  ASSERT_NE(ReplyTo(all, kAsker), nullptr);
  EXPECT_EQ(ReplyTo(all, kAsker)->work_end, WorkEnd::kUnspecified);
}

// ---------------------------------------------------------------- direct consumers

struct DirectCancel : ::testing::Test {
  void Take(uint64_t session) {
    core_.Create("q");
    SessionProfile profile;
    profile.id = 7;
    profile.name = "c";
    core_.Do([&](Broker& broker) { ASSERT_TRUE(broker.AttachClient(kWorker, profile, {}).ok()); });
    task_ = core_.Put("q", "x");
    GetSpec spec;
    spec.session_id = session;
    core_.Do([&](Broker& broker) { broker.Get(CallerId{2}, "q", spec); });
    ASSERT_EQ(core_.Stats("q").leased, 1u);
  }
  CancelAnswer Ask() {
    CancelAnswer answer;
    core_.Do([&](Broker& broker) { answer = *broker.CancelTask(kAsker, task_, {.wait_ms = 60'000}); });
    return answer;
  }
  CoreHarness core_;
  TaskId task_{0};
};

TEST_F(DirectCancel, OfALeaseOfTimeIsNotWaitedFor) {
  Take(0);
  const CancelAnswer answer = Ask();
  EXPECT_FALSE(answer.parked);
  EXPECT_EQ(answer.work_end, WorkEnd::kUnspecified);
}

TEST_F(DirectCancel, OfAClientThatLeavesInOrderIsNotRunning) {
  Take(7);
  EXPECT_TRUE(Ask().parked);
  auto effects = core_.Do([](Broker& broker) { broker.ClientLeaves(kWorker); });
  EXPECT_EQ(ReplyTo(effects, kAsker)->work_end, WorkEnd::kNotRunning);
}

TEST_F(DirectCancel, OfAClientThatIsLostIsLostWithIt) {
  Take(7);
  EXPECT_TRUE(Ask().parked);
  auto effects = core_.Do([](Broker& broker) { broker.CallerGone(kWorker); });
  EXPECT_EQ(ReplyTo(effects, kAsker)->work_end, WorkEnd::kHostLost);
}

}  // namespace
}  // namespace joinq::core
