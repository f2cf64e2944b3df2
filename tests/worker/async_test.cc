// Children that run several tasks at once: coroutines.
#include "joinq/codec.h"
#include "tests/worker/worker_fixture.h"

namespace joinq {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class AsyncTest : public WorkerTest {
 protected:
  void StartWith(const std::string& at_once, std::vector<std::string> more = {}) {
    more.insert(more.begin(),
                {"--module", JOINQ_BUILD_DIR "/tests/async_module.so", "--concurrency-per-child", at_once});
    Start(std::move(more));
  }
  v1::Completion Await(uint64_t id) {
    auto completion = broker_.Wait(id);
    if (!completion) ADD_FAILURE() << "task " << id << " did not complete";
    return completion.value_or(v1::Completion());
  }
  std::vector<v1::Completion> All(uint64_t id) { return broker_.Snapshot().completions[id]; }
  std::string Log(uint64_t id) { return broker_.AskLog(id).value_or(v1::TaskLogAnswer()).log().text(); }

  AsyncTest() { size_ = {"-c", "1"}; }
};

TEST_F(AsyncTest, AChildRunsAsManyAtOnceAsItIsTold) {
  StartWith("8");
  std::vector<uint64_t> ids;
  for (int i = 0; i < 8; ++i) ids.push_back(broker_.Put("async_meet", "[8]"));
  const std::string pid = Await(ids[0]).result();
  for (uint64_t id : ids) EXPECT_EQ(Await(id).result(), pid);
}

TEST_F(AsyncTest, ItNeverRunsMoreAtOnce) {
  StartWith("5");
  std::vector<uint64_t> ids;
  for (int i = 0; i < 100; ++i) ids.push_back(broker_.Put("async_nap", "[3]"));
  for (uint64_t id : ids) EXPECT_EQ(Await(id).result(), "3");
  EXPECT_EQ(Run("async_most", "").result(), "5");
}

TEST_F(AsyncTest, CoroutinesRunOneAtATimeUnlessToldOtherwise) {
  Start({"--module", JOINQ_BUILD_DIR "/tests/async_module.so"});
  std::vector<uint64_t> ids;
  for (int i = 0; i < 20; ++i) ids.push_back(broker_.Put("async_nap", "[2]"));
  for (uint64_t id : ids) EXPECT_EQ(Await(id).result(), "2");
  EXPECT_EQ(Run("async_most", "").result(), "1");
}

TEST_F(AsyncTest, AShortTaskIsAnsweredWhileALongOneWaits) {
  StartWith("2");
  const auto nap = PutAndBegin("async_nap", "[60000]");
  for (int i = 0; i < 50; ++i) EXPECT_EQ(Run("async_nap", "[1]").result(), "1");
  EXPECT_THAT(All(nap), IsEmpty());
}

TEST_F(AsyncTest, ArgumentsResultsErrorsAndFollowUpsAreThoseOfOtherHandlers) {
  StartWith("3");
  EXPECT_EQ(Run("async_greet", "you").result(), "hello you");
  EXPECT_EQ(Run("async_greet", PackArgs("there"), "msgpack").content_type(), "msgpack");
  const auto nothing = Run("async_nothing", "");
  EXPECT_EQ(nothing.verdict(), v1::Completion::DONE);
  ASSERT_THAT(nothing.follow_ups(), SizeIs(1));
  EXPECT_EQ(nothing.follow_ups(0).handler(), "first");
  const auto failed = Run("async_fail", "why");
  EXPECT_EQ(failed.error().message(), "why");
  EXPECT_EQ(failed.error().detail(), "a detail");
  EXPECT_TRUE(failed.error().final());
  EXPECT_THAT(Run("async_nap", "[1, 2]").error().message(), HasSubstr("takes 1 argument(s), got 2"));
  // Plain ones as well.
  EXPECT_EQ(Run("add", "[1, 2]").result(), "3");
  EXPECT_EQ(Run("fail", "why").error().message(), "why");
}

TEST_F(AsyncTest, TasksWithAProcessOfTheirOwnCanBeCoroutines) {
  StartWith("3");
  const FakeBroker::RunOptions own{.fresh_process = true};
  const auto completion = Await(broker_.Put("async_pid", "", own));
  EXPECT_EQ(completion.result(), std::to_string(completion.process().pid()));
  EXPECT_EQ(completion.process().exit_code(), 0);
}

TEST_F(AsyncTest, ACrashBlamesTheTaskWhoseCodeRanAndNoOther) {
  StartWith("4");
  const auto first = broker_.Put("async_meet", "[3]"), second = broker_.Put("async_meet", "[3]");
  const auto crash = Await(broker_.Put("async_crash", ""));
  EXPECT_EQ(crash.error().kind(), v1::FAILURE_KIND_CRASH);
  EXPECT_THAT(crash.error().message(), HasSubstr("signal 11"));
  // The two others have gone back, and end when the third of them is there.
  EXPECT_EQ(Run("async_meet", "[3]").verdict(), v1::Completion::DONE);
  for (uint64_t id : {first, second}) {
    ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().completions[id].size() == 2; }));
    EXPECT_EQ(All(id)[0].verdict(), v1::Completion::RELEASED);
    EXPECT_EQ(All(id)[1].verdict(), v1::Completion::DONE);
  }
}

