// Limits of time, memory, CPU, descriptors and tasks, each told apart.
#include <set>

#include "absl/time/clock.h"
#include "tests/worker/worker_fixture.h"

namespace joinq {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::SizeIs;

// Elapsed from construction.
class Stopwatch {
 public:
  absl::Duration elapsed() const { return absl::Now() - start_; }

 private:
  const absl::Time start_ = absl::Now();
};

TEST_F(WorkerTest, TheHardTimeLimitEndsATaskAndSaysWhichAndHowLong) {
  Start({"--time-limit", "0.3"});
  Stopwatch watch;
  const auto completion = Run("spin", "");
  EXPECT_GE(watch.elapsed(), absl::Milliseconds(300));
  EXPECT_LT(watch.elapsed(), absl::Seconds(2)) << "no grace is needed";
  EXPECT_EQ(completion.error().kind(), v1::FAILURE_KIND_TIME_LIMIT);
  EXPECT_THAT(completion.error().message(),
              ContainsRegex("hard time limit of 0.3 s passed; it was ended after [0-9.]+ s"));
  EXPECT_THAT(completion.error().detail(), HasSubstr("CPU time"));
  EXPECT_FALSE(completion.error().final());
  EXPECT_EQ(Run("add", "[1, 2]").result(), "3");
}

TEST_F(WorkerTest, WhoIgnoresTermIsKilledAfterTheGrace) {
  Start({"--time-limit", "0.2", "--kill-grace", "0.4"});
  Stopwatch watch;
  EXPECT_EQ(Run("spin_ignoring_term", "").error().kind(), v1::FAILURE_KIND_TIME_LIMIT);
  EXPECT_GE(watch.elapsed(), absl::Milliseconds(600));
  EXPECT_LT(watch.elapsed(), absl::Seconds(5));
}

TEST_F(WorkerTest, AHandlerMayHaveATimeLimitOfItsOwn) {
  Start({"--time-limit", "30,spin=0.2", "--time-limit", "sleep_ms=0"});
  EXPECT_THAT(Run("spin", "").error().message(), HasSubstr("hard time limit of 0.2 s"));
  EXPECT_EQ(Run("deadline_ms", "").result().substr(0, 2), "29");
  EXPECT_EQ(Run("sleep_ms", "[300]").result(), "300");
}

TEST_F(WorkerTest, WithoutALimitThereIsNoDeadline) {
  Start();
  EXPECT_EQ(Run("deadline_ms", "").result(), "-1");
}

TEST_F(WorkerTest, TheTimeLimitChargesNobodyElse) {
  Start({"-c", "1", "--time-limit", "0.5"});
  // Learn that tasks are tiny, so that many are sent ahead.
  broker_.PutMany("joinq.noop", "x", 5000);
  ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().completed >= 5000; }));
  const auto slow = broker_.Put("spin", "");
  std::vector<uint64_t> behind;
  for (int i = 0; i < 200; ++i) behind.push_back(broker_.Put("add", "[1, 2]"));
  for (uint64_t id : behind) {
    ASSERT_TRUE(broker_.WaitFor([&] {
      const auto it = broker_.state().completions.find(id);
      return it != broker_.state().completions.end() && it->second.back().verdict() == v1::Completion::DONE;
    })) << id;
  }
  EXPECT_EQ(broker_.Wait(slow)->error().kind(), v1::FAILURE_KIND_TIME_LIMIT);
  const auto state = broker_.Snapshot();
  for (uint64_t id : behind) {
    for (const auto& completion : state.completions.at(id))
      EXPECT_NE(completion.verdict(), v1::Completion::FAILED);
  }
}

TEST_F(WorkerTest, TheSoftTimeLimitInterruptsAndAHandlerMayEndWell) {
  Start({"--soft-time-limit", "0.2", "--time-limit", "20"});
  EXPECT_EQ(Run("until_asked", "").result(), "soft limit");
}

TEST_F(WorkerTest, AnUncaughtSoftTimeLimitIsToldApart) {
  Start({"--soft-time-limit", "0.2", "--exec", "sleeper=sleep 600"});
  for (const char* handler : {"check_for_ever", "sleeper"}) {
    const auto completion = Run(handler, "");
    EXPECT_EQ(completion.error().kind(), v1::FAILURE_KIND_TIME_LIMIT) << handler;
    EXPECT_THAT(completion.error().message(), HasSubstr("soft time limit of 0.2 s passed"));
  }
}

TEST_F(WorkerTest, AProgramHasTheGraceToEndInOrder) {
  Start({"--time-limit", "0.3", "--kill-grace", "10", "--exec",
         "tidy=sh -c \"trap 'echo tidied up >&2; exit 7' TERM; sleep 600 & wait\""});
  Stopwatch watch;
  const auto completion = Run("tidy", "");
  EXPECT_LT(watch.elapsed(), absl::Seconds(5));
  EXPECT_EQ(completion.error().kind(), v1::FAILURE_KIND_TIME_LIMIT);
  EXPECT_THAT(completion.error().message(), HasSubstr("hard time limit"));
  EXPECT_THAT(completion.error().detail(), HasSubstr("tidied up"));
}

