// How a task is to be run, and until when: time limits, deadlines, a process of its own.
#include "tests/support/core_harness.h"

namespace joinq::core {
namespace {

using testing::CoreHarness;

constexpr CallerId kWorker{7};
constexpr uint32_t kTooLong = 0x8000'0000;

// Attaches a worker with this much credit; what it is sent at once.
std::vector<Delivery> Work(CoreHarness& core, uint32_t credit = 1) {
  SessionProfile profile;
  profile.id = 70;
  profile.name = "w";
  profile.queues = {"q"};
  auto effects = core.Do([&](Broker& broker) {
    ASSERT_TRUE(broker.AttachWorker(kWorker, profile, {}).ok());
    broker.WorkerCredit(kWorker, credit);
  });
  return std::move(effects.deliveries);
}
PutSpec Spec(CoreHarness& core) {
  PutSpec spec = core.Spec("q");
  spec.handler = core.broker().Intern("h");
  return spec;
}
std::string Refusal(CoreHarness& core, const PutSpec& spec) {
  auto effects = core.Do([&](Broker& broker) { broker.Put(CallerId{1}, spec, std::vector<NewTask>(1)); });
  EXPECT_EQ(effects.replies.at(0).status.code(), absl::StatusCode::kInvalidArgument);
  return std::string(effects.replies.at(0).status.message());
}
TaskView View(CoreHarness& core, TaskId task) {
  auto view = core.broker().GetTask(task);
  EXPECT_TRUE(view.ok()) << view.status();
  return view.ok() ? *std::move(view) : TaskView{};
}

TEST(TimeLimits, TravelWithTheTaskOverARestartToItsWorker) {
  CoreHarness core;
  core.Create("q");
  PutSpec spec = Spec(core);
  spec.policy.time_limit_ms = 9000;
  spec.policy.soft_time_limit_ms = 8000;
  const TaskId task = core.Put(spec, "x");
  core.Restart();
  EXPECT_EQ(View(core, task).policy.time_limit_ms, 9000u);
  EXPECT_EQ(View(core, task).policy.soft_time_limit_ms, 8000u);
  const auto sent = Work(core);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].time_limit_ms, 9000u);
  EXPECT_EQ(sent[0].soft_time_limit_ms, 8000u);
  EXPECT_FALSE(sent[0].fresh_process);
}

TEST(TimeLimits, ASoftOneMayStandAlone) {
  CoreHarness core;
  core.Create("q");
  PutSpec spec = Spec(core);
  spec.policy.soft_time_limit_ms = 8000;
  core.Put(spec, "x");
  EXPECT_EQ(Work(core).at(0).soft_time_limit_ms, 8000u);
}

TEST(TimeLimits, ThatMakeNoSenseAreRefusedByName) {
  CoreHarness core;
  core.Create("q");
  PutSpec spec = Spec(core);
  spec.policy.time_limit_ms = spec.policy.soft_time_limit_ms = 1000;
  EXPECT_THAT(Refusal(core, spec), ::testing::HasSubstr("options.soft_time_limit_ms"));
  spec.policy = {};
  spec.policy.time_limit_ms = kTooLong;
  EXPECT_THAT(Refusal(core, spec), ::testing::HasSubstr("options.time_limit_ms"));
  spec.policy = {};
  spec.policy.soft_time_limit_ms = kTooLong;
  EXPECT_THAT(Refusal(core, spec), ::testing::HasSubstr("options.soft_time_limit_ms"));
}

TEST(TimeLimits, TasksThatDifferInThemOnlyAreToldApart) {
  CoreHarness core;
  core.Create("q");
  PutSpec spec = Spec(core);
  for (uint32_t limit : {0u, 5000u, 0u, 7000u}) {
    spec.policy.time_limit_ms = limit;
    core.Put(spec, "x");
  }
  std::vector<uint32_t> limits;
  for (const Delivery& each : Work(core, 10)) limits.push_back(each.time_limit_ms);
  EXPECT_EQ(limits, (std::vector<uint32_t>{0, 5000, 0, 7000}));
}

TEST(Deadline, EndsATaskThatWaitsLikeATtl) {
  CoreHarness core;
  core.Create("q");
  PutSpec spec = Spec(core);
  spec.deadline_ms = 1000;
  spec.policy.result_ttl_ms = 60'000;
  const TaskId task = core.Put(spec, "x");
  EXPECT_EQ(View(core, task).deadline_ms, 1000u);
  core.Advance(999);
  EXPECT_EQ(View(core, task).state, TaskState::kReady);
  core.Advance(1);
  EXPECT_EQ(View(core, task).outcome, Outcome::kExpired);
}

