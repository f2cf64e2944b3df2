// What a handler knows of its task and can do while it runs.
#include "absl/time/clock.h"
#include "tests/worker/worker_fixture.h"

namespace joinq {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::SizeIs;

TEST_F(WorkerTest, HeadersReachHandlersAndPrograms) {
  Start({"--time-limit", "30", "--exec",
         "env=sh -c 'echo $JOINQ_TASK_HEADER_TRACE_ID $JOINQ_TASK_SEQUENCE ${JOINQ_TASK_SECONDS_LEFT%.*}'"});
  const std::vector<std::pair<std::string, std::string>> headers{{"trace-id", "abc"}, {"empty", ""}};
  auto id = broker_.Put("header", "trace-id", "", headers);
  EXPECT_EQ(broker_.Wait(id)->result(), "abc");
  EXPECT_EQ(Run("header", "trace-id").result(), "");
  id = broker_.Put("env", "", "", headers);
  EXPECT_THAT(broker_.Wait(id)->result(), ContainsRegex("^abc 3 (29|30)"));
}

TEST_F(WorkerTest, OfMuchProgressTheNewestGoesOutAndLittleElse) {
  Start();
  const auto id = broker_.Put("report", "[200000]");
  ASSERT_TRUE(broker_.WaitFor([&] {
    const auto& reports = broker_.state().progress[id];
    return !reports.empty() && reports.back() == "step 200000";
  }));
  EXPECT_LT(broker_.Snapshot().progress.at(id).size(), 50u);
  broker_.Cancel(id);
  EXPECT_EQ(Run("add", "[1, 2]").result(), "3");
}

TEST_F(WorkerTest, ALoggedLineIsTaggedWithTheTask) {
  Start();
  const auto id = broker_.Put("log_line", "for people");
  ASSERT_TRUE(broker_.Wait(id));
  EXPECT_EQ(Stop(), 0);
  EXPECT_THAT(worker_->Errors(), HasSubstr("task " + std::to_string(id) + " | for people"));
}

TEST_F(WorkerTest, WhatATaskPutsGoesWithItsCompletion) {
  Start();
  const auto completion = Run("put_two", "payload");
  EXPECT_EQ(completion.verdict(), v1::Completion::DONE);
  ASSERT_THAT(completion.follow_ups(), SizeIs(2));
  const auto& first = completion.follow_ups(0);
  EXPECT_EQ(first.queue(), "next");
  EXPECT_EQ(first.handler(), "first");
  EXPECT_EQ(first.content_type(), "msgpack");
  EXPECT_EQ(first.options().max_attempts(), 3u);
  EXPECT_EQ(first.tasks(0).payload(), "one");
  EXPECT_EQ(first.tasks(0).headers(0).value(), "b");
  const auto& second = completion.follow_ups(1);
  EXPECT_EQ(second.options().delay_ms(), 2000u);
  EXPECT_EQ(second.options().priority(), -5);
  EXPECT_EQ(second.tasks(0).unique_key(), "key");
  EXPECT_EQ(second.tasks(0).payload(), "payload");
}

TEST_F(WorkerTest, ATaskThatFailsPutsNothingAndNeitherDoesTheNextOne) {
  Start({"-c", "1"});
  auto completion = Run("put_two", "fail");
  EXPECT_EQ(completion.verdict(), v1::Completion::FAILED);
  EXPECT_THAT(completion.follow_ups(), SizeIs(0));
  EXPECT_THAT(Run("add", "[1, 2]").follow_ups(), SizeIs(0));
}

TEST_F(WorkerTest, APutBeyondALimitFailsTheTaskForGoodAndNamesTheLimit) {
  Start();
  for (const auto& [how, why] : {std::pair{"queue", "put: queue"},
                                 {"size", "1048576 bytes at most"},
                                 {"utf8", "unique_key is not UTF-8"},
                                 {"count", "1000 tasks at most"}}) {
    const auto completion = Run("put_wrongly", how);
    EXPECT_THAT(completion.error().message(), HasSubstr(why));
    EXPECT_TRUE(completion.error().final()) << how;
  }
}

TEST_F(WorkerTest, ACancelledTaskSeesItAndEndsByItself) {
  Start({"-c", "1", "--kill-grace", "30"});
  const auto id = broker_.Put("until_asked", "");
  ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().status.busy() == 1; }));
  broker_.Cancel(id);
  EXPECT_EQ(Run("add", "[1, 2]").result(), "3") << "long before the grace is over";
  EXPECT_FALSE(broker_.Snapshot().completions.contains(id));
}

TEST_F(WorkerTest, ACancelledTaskThatGoesOnIsEndedAfterTheGraceAndWhatIsBehindItIsNotCharged) {
  Start({"-c", "1", "--kill-grace", "0.3"});
  TeachTiny();
  const auto children = ChildPids();
  const auto id = PutAndBegin("spin_ignoring_term");
  const auto behind = broker_.Put("add", "[1, 2]");
  AwaitDelivered(102);
  const absl::Time start = absl::Now();
  broker_.Cancel(id);
  EXPECT_TRUE(WaitGone(children));
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(600)) << "asked, then TERM, then KILL";
  ASSERT_TRUE(broker_.Wait(behind));
  const auto state = broker_.Snapshot();
  EXPECT_FALSE(state.completions.contains(id));
  for (const auto& completion : state.completions.at(behind))
    EXPECT_NE(completion.verdict(), v1::Completion::FAILED);
}

}  // namespace
}  // namespace joinq
