// Cancelled tasks: the worker says when their work is over, and how it ended.
#include "tests/worker/worker_fixture.h"

namespace joinq {
namespace {

class CancelTest : public WorkerTest {
 protected:
  void ExpectOneAnswer(uint64_t id) {
    EXPECT_EQ(Run("add", "[3, 4]").result(), "7");
    EXPECT_EQ(broker_.Snapshot().stopped.at(id).size(), 1u);
    EXPECT_FALSE(broker_.Snapshot().completions.contains(id));
  }
};

TEST_F(CancelTest, OfAWaitingTaskIsConfirmedAsNotRunning) {
  Start({"-c", "1"});
  TeachTiny();
  PutAndBegin("sleep_ms", "[60000]");
  const auto waiting = broker_.Put("sleep_ms", "[60000]");
  AwaitDelivered(102);
  broker_.Cancel(waiting);
  EXPECT_EQ(broker_.WaitStopped(waiting), v1::WORK_END_NOT_RUNNING);
}

TEST_F(CancelTest, OfAnUnknownLeaseIsConfirmedAsNotRunning) {
  Start();
  broker_.Cancel(4711);
  EXPECT_EQ(broker_.WaitStopped(4711), v1::WORK_END_NOT_RUNNING);
}

TEST_F(CancelTest, OfAHandlerThatEndsWhenAskedIsConfirmedAsReturned) {
  Start({"-c", "1", "--kill-grace", "60"});
  const auto id = PutAndBegin("until_asked");
  broker_.Cancel(id);
  EXPECT_EQ(broker_.WaitStopped(id), v1::WORK_END_RETURNED);
  ExpectOneAnswer(id);
}

TEST_F(CancelTest, OfAHandlerThatIgnoresEverythingIsConfirmedAsKilled) {
  Start({"-c", "1", "--kill-grace", "0.2"});
  const auto id = PutAndBegin("spin_ignoring_term");
  broker_.Cancel(id);
  EXPECT_EQ(broker_.WaitStopped(id), v1::WORK_END_KILLED);
  ExpectOneAnswer(id);
}

TEST_F(CancelTest, ATerminateEndsTheProcessWithoutAsking) {
  Start({"-c", "1", "--kill-grace", "60"});
  const auto id = PutAndBegin("spin");
  broker_.Cancel(id, /*terminate=*/true);
  EXPECT_EQ(broker_.WaitStopped(id), v1::WORK_END_KILLED);
  ExpectOneAnswer(id);
}

TEST_F(CancelTest, ATerminateKillsWhatIgnoresTermAfterTheGrace) {
  Start({"-c", "1", "--kill-grace", "0.2"});
  const auto id = PutAndBegin("spin_ignoring_term");
  broker_.Cancel(id, /*terminate=*/true);
  EXPECT_EQ(broker_.WaitStopped(id), v1::WORK_END_KILLED);
  ExpectOneAnswer(id);
}

TEST_F(CancelTest, ATerminateHurriesWhatWasOnlyAskedToEnd) {
  Start({"-c", "1", "--kill-grace", "60"});
  const auto id = PutAndBegin("spin");
  broker_.Cancel(id);
  broker_.CancelAgain(id, /*terminate=*/true);
  EXPECT_EQ(broker_.WaitStopped(id), v1::WORK_END_KILLED);
  ExpectOneAnswer(id);
}

TEST_F(CancelTest, ATerminateEndsAProgramAndItsProcesses) {
  Start({"-c", "1", "--kill-grace", "60", "--exec", "sleeper=sh -c 'sleep 600 & wait'"});
  const auto id = PutAndBegin("sleeper");
  const auto children = ChildPids();
  const auto grandchildren = ChildrenOf(children.at(0));
  broker_.Cancel(id, /*terminate=*/true);
  EXPECT_EQ(broker_.WaitStopped(id), v1::WORK_END_KILLED);
  EXPECT_TRUE(WaitGone(children));
  EXPECT_TRUE(WaitGone(grandchildren));
}

TEST_F(CancelTest, ThatIsRepeatedIsAnsweredTheSame) {
  Start({"-c", "1", "--kill-grace", "60"});
  const auto id = PutAndBegin("spin");
  broker_.Cancel(id, /*terminate=*/true);
  ASSERT_EQ(broker_.WaitStopped(id), v1::WORK_END_KILLED);
  broker_.CancelAgain(id);
  ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().stopped[id].size() == 2; }));
  EXPECT_EQ(broker_.WaitStopped(id), v1::WORK_END_KILLED);
  // Also on another stream: the first answer may have been lost with the old one.
  broker_.Break();
  ASSERT_TRUE(broker_.WaitConnected(2));
  broker_.CancelAgain(id);
  ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().stopped[id].size() == 3; }));
  EXPECT_EQ(broker_.WaitStopped(id), v1::WORK_END_KILLED);
}

TEST_F(CancelTest, WhoseCompletionIsOnTheWayIsConfirmedAsReturned) {
  Start();
  broker_.SetAck(false);
  const auto id = broker_.Put("add", "[1, 2]");
  ASSERT_TRUE(broker_.Wait(id));
  const auto completion = broker_.Snapshot().completions.at(id)[0];
  broker_.CancelLease(id, completion.sequence());
  EXPECT_EQ(broker_.WaitStopped(id), v1::WORK_END_RETURNED);
}

TEST_F(CancelTest, IsConfirmedBeforeADrainingWorkerGoes) {
  Start({"-c", "1", "--kill-grace", "0.2"});
  const auto id = PutAndBegin("spin_ignoring_term");
  worker_->Signal(SIGTERM);
  ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().draining; }));
  broker_.Cancel(id);
  EXPECT_EQ(worker_->WaitEnd(), 0);
  EXPECT_EQ(broker_.WaitStopped(id), v1::WORK_END_KILLED);
}

}  // namespace
}  // namespace joinq