TEST(Deadline, ReachesTheWorkerAsAnInstantAndATtlDoesNot) {
  CoreHarness core;
  core.Create("q");
  PutSpec spec = Spec(core);
  spec.deadline_ms = 5000;
  core.Put(spec, "x");
  const Time deadline = core.now + Millis(5000);
  spec.deadline_ms = 0;
  spec.ttl_ms = 5000;
  core.Put(spec, "y");
  core.Advance(2000);
  core.Restart();
  const auto sent = Work(core, 2);
  ASSERT_EQ(sent.size(), 2u);
  EXPECT_EQ(sent[0].deadline, deadline);
  EXPECT_EQ(sent[1].deadline, kNever);
}

TEST(Deadline, EndsAnAttemptsRetryThatWouldComeTooLate) {
  CoreHarness core;
  core.Create("q");
  PutSpec spec = Spec(core);
  spec.deadline_ms = 5000;
  spec.policy.max_attempts = 5;
  spec.policy.retry_delay_ms = 3000;
  spec.policy.result_ttl_ms = 60'000;
  const TaskId task = core.Put(spec, "x");
  ASSERT_TRUE(core.Fail("q", core.Get("q").at(0)).ok());
  EXPECT_EQ(View(core, task).state, TaskState::kDelayed);
  core.Advance(3000);
  ASSERT_TRUE(core.Fail("q", core.Get("q").at(0)).ok());
  EXPECT_EQ(View(core, task).outcome, Outcome::kExpired);
}

TEST(Deadline, ThatTheWorkerEnforcedIsAFailureForGood) {
  CoreHarness core;
  core.Create("q");
  PutSpec spec = Spec(core);
  spec.deadline_ms = 5000;
  spec.policy.max_attempts = 5;
  const TaskId task = core.Put(spec, "x");
  const Delivery sent = Work(core).at(0);
  core.Advance(5000);
  EXPECT_EQ(View(core, task).state, TaskState::kLeased) << "its worker sees to it";
  core.Do([&](Broker& broker) {
    std::vector<Completion> completions(1);
    completions[0].lease = {sent.task, sent.token};
    completions[0].verdict = Verdict::kFailed;
    completions[0].error.kind = FailureKind::kTimeLimit;
    completions[0].error.final = true;
    broker.WorkerCompletions(kWorker, 1, completions);
  });
  EXPECT_EQ(View(core, task).state, TaskState::kDead);
  EXPECT_EQ(View(core, task).outcome, Outcome::kFailed);
}

TEST(Deadline, OfADeadTaskThatIsRetriedIsOver) {
  CoreHarness core;
  core.Create("q");
  PutSpec spec = Spec(core);
  spec.deadline_ms = 5000;
  const TaskId task = core.Put(spec, "x");
  ASSERT_TRUE(core.Fail("q", core.Get("q").at(0)).ok());
  core.Advance(6000);
  core.Do([&](Broker& broker) { EXPECT_TRUE(broker.RetryTask(task).ok()); });
  for (int restart = 0; restart < 2; ++restart) {
    EXPECT_EQ(View(core, task).deadline_ms, 0u);
    EXPECT_EQ(View(core, task).expires, kNever);
    core.Restart();
  }
}

TEST(Deadline, ExcludesATtlAndMayNotLieBeyondTheLimit) {
  CoreHarness core;
  core.Create("q");
  PutSpec spec = Spec(core);
  spec.deadline_ms = 1000;
  spec.ttl_ms = 1;
  EXPECT_THAT(Refusal(core, spec), ::testing::HasSubstr("options.deadline_ms: excludes ttl_ms"));
  spec.ttl_ms = 0;
  spec.deadline_ms = kTooLong;
  EXPECT_THAT(Refusal(core, spec), ::testing::HasSubstr("options.deadline_ms"));
}

TEST(FreshProcess, IsForTasksWithAHandlerOnly) {
  CoreHarness core;
  core.Create("q");
  PutSpec spec = core.Spec("q");
  spec.policy.fresh_process = true;
  EXPECT_THAT(Refusal(core, spec), ::testing::HasSubstr("options.fresh_process"));
}

TEST(FreshProcess, IsAskedOfTheWorkerAlsoAfterARestart) {
  CoreHarness core;
  core.Create("q");
  PutSpec spec = Spec(core);
  spec.policy.fresh_process = true;
  core.Put(spec, "x");
  core.Restart();
  EXPECT_TRUE(Work(core).at(0).fresh_process);
}

TEST(FreshProcess, ADirectConsumerMayTakeItAsAnyOther) {
  CoreHarness core;
  core.Create("q");
  PutSpec spec = Spec(core);
  spec.policy.fresh_process = true;
  core.Put(spec, "x");
  EXPECT_TRUE(core.Done("q", core.Get("q").at(0)).ok());
}

}  // namespace
}  // namespace joinq::core
