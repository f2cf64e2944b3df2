// Tasks with limits of their own, with a deadline, and with a process of their own.
#include "absl/time/clock.h"
#include "tests/worker/worker_fixture.h"

namespace joinq {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

using RunOptions = FakeBroker::RunOptions;

class TaskOptionsTest : public WorkerTest {
 protected:
  v1::Completion Run(const std::string& handler, const std::string& payload, const RunOptions& options) {
    auto completion = broker_.Wait(broker_.Put(handler, payload, options));
    if (!completion) ADD_FAILURE() << handler << " did not complete";
    return completion.value_or(v1::Completion());
  }
  static RunOptions Fresh() { return {.fresh_process = true}; }
};

TEST_F(TaskOptionsTest, ATasksOwnTimeLimitHolds) {
  Start();
  const auto completion = Run("spin", "", {.time_limit_ms = 200});
  EXPECT_EQ(completion.error().kind(), v1::FAILURE_KIND_TIME_LIMIT);
  EXPECT_THAT(completion.error().message(), HasSubstr("hard time limit of 0.2 s passed"));
  EXPECT_FALSE(completion.error().final());
  EXPECT_EQ(Run("deadline_ms", "", {.time_limit_ms = 5000}).result().substr(0, 1), "4");
  EXPECT_EQ(WorkerTest::Run("deadline_ms", "").result(), "-1") << "of that one task alone";
}

TEST_F(TaskOptionsTest, TheShorterLimitHolds) {
  Start({"--time-limit", "0.2"});
  EXPECT_THAT(Run("spin", "", {.time_limit_ms = 60'000}).error().message(), HasSubstr("limit of 0.2 s"));
}

TEST_F(TaskOptionsTest, ATasksOwnSoftLimitAsks) {
  Start();
  const auto completion = Run("until_asked", "", {.soft_time_limit_ms = 100});
  EXPECT_EQ(completion.verdict(), v1::Completion::DONE);
}

TEST_F(TaskOptionsTest, ATaskPastItsDeadlineIsEndedForGood) {
  Start();
  const absl::Time start = absl::Now();
  const auto completion = Run("spin", "", {.deadline_ms = 300});
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(300));
  EXPECT_EQ(completion.error().kind(), v1::FAILURE_KIND_TIME_LIMIT);
  EXPECT_THAT(completion.error().message(), HasSubstr("its deadline passed"));
  EXPECT_TRUE(completion.error().final());
  EXPECT_EQ(Run("deadline_ms", "", {.deadline_ms = 5000}).result().substr(0, 1), "4");
}

TEST_F(TaskOptionsTest, ATaskWhoseDeadlinePassedBeforeItCouldBeginIsNotRun) {
  Start({"-c", "1"});
  TeachTiny();
  broker_.Put("sleep_ms", "[60]");
  const auto late = broker_.Put("add", "[1, 2]", {.deadline_ms = 20});
  const auto completion = broker_.Wait(late);
  ASSERT_TRUE(completion);
  EXPECT_EQ(completion->error().kind(), v1::FAILURE_KIND_TIME_LIMIT);
  EXPECT_THAT(completion->error().message(), HasSubstr("deadline passed before it could begin"));
  EXPECT_TRUE(completion->error().final());
}

TEST_F(TaskOptionsTest, AProcessOfItsOwnIsReportedWithItsPidAndExitCode) {
  Start({"-c", "1"});
  const auto id = broker_.Put("sleep_ms", "[300]", Fresh());
  ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().started.contains(id); }));
  const auto pid = static_cast<pid_t>(broker_.Snapshot().started[id]);
  EXPECT_NE(StateOf(pid), 0);
  EXPECT_EQ(WorkerTest::Run("add", "[1, 2]").result(), "3") << "the pool has a place of its own";
  const auto completion = broker_.Wait(id);
  ASSERT_TRUE(completion);
  EXPECT_EQ(completion->verdict(), v1::Completion::DONE);
  EXPECT_EQ(completion->result(), "300");
  EXPECT_EQ(completion->process().pid(), static_cast<uint32_t>(pid));
  EXPECT_TRUE(completion->process().ended());
  EXPECT_EQ(completion->process().exit_code(), 0);
  EXPECT_TRUE(WaitGone({pid}));
}