TEST_F(AsyncTest, ADeathThatNoCodeIsSeenToCauseIsBlamedOnAllThatRan) {
  StartWith("4");
  const auto first = PutAndBegin("async_nap", "[60000]"), second = PutAndBegin("async_nap", "[60000]");
  kill(ChildPids().at(0), SIGKILL);
  for (uint64_t id : {first, second}) {
    const auto completion = Await(id);
    EXPECT_EQ(completion.error().kind(), v1::FAILURE_KIND_CRASH);
    EXPECT_THAT(completion.error().message(), HasSubstr("signal 9"));
  }
}

TEST_F(AsyncTest, ACancelEndsTheWaitOfThatTaskAndNothingElse) {
  StartWith("3", {"--kill-grace", "60"});
  const auto other = broker_.Put("async_meet", "[2]");
  const auto cancelled = PutAndBegin("async_nap", "[60000]");
  broker_.Cancel(cancelled);
  EXPECT_EQ(broker_.WaitStopped(cancelled), v1::WORK_END_RETURNED);
  const auto pid = std::to_string(ChildPids().at(0));
  EXPECT_EQ(Run("async_meet", "[2]").result(), pid);
  EXPECT_EQ(Await(other).result(), pid);
}

TEST_F(AsyncTest, EachOfTwoThatIgnoreTheirCancelIsEndedAfterItsGrace) {
  StartWith("3", {"--kill-grace", "0.2"});
  const auto first = PutAndBegin("async_deaf"), second = PutAndBegin("async_deaf");
  broker_.Cancel(first);
  broker_.Cancel(second);
  EXPECT_EQ(broker_.WaitStopped(first), v1::WORK_END_KILLED);
  EXPECT_EQ(broker_.WaitStopped(second), v1::WORK_END_KILLED);
  EXPECT_EQ(Run("add", "[1, 2]").result(), "3");
}

TEST_F(AsyncTest, TheSoftTimeLimitEndsTheWaitAndTheErrorSaysSo) {
  StartWith("3", {"--kill-grace", "60"});
  const auto other = broker_.Put("async_meet", "[2]");
  const auto late = Await(broker_.Put("async_nap", "[60000]", {.soft_time_limit_ms = 50}));
  EXPECT_EQ(late.error().kind(), v1::FAILURE_KIND_TIME_LIMIT);
  EXPECT_THAT(late.error().message(), HasSubstr("soft time limit of 0.05 s passed"));
  EXPECT_EQ(Await(broker_.Put("async_tidy", "", {.soft_time_limit_ms = 50})).result(), "tidied up");
  EXPECT_EQ(Run("async_meet", "[2]").verdict(), v1::Completion::DONE);
  EXPECT_EQ(Await(other).verdict(), v1::Completion::DONE);
}

