// What tasks write: tagged in the log, with failures, and never too much.
#include "absl/time/clock.h"
#include "tests/worker/worker_fixture.h"

namespace joinq {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;

TEST_F(WorkerTest, OutputGoesToTheLogWithTheTaskItIsOf) {
  Start({"--exec", "program=sh -c 'echo result; echo from a program >&2'"});
  const auto first = broker_.Put("say", "hello");
  const auto second = broker_.Put("program", "");
  ASSERT_TRUE(broker_.Wait(first));
  EXPECT_EQ(broker_.Wait(second)->result(), "result\n");
  EXPECT_EQ(Stop(), 0);
  const std::string log = worker_->Errors();
  EXPECT_THAT(log, HasSubstr("task " + std::to_string(first) + " | err: hello"));
  EXPECT_THAT(log, HasSubstr("task " + std::to_string(first) + " | out: hello"));
  EXPECT_THAT(log, HasSubstr("task " + std::to_string(second) + " | from a program"));
}

TEST_F(WorkerTest, ManyShortTasksInARowKeepTheirOutputApart) {
  Start({"-c", "1"});
  // Learn that tasks are tiny, so that many are sent ahead.
  broker_.PutMany("joinq.noop", "x", 2000);
  ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().completed >= 2000; }));
  std::vector<uint64_t> ids;
  for (int i = 0; i < 300; ++i) ids.push_back(broker_.Put("say_and_fail", "words of " + std::to_string(i)));
  int wrong = 0;
  for (int i = 0; i < 300; ++i) {
    const auto completion = broker_.Wait(ids[i]);
    ASSERT_TRUE(completion);
    wrong += completion->error().detail() != "words of " + std::to_string(i) + "\n";
  }
  EXPECT_EQ(wrong, 0);
}

class TaskOutputTest : public WorkerTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(TaskOutputTest, ItsEndGoesWithAFailure) {
  Start({"--task-output", GetParam()});
  EXPECT_EQ(Run("say_and_fail", "why it failed").error().detail(), "why it failed\n");
  const auto completion = Run("say_and_crash", "last words");
  EXPECT_THAT(completion.error().detail(), HasSubstr("peak memory"));
  EXPECT_THAT(completion.error().detail(), EndsWith("\noutput:\nlast words\n"));
  EXPECT_EQ(Stop(), 0);
  const bool logged = worker_->Errors().find("last words") != std::string::npos;
  EXPECT_EQ(logged, GetParam() == std::string("log"));
}

INSTANTIATE_TEST_SUITE_P(Modes, TaskOutputTest, ::testing::Values("log", "discard"));

TEST_F(WorkerTest, InheritedOutputIsTheWorkersOwn) {
  Start({"--task-output", "inherit"});
  EXPECT_EQ(Run("say_and_fail", "straight out").error().detail(), "");
  EXPECT_EQ(Stop(), 0);
  EXPECT_THAT("\n" + worker_->Errors(), HasSubstr("\nstraight out\n"));
}

TEST_F(WorkerTest, HundredsOfMegabytesOfOutputHurtNobody) {
  Start({"--exec", "flood=sh -c 'head -c 200000000 /dev/zero >&2; echo the end >&2; exit 1'"});
  const auto flood = broker_.Put("flood", "");
  const auto said = broker_.Put("say_much", "[200]");
  for (uint64_t id : {flood, said}) {
    const auto completion = broker_.Wait(id);
    ASSERT_TRUE(completion);
    EXPECT_LE(completion->error().detail().size(), 16384u);
  }
  EXPECT_THAT(broker_.Wait(flood)->error().detail(), EndsWith("the end\n"));
  EXPECT_EQ(Run("add", "[1, 2]").result(), "3");
  EXPECT_EQ(Stop(), 0);
  const std::string log = worker_->Errors();
  EXPECT_LT(log.size(), 400'000u);
  EXPECT_THAT(log, HasSubstr("[more of its output is not logged]"));
}

TEST_F(WorkerTest, ABadOutputModeIsRefused) {
  WorkerProcess worker({"--task-output", "nowhere"});
  EXPECT_EQ(WEXITSTATUS(worker.WaitEnd()), 2);
  EXPECT_THAT(worker.Errors(), HasSubstr("--task-output: must be log, discard or inherit, not \"nowhere\""));
}

}  // namespace
}  // namespace joinq