struct HowItEnds {
  const char* handler;
  const char* payload;
  v1::Completion::Verdict verdict;
  int exit_code;
  v1::FailureKind kind;
  const char* message;
};
class ProcessEndTest : public TaskOptionsTest, public ::testing::WithParamInterface<HowItEnds> {};

TEST_P(ProcessEndTest, IsToldAsPythonTellsIt) {
  Start();
  const auto& expected = GetParam();
  const auto completion = Run(expected.handler, expected.payload, Fresh());
  EXPECT_EQ(completion.verdict(), expected.verdict);
  EXPECT_EQ(completion.process().exit_code(), expected.exit_code);
  EXPECT_EQ(completion.error().kind(), expected.kind);
  EXPECT_THAT(completion.error().message(), HasSubstr(expected.message));
}

INSTANTIATE_TEST_SUITE_P(
    Ways, ProcessEndTest,
    ::testing::Values(
        HowItEnds{"add", "[1, 2]", v1::Completion::DONE, 0, v1::FAILURE_KIND_UNSPECIFIED, ""},
        HowItEnds{"exit_now", "[0]", v1::Completion::DONE, 0, v1::FAILURE_KIND_UNSPECIFIED, ""},
        HowItEnds{"exit_now", "[3]", v1::Completion::FAILED, 3, v1::FAILURE_KIND_HANDLER_ERROR,
                  "exited with status 3"},
        HowItEnds{"add", "[1]", v1::Completion::FAILED, 1, v1::FAILURE_KIND_BAD_ARGUMENTS, "2 argument"},
        HowItEnds{"crash", "", v1::Completion::FAILED, -11, v1::FAILURE_KIND_CRASH, "signal 11"}));

TEST_F(TaskOptionsTest, ACancelledProcessEnds) {
  Start({"--kill-grace", "0.1"});
  const auto id = broker_.Put("spin_ignoring_term", "", Fresh());
  ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().started.contains(id); }));
  const auto pid = static_cast<pid_t>(broker_.Snapshot().started[id]);
  broker_.Cancel(id);
  EXPECT_TRUE(WaitGone({pid}));
  EXPECT_EQ(WorkerTest::Run("add", "[1, 2]").result(), "3");
  EXPECT_FALSE(broker_.Snapshot().completions.contains(id));
}

TEST_F(TaskOptionsTest, NoMoreProcessesThanAllowedRunAtOnce) {
  Start({"--processes-max", "2"});
  std::vector<uint64_t> ids;
  for (int i = 0; i < 6; ++i) ids.push_back(broker_.Put("sleep_ms", "[200]", Fresh()));
  for (uint64_t id : ids) EXPECT_EQ(broker_.Wait(id)->verdict(), v1::Completion::DONE);
  EXPECT_LE(broker_.Snapshot().status.processes(), 2u);
  EXPECT_THAT(broker_.Snapshot().started, SizeIs(6));
}

TEST_F(TaskOptionsTest, AProcessEndsAtItsTimeLimit) {
  Start();
  const auto completion = Run("spin", "", {.time_limit_ms = 200, .fresh_process = true});
  EXPECT_EQ(completion.error().kind(), v1::FAILURE_KIND_TIME_LIMIT);
  EXPECT_EQ(completion.process().exit_code(), -15);
}

TEST_F(TaskOptionsTest, ADrainWaitsForProcesses) {
  Start();
  const auto id = broker_.Put("sleep_ms", "[500]", Fresh());
  ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().started.contains(id); }));
  EXPECT_EQ(Stop(), 0);
  EXPECT_EQ(broker_.Wait(id)->verdict(), v1::Completion::DONE);
}

TEST_F(TaskOptionsTest, AProcessGoesBackWhenTheZygoteIsKilled) {
  Start();
  const auto id = broker_.Put("sleep_ms", "[1000]", Fresh());
  ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().started.contains(id); }));
  kill(ZygotePid(), SIGKILL);
  ASSERT_TRUE(broker_.WaitFor([&] {
    const auto it = broker_.state().completions.find(id);
    return it != broker_.state().completions.end() && it->second.back().verdict() == v1::Completion::DONE;
  }));
  const auto completions = broker_.Snapshot().completions.at(id);
  // Given back at no cost, unless it had not begun.
  EXPECT_LE(completions.size(), 2u);
  if (completions.size() == 2) {
    EXPECT_EQ(completions[0].verdict(), v1::Completion::RELEASED);
  }
}

}  // namespace
}  // namespace joinq