TEST_F(AsyncTest, TheHardTimeLimitOfOneCostsTheOthersNothing) {
  StartWith("3", {"--kill-grace", "0.2"});
  const auto other = PutAndBegin("async_meet", "[2]");
  const auto late = Await(broker_.Put("async_spin", "[60000]", {.time_limit_ms = 100}));
  EXPECT_EQ(late.error().kind(), v1::FAILURE_KIND_TIME_LIMIT);
  EXPECT_THAT(late.error().message(), HasSubstr("hard time limit of 0.1 s passed"));
  EXPECT_EQ(Run("async_meet", "[2]").verdict(), v1::Completion::DONE);
  ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().completions[other].size() == 2; }));
  EXPECT_EQ(All(other)[0].verdict(), v1::Completion::RELEASED);
  EXPECT_EQ(All(other)[1].verdict(), v1::Completion::DONE);
}

TEST_F(AsyncTest, WhoComputesPastTheLimitOfOthersIsTheOneToBlame) {
  StartWith("3", {"--kill-grace", "0.2"});
  const auto nap = broker_.Put("async_nap", "[300]", {.time_limit_ms = 1000});
  const auto spin = Await(broker_.Put("async_nap_spin", "[100, 60000]"));
  EXPECT_EQ(spin.error().kind(), v1::FAILURE_KIND_TIME_LIMIT);
  EXPECT_THAT(spin.error().message(), HasSubstr("without a pause, and held up others"));
  ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().completions[nap].size() == 2; }));
  EXPECT_EQ(All(nap)[0].verdict(), v1::Completion::RELEASED);
  EXPECT_EQ(All(nap)[1].verdict(), v1::Completion::DONE);
}

TEST_F(AsyncTest, WhatATaskLeftBehindIsBlamedOnNoOther) {
  StartWith("3");
  ASSERT_EQ(Run("async_leave_crash", "[100]").verdict(), v1::Completion::DONE);
  const auto alone = broker_.Put("async_nap", "[400]");
  ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().completions[alone].size() == 2; }));
  ASSERT_EQ(Run("async_leave_crash", "[100]").verdict(), v1::Completion::DONE);
  const auto first = broker_.Put("async_nap", "[400]"), second = broker_.Put("async_nap", "[400]");
  for (uint64_t id : {alone, first, second}) {
    ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().completions[id].size() == 2; }));
    EXPECT_EQ(All(id)[0].verdict(), v1::Completion::RELEASED);
    EXPECT_EQ(All(id)[1].verdict(), v1::Completion::DONE);
  }
}

TEST_F(AsyncTest, AnAnswerDoesNotWaitForWhatRunsNext) {
  StartWith("4");
  // All of them are due while the first computes.
  const auto spin = broker_.Put("async_nap_spin", "[200, 100]");
  const auto nap = broker_.Put("async_nap", "[250]");
  const auto long_spin = broker_.Put("async_nap_spin", "[260, 60000]");
  EXPECT_EQ(Await(spin).verdict(), v1::Completion::DONE);
  EXPECT_EQ(Await(nap).result(), "250");
  EXPECT_THAT(All(long_spin), IsEmpty());
  worker_->Signal(SIGQUIT);
}

TEST_F(AsyncTest, WhatWaitsBehindCodeThatComputesRunsInAnotherChild) {
  size_ = kTwoFromTheStart;
  StartWith("4");
  const auto spin = PutAndBegin("async_spin", "[60000]");
  std::vector<uint64_t> ids;
  for (int i = 0; i < 20; ++i) ids.push_back(broker_.Put("async_nap", "[1]"));
  for (uint64_t id : ids) EXPECT_EQ(Await(id).result(), "1");
  EXPECT_THAT(All(spin), IsEmpty());
  worker_->Signal(SIGQUIT);
}