TEST_F(WorkerTest, TooMuchMemoryIsToldApartAndTheChildReplaced) {
  Start({"-c", "1", "--max-memory-per-child", "128"});
  EXPECT_EQ(Run("eat_memory", "[20]").result(), "20");
  const std::string before = Run("pid", "").result();
  for (const char* handler : {"eat_memory", "eat_memory_in_a_thread"}) {
    const auto completion = Run(handler, "[1000]");
    EXPECT_EQ(completion.error().kind(), v1::FAILURE_KIND_OUT_OF_MEMORY) << completion.error().message();
    EXPECT_THAT(completion.error().message(), HasSubstr("may have 128 MiB (--max-memory-per-child)"));
  }
  EXPECT_NE(Run("pid", "").result(), before);
}

TEST_F(WorkerTest, CpuTimeIsLimitedForAChildAndOneThatUsedHalfIsReplaced) {
  Start({"-c", "1", "--max-cpu-per-child", "1"});
  const std::string before = Run("pid", "").result();
  EXPECT_EQ(Run("burn_cpu_ms", "[600]").verdict(), v1::Completion::DONE);
  EXPECT_NE(Run("pid", "").result(), before);
  const auto completion = Run("spin", "");
  EXPECT_EQ(completion.error().kind(), v1::FAILURE_KIND_TIME_LIMIT);
  EXPECT_THAT(completion.error().message(), HasSubstr("SIGXCPU"));
  EXPECT_THAT(completion.error().message(), HasSubstr("CPU time of 1 s (--max-cpu-per-child)"));
}

TEST_F(WorkerTest, OpenFilesAreLimited) {
  Start({"--max-open-files", "64"});
  EXPECT_EQ(Run("open_files", "[40]").result(), "40");
  EXPECT_THAT(Run("open_files", "[100]").error().message(), HasSubstr("Too many open files"));
}

TEST_F(WorkerTest, AChildIsReplacedAfterItsTasksAndNoTaskIsLostOrCharged) {
  Start({"--max-tasks-per-child", "7"});
  std::vector<uint64_t> ids;
  for (int i = 0; i < 500; ++i) ids.push_back(broker_.Put("pid", ""));
  std::map<std::string, int> tasks;
  for (uint64_t id : ids) {
    ASSERT_TRUE(broker_.WaitFor([&] {
      const auto it = broker_.state().completions.find(id);
      return it != broker_.state().completions.end() &&
             it->second.back().verdict() != v1::Completion::RELEASED;
    })) << id;
    const auto completion = broker_.Wait(id);
    ASSERT_EQ(completion->verdict(), v1::Completion::DONE);
    ++tasks[completion->result()];
  }
  for (const auto& [pid, count] : tasks) EXPECT_LE(count, 7) << pid;
  EXPECT_GE(tasks.size(), 500u / 7);
}

TEST_F(WorkerTest, OneTaskAChildWorksAndEveryTaskHasAProcessOfItsOwn) {
  Start({"--max-tasks-per-child", "1"});
  std::set<std::string> pids;
  for (int i = 0; i < 30; ++i) pids.insert(Run("pid", "").result());
  EXPECT_THAT(pids, SizeIs(30));
}

TEST_F(WorkerTest, ACrashIsReportedWithItsSignalAndWhatItUsed) {
  Start();
  auto completion = Run("crash", "");
  EXPECT_THAT(completion.error().message(), HasSubstr("SIGSEGV (Segmentation fault)"));
  EXPECT_THAT(completion.error().detail(),
              ContainsRegex("no core dumped; peak memory [0-9.]+ MiB, CPU time"));
  completion = Run("crash_with_grandchild", "");
  EXPECT_THAT(completion.error().message(), HasSubstr("SIGKILL (Killed), not sent by the worker"));
}

struct BadLimit {
  std::vector<std::string> arguments;
  std::string message;
};
class WorkerBadLimitTest : public ::testing::TestWithParam<BadLimit> {};

TEST_P(WorkerBadLimitTest, IsRefusedInOneLine) {
  ExpectRefused(GetParam().arguments, GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    Input, WorkerBadLimitTest,
    ::testing::Values(BadLimit{{"--time-limit", "soon"}, "\"soon\" is neither SECONDS nor HANDLER=SECONDS"},
                      BadLimit{{"--time-limit", "-1"}, "--time-limit: must be 0 or more seconds"},
                      BadLimit{{"--time-limit", "a b=1"}, "--time-limit"},
                      BadLimit{{"--time-limit", "nobody=1"}, "no handler is named \"nobody\""},
                      BadLimit{{"--soft-time-limit", "5", "--time-limit", "5"}, "must be below --time-limit"},
                      BadLimit{{"--soft-time-limit", "joinq.noop=9", "--time-limit", "5"},
                               "for \"joinq.noop\": 9 s is not below 5 s"},
                      BadLimit{{"--kill-grace", "nan"}, "--kill-grace"},
                      BadLimit{{"--max-memory-per-child", "3"}, "at least 32 MiB"},
                      BadLimit{{"--cgroup", "maybe"},
                               "--cgroup: must be auto, off or require, not \"maybe\""},
                      BadLimit{{"--cgroup", "require"}, "require goes with --max-memory-per-child"},
                      BadLimit{{"--max-open-files", "3"}, "at least 16"},
                      BadLimit{{"--max-tasks-per-child", "-1"}, "--max-tasks-per-child"}));

}  // namespace
}  // namespace joinq
