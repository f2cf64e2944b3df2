#include "tests/support/core_harness.h"

namespace joinq::core {
namespace {

using testing::CoreHarness;
using testing::ReplyTo;

Effects Ask(CoreHarness& core, TaskId task, uint32_t wait_ms = 0, bool forget = false) {
  return core.Do([&](Broker& broker) { broker.GetResult(CallerId{4}, task, wait_ms, forget); });
}

struct ResultTest : ::testing::Test {
  ResultTest() {
    core.Create("q");
    spec = core.Spec("q");
    spec.policy.result_ttl_ms = 10'000;
  }
  CoreHarness core;
  PutSpec spec;
};

TEST_F(ResultTest, IsKeptForItsTimeToLiveAndThroughARestart) {
  const TaskId task = core.Put(spec, "x");
  EXPECT_TRUE(core.Done("q", core.Get("q")[0], "42").ok());
  core.Restart();
  auto effects = Ask(core, task);
  ASSERT_NE(ReplyTo(effects, CallerId{4})->result, nullptr);
  EXPECT_EQ(ReplyTo(effects, CallerId{4})->result->payload.view(), "42");
  core.Advance(11'000);
  effects = Ask(core, task);
  EXPECT_EQ(ReplyTo(effects, CallerId{4})->status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(core.broker().task_count(), 0u);
  EXPECT_EQ(core.broker().memory_used(), 0u);
}

TEST_F(ResultTest, IsWaitedForUntilItComesOrTheTimeIsUp) {
  const TaskId task = core.Put(spec, "x");
  auto effects = Ask(core, task);
  EXPECT_EQ(ReplyTo(effects, CallerId{4})->status.code(), absl::StatusCode::kDeadlineExceeded);
  effects = Ask(core, task, 100);
  EXPECT_TRUE(effects.replies.empty());
  effects = core.Advance(100);
  EXPECT_EQ(ReplyTo(effects, CallerId{4})->status.code(), absl::StatusCode::kDeadlineExceeded);
  Ask(core, task, 1000);
  auto got = core.Get("q");
  const LeaseRef lease{got[0].task, got[0].token};
  effects = core.Do([&](Broker& broker) { EXPECT_TRUE(broker.Done("q", {&lease, 1}, "r", {}).ok()); });
  ASSERT_NE(ReplyTo(effects, CallerId{4}), nullptr);
  EXPECT_EQ(ReplyTo(effects, CallerId{4})->result->payload.view(), "r");
}

TEST_F(ResultTest, OfAFailedTaskSaysWhy) {
  const TaskId task = core.Put(spec, "x");
  TaskError error;
  error.kind = FailureKind::kHandlerError;
  error.message = "boom";
  error.detail = "stderr";
  EXPECT_TRUE(core.Fail("q", core.Get("q")[0], error).ok());
  core.Restart();
  auto effects = Ask(core, task);
  const auto& result = *ReplyTo(effects, CallerId{4})->result;
  EXPECT_EQ(result.outcome, Outcome::kFailed);
  EXPECT_EQ(result.error->message, "boom");
  EXPECT_EQ(result.error->detail, "stderr");
}

TEST_F(ResultTest, CanBeForgottenEarlyByReaderAndProducer) {
  const TaskId one = core.Put(spec, "x");
  const TaskId two = core.Put(spec, "y");
  auto got = core.Get("q", 2);
  EXPECT_TRUE(core.Done("q", got[0], "1").ok());
  EXPECT_TRUE(core.Done("q", got[1], "2").ok());
  Ask(core, one, 0, /*forget=*/true);
  auto effects = Ask(core, one);
  EXPECT_EQ(ReplyTo(effects, CallerId{4})->status.code(), absl::StatusCode::kNotFound);
  core.Do([&](Broker& broker) {
    const uint64_t ids[] = {Raw(two), 31337};
    broker.ForgetResults(CallerId{9}, ids);
  });
  EXPECT_EQ(core.broker().task_count(), 0u);
  core.Restart();
  EXPECT_EQ(core.broker().task_count(), 0u) << "forgotten, and back after a restart";
}

TEST_F(ResultTest, IsToldToWhoWaitsEvenIfItIsNotKept) {
  const TaskId task = core.Put("q", "x");
  Ask(core, task, 1000);
  auto got = core.Get("q");
  const LeaseRef lease{got[0].task, got[0].token};
  auto effects = core.Do([&](Broker& broker) { EXPECT_TRUE(broker.Done("q", {&lease, 1}, "r", {}).ok()); });
  EXPECT_EQ(ReplyTo(effects, CallerId{4})->result->payload.view(), "r");
  EXPECT_EQ(core.broker().task_count(), 0u);
}

TEST_F(ResultTest, IsForgottenOnceTheWaiterThatAskedForItHasIt) {
  const TaskId task = core.Put(spec, "x");
  Ask(core, task, 1000, /*forget=*/true);
  EXPECT_TRUE(core.Done("q", core.Get("q")[0], "r").ok());
  EXPECT_EQ(core.broker().task_count(), 0u);
}

TEST_F(ResultTest, OfAPlainMessageIsNotKept) {
  const TaskId task = core.Put("q", "x");
  EXPECT_TRUE(core.Done("q", core.Get("q")[0], "ignored").ok());
  auto effects = Ask(core, task);
  EXPECT_EQ(ReplyTo(effects, CallerId{4})->status.code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace joinq::core