TEST_F(AsyncTest, WhatTheyWriteByTurnsIsToldApart) {
  StartWith("3");
  std::vector<std::pair<uint64_t, std::string>> tasks;
  for (const std::string word : {"red", "green", "blue"})
    tasks.emplace_back(broker_.Put("async_say", word), word);
  for (const auto& [id, word] : tasks) {
    ASSERT_EQ(Await(id).verdict(), v1::Completion::DONE);
    std::string expected;
    for (int i = 0; i < 20; ++i) expected += word + " " + std::to_string(i) + "\n";
    EXPECT_EQ(Log(id), expected);
  }
}

TEST_F(AsyncTest, EachHasItsOwnProgress) {
  StartWith("3");
  const auto red = broker_.Put("async_report", "red"), green = broker_.Put("async_report", "green");
  EXPECT_TRUE(broker_.WaitFor([&] {
    auto& progress = broker_.state().progress;
    return !progress[red].empty() && !progress[green].empty();
  }));
  EXPECT_THAT(broker_.Snapshot().progress[red], Each("red"));
  EXPECT_THAT(broker_.Snapshot().progress[green], Each("green"));
  worker_->Signal(SIGQUIT);
}

TEST_F(AsyncTest, ThreadsOfOneMayReportWhileOthersEnd) {
  StartWith("3");
  const auto threaded = broker_.Put("async_threaded", "[20000]");
  for (int i = 0; i < 200; ++i) broker_.Put("async_greet", "you");
  EXPECT_EQ(Await(threaded).result(), "20000");
  ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().completed >= 201; }));
}

TEST_F(AsyncTest, PayloadsOfAllSizesStayWhereTheyAreWhileOthersRun) {
  StartWith("20");
  std::map<uint64_t, std::string> payloads;
  for (int i = 0; i < 60; ++i) {
    const std::string payload(size_t{1} << (i % 21), static_cast<char>('a' + i % 26));
    payloads[broker_.Put("async_raw", payload, "type " + std::to_string(i))] = payload;
  }
  for (const auto& [id, payload] : payloads) {
    const auto completion = Await(id);
    EXPECT_TRUE(completion.result() == payload) << payload.size() << " bytes";
    EXPECT_EQ(completion.content_type(), "type " + std::to_string(id - payloads.begin()->first));
  }
}

TEST_F(AsyncTest, AChildIsReplacedAfterTheTasksOfItsLife) {
  StartWith("4", {"--max-tasks-per-child", "10"});
  std::vector<uint64_t> ids;
  for (int i = 0; i < 40; ++i) ids.push_back(broker_.Put("async_pid", ""));
  std::map<std::string, int> tasks;
  for (uint64_t id : ids) ++tasks[Await(id).result()];
  EXPECT_THAT(tasks, SizeIs(4));
  for (const auto& [pid, count] : tasks) EXPECT_EQ(count, 10);
}

TEST_F(AsyncTest, ADrainLetsAllThatRunEnd) {
  StartWith("4");
  std::vector<uint64_t> ids;
  for (int i = 0; i < 4; ++i) ids.push_back(PutAndBegin("async_nap", "[300]"));
  EXPECT_EQ(Stop(), 0);
  for (uint64_t id : ids) EXPECT_EQ(Await(id).verdict(), v1::Completion::DONE);
}

TEST_F(AsyncTest, TheStateShowsAllThatRuns) {
  StartWith("4");
  const auto first = PutAndBegin("async_nap", "[60000]"), second = PutAndBegin("async_nap", "[60000]");
  worker_->Signal(SIGUSR1);
  EXPECT_TRUE(broker_.WaitFor([&] {
    const std::string log = worker_->Errors();
    return log.find("runs task " + std::to_string(first)) != log.npos &&
           log.find(", task " + std::to_string(second)) != log.npos;
  })) << worker_->Errors();
  worker_->Signal(SIGQUIT);
}

TEST_F(AsyncTest, AWrongNumberIsRefused) {
  ExpectRefused(Arguments({"--concurrency-per-child", "65"}), "--concurrency-per-child");
  ExpectRefused(Arguments({"--concurrency-per-child", "0"}), "--concurrency-per-child");
}

}  // namespace
}  // namespace joinq
