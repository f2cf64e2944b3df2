// What a worker answers when it is asked for a task's output.
#include "tests/worker/worker_fixture.h"

namespace joinq {
namespace {

using ::testing::EndsWith;

TEST_F(WorkerTest, TheLogOfATaskThatRunsHasItsNewestLines) {
  Start({"--exec", "talker=sh -c 'echo one >&2; echo two >&2; sleep 600'"});
  const auto id = broker_.Put("talker", "");
  v1::TaskLogAnswer answer;
  // It may not have begun to write.
  ASSERT_TRUE([&] {
    for (const auto end = absl::Now() + absl::Seconds(20); absl::Now() < end;) {
      answer = broker_.AskLog(id).value_or(v1::TaskLogAnswer());
      if (answer.log().text() == "one\ntwo\n") return true;
    }
    return false;
  }()) << answer.DebugString();
  EXPECT_TRUE(answer.found());
  EXPECT_TRUE(answer.log().running());
  EXPECT_FALSE(answer.log().cut());
  worker_->Signal(SIGQUIT);
}

TEST_F(WorkerTest, TheLogOfATaskThatHasEndedIsKept) {
  Start();
  const auto id = broker_.Put("say_and_fail", "why it failed");
  ASSERT_TRUE(broker_.Wait(id));
  const auto answer = broker_.AskLog(id);
  ASSERT_TRUE(answer);
  EXPECT_TRUE(answer->found());
  EXPECT_FALSE(answer->log().running());
  EXPECT_EQ(answer->log().text(), "why it failed\n");
}

TEST_F(WorkerTest, ALongLogIsCutAtItsBeginning) {
  Start();
  const auto id = broker_.Put("say_much", "[1]");
  ASSERT_TRUE(broker_.Wait(id));
  const auto answer = broker_.AskLog(id);
  ASSERT_TRUE(answer);
  EXPECT_TRUE(answer->log().cut());
  EXPECT_EQ(answer->log().text().size(), size_t{64} << 10);
  EXPECT_THAT(answer->log().text(), EndsWith("mmm\n"));
}

TEST_F(WorkerTest, ThereIsNoLogOfATaskThatItDoesNotKnow) {
  Start();
  const auto answer = broker_.AskLog(4711);
  ASSERT_TRUE(answer);
  EXPECT_FALSE(answer->found());
}

}  // namespace
}  // namespace joinq
