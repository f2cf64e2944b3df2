// The whole worker as a process, against a fake broker.
#include <fstream>

#include "absl/time/clock.h"
#include "joinq/codec.h"
#include "tests/worker/worker_fixture.h"

namespace joinq {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::Not;
using ::testing::SizeIs;

TEST_F(WorkerTest, SaysWhoItIsAndRunsHandlers) {
  Start({"-Q", "default,other", "-n", "w:1", "--exec", "up=tr a-z A-Z"});
  const auto hello = broker_.Snapshot().hello;
  EXPECT_NE(hello.worker_id(), 0u);
  EXPECT_EQ(hello.name(), "w:1");
  EXPECT_EQ(hello.pid(), static_cast<uint32_t>(worker_->pid()));
  EXPECT_EQ(hello.concurrency(), 2u);
  EXPECT_THAT(hello.queues(), ElementsAre("default", "other"));
  EXPECT_THAT(hello.handlers(), IsSupersetOf({"joinq.noop", "joinq.echo", "up", "add", "crash"}));

  EXPECT_EQ(Run("joinq.noop", "x").result(), "");
  EXPECT_EQ(Run("joinq.echo", "x", "odd").content_type(), "odd");
  EXPECT_EQ(UnpackResult<int>(Run("add", PackArgs(1, 2), "msgpack").result()), 3);
  EXPECT_EQ(Run("add", "[1, 2]").result(), "3");
  EXPECT_EQ(Run("up", "hello").result(), "HELLO");
  EXPECT_EQ(Run("queue", "on ").result(), "on default");
  EXPECT_EQ(Run("attempt", "").result(), "1");
  EXPECT_EQ(Stop(), 0) << worker_->Errors();
}

TEST_F(WorkerTest, FailuresAreToldApart) {
  Start();
  auto completion = Run("fail", "gr\xfcn\nx");
  EXPECT_EQ(completion.verdict(), v1::Completion::FAILED);
  EXPECT_EQ(completion.error().kind(), v1::FAILURE_KIND_HANDLER_ERROR);
  EXPECT_EQ(completion.error().message(), "gr?n x");
  EXPECT_FALSE(completion.error().final());
  completion = Run("fail_for_good", "why");
  EXPECT_TRUE(completion.error().final());
  EXPECT_EQ(completion.error().detail(), "a detail");
  completion = Run("add", PackArgs(1), "msgpack");
  EXPECT_EQ(completion.error().kind(), v1::FAILURE_KIND_BAD_ARGUMENTS);
  EXPECT_THAT(completion.error().message(), HasSubstr("takes 2 argument(s), got 1"));
  EXPECT_TRUE(completion.error().final());
  completion = Run("nope", "");
  EXPECT_EQ(completion.error().kind(), v1::FAILURE_KIND_UNKNOWN_HANDLER);
  EXPECT_THAT(completion.error().message(), HasSubstr("no handler \"nope\" on worker"));
  EXPECT_THAT(completion.error().message(), HasSubstr("sleep_ms"));
  EXPECT_TRUE(completion.error().final());
  EXPECT_EQ(Run("joinq.echo", std::string(1 << 20, 'x')).result().size(), 1u << 20);
  EXPECT_EQ(Run("joinq.echo", std::string((1 << 20) + 1, 'x')).error().kind(),
            v1::FAILURE_KIND_HANDLER_ERROR);
}

TEST_F(WorkerTest, ACrashIsReportedWithinASecondAndThePoolRefilled) {
  size_ = kTwoFromTheStart;
  Start();
  ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().status.children() == 2; }));
  ASSERT_THAT(ChildPids(), SizeIs(2));
  for (const auto& [handler, payload, why] : {std::tuple{"crash", "", "signal 11"},
                                              {"exit_now", "[3]", "exit status 3 in the middle of a task"},
                                              {"crash_with_grandchild", "", "signal 9"}}) {
    const absl::Time start = absl::Now();
    const auto completion = Run(handler, payload);
    EXPECT_LT(absl::Now() - start, absl::Seconds(1)) << handler;
    EXPECT_EQ(completion.verdict(), v1::Completion::FAILED);
    EXPECT_EQ(completion.error().kind(), v1::FAILURE_KIND_CRASH);
    EXPECT_THAT(completion.error().message(), HasSubstr(why));
    EXPECT_FALSE(completion.error().final());
  }
  // Two sleeps at once need two children.
  const auto first = broker_.Put("sleep_ms", "[50]");
  const auto second = broker_.Put("sleep_ms", "[50]");
  EXPECT_TRUE(broker_.Wait(first) && broker_.Wait(second));
  const auto after = ChildPids();
  EXPECT_THAT(after, SizeIs(2));
  for (pid_t pid : after) EXPECT_NE(StateOf(pid), 'Z');
}

TEST_F(WorkerTest, NothingIsLostWhenChildrenCrashUnderLoad) {
  Start();
  std::vector<uint64_t> noops, crashes;
  for (int i = 0; i < 20'000; ++i) {
    if (i % 1000 == 500) {
      crashes.push_back(broker_.Put("crash", ""));
    } else {
      noops.push_back(broker_.Put("joinq.noop", "x"));
    }
  }
  ASSERT_TRUE(
      broker_.WaitFor([&] { return broker_.state().completions.size() == noops.size() + crashes.size(); }));
  const auto state = broker_.Snapshot();
  for (uint64_t id : noops) {
    ASSERT_THAT(state.completions.at(id), SizeIs(1)) << id;
    ASSERT_EQ(state.completions.at(id)[0].verdict(), v1::Completion::DONE) << id;
  }
  for (uint64_t id : crashes) {
    ASSERT_THAT(state.completions.at(id), SizeIs(1));
    ASSERT_EQ(state.completions.at(id)[0].error().kind(), v1::FAILURE_KIND_CRASH);
  }
  EXPECT_LE(state.credit_max, 2048u);
}

TEST_F(WorkerTest, AKilledChildOutOfTheBlueCostsOnlyItsTask) {
  Start();
  const auto id = broker_.Put("sleep_ms", "[60000]");
  ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().status.busy() == 1; }));
  for (pid_t pid : ChildPids()) kill(pid, SIGKILL);
  const auto completion = broker_.Wait(id);
  ASSERT_TRUE(completion);
  EXPECT_THAT(completion->error().message(), HasSubstr("signal 9"));
  EXPECT_EQ(Run("add", "[2, 2]").result(), "4");
}

TEST_F(WorkerTest, TinyTasksDoNotWaitBehindASlowOne) {
  Start();
  // Learn that tasks are tiny, so that many are sent ahead.
  broker_.PutMany("joinq.noop", "x", 5000);
  ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().completed >= 5000; }));
  const auto slow = broker_.Put("sleep_ms", "[20000]");
  broker_.PutMany("joinq.noop", "x", 2000);
  EXPECT_TRUE(broker_.WaitFor([&] { return broker_.state().completed >= 7000; }, absl::Seconds(10)));
  EXPECT_FALSE(broker_.Snapshot().completions.contains(slow));
}

TEST_F(WorkerTest, ResultsGatheredBeforeASlowTaskArriveSoon) {
  Start({"-c", "1"});
  broker_.PutMany("joinq.noop", "x", 2000);
  ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().completed >= 2000; }));
  for (int round = 0; round < 3; ++round) {
    broker_.PutMany("joinq.noop", "x", 50);
    const auto slow = broker_.Put("sleep_ms", "[1500]");
    const absl::Time start = absl::Now();
    const uint64_t goal = 2000 + static_cast<uint64_t>(round) * 51 + 50;
    ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().completed >= goal; }));
    EXPECT_LT(absl::Now() - start, absl::Seconds(1));
    ASSERT_TRUE(broker_.Wait(slow));
  }
}

TEST_F(WorkerTest, WaitingTasksGoBackWhenAllAreBusyForLong) {
  Start();
  broker_.PutMany("joinq.noop", "x", 5000);
  ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().completed >= 5000; }));
  for (int i = 0; i < 100; ++i) broker_.Put("sleep_ms", "[5000]");
  EXPECT_TRUE(broker_.WaitFor([&] {
    uint64_t released = 0;
    for (const auto& [id, completions] : broker_.state().completions) {
      for (const auto& completion : completions) released += completion.verdict() == v1::Completion::RELEASED;
    }
    return released >= 90;
  }));
}

TEST_F(WorkerTest, CreditIsNeverOverdrawnAndHeartbeatsGoOnWhileBusy) {
  Start();
  ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().credit >= 2; }));
  EXPECT_EQ(broker_.Snapshot().credit_max, 2u);
  for (int i = 0; i < 4; ++i) broker_.Put("sleep_ms", "[2500]");
  ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().status.busy() == 2; }));
  EXPECT_EQ(broker_.Snapshot().credit, 0u);
  const int statuses = broker_.Snapshot().statuses;
  EXPECT_TRUE(broker_.WaitFor([&] { return broker_.state().statuses >= statuses + 3; }, absl::Seconds(3)));
  EXPECT_EQ(broker_.Snapshot().status.buffered(), 0u) << "what others could run is left to them";
}

TEST_F(WorkerTest, ResendsCompletionsAndKeepsItsLeasesOverABreak) {
  Start();
  broker_.SetAck(false);
  const auto first = broker_.Put("add", "[1, 1]");
  ASSERT_TRUE(broker_.Wait(first));
  const auto slow = broker_.Put("sleep_ms", "[1000]");
  ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().status.busy() == 1; }));
  broker_.SetEpoch(2);  // as after a restart of the broker
  broker_.Break();
  ASSERT_TRUE(broker_.WaitConnected(2));
  // The same message with the same number, and the lease of what runs.
  ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().sequences.size() >= 2; }));
  EXPECT_EQ(broker_.Snapshot().sequences[1], 1u);
  std::vector<uint64_t> held;
  const auto state = broker_.Snapshot();
  for (const auto& lease : state.hello.held()) held.push_back(lease.task_id());
  EXPECT_THAT(held, Contains(slow));
  EXPECT_THAT(held, Contains(first));  // its completion may not have been seen
  broker_.SetAck(true);
  ASSERT_TRUE(broker_.Wait(slow));
  EXPECT_THAT(broker_.Snapshot().completions.at(slow), SizeIs(1));
}

TEST_F(WorkerTest, DoesNotResendWhatTheBrokerHasSeen) {
  Start();
  broker_.SetAck(false);
  ASSERT_TRUE(broker_.Wait(broker_.Put("add", "[1, 1]")));
  broker_.Break();
  ASSERT_TRUE(broker_.WaitConnected(2));
  ASSERT_TRUE(broker_.Wait(broker_.Put("add", "[1, 1]")));
  EXPECT_THAT(broker_.Snapshot().sequences, ElementsAre(1, 2));
  broker_.SetAck(true);
  EXPECT_EQ(Stop(), 0);
}

TEST_F(WorkerTest, ReconnectsWheneverTheBrokerComesBack) {
  Start();
  broker_.SetAccept(false);
  broker_.Break();
  ASSERT_TRUE(broker_.WaitFor([&] { return !broker_.state().connected; }));
  broker_.SetAccept(true);
  ASSERT_TRUE(broker_.WaitConnected(2));
  EXPECT_EQ(Run("add", "[3, 4]").result(), "7");
}

TEST_F(WorkerTest, CancelEndsARunningTaskAndDropsAWaitingOne) {
  Start({"-c", "1"});
  TeachTiny();
  const auto running = PutAndBegin("sleep_ms", "[60000]");
  const auto waiting = broker_.Put("sleep_ms", "[60000]");
  AwaitDelivered(102);
  const auto children = ChildPids();
  broker_.Cancel(waiting);
  broker_.Cancel(running);
  EXPECT_TRUE(WaitGone(children));
  EXPECT_EQ(Run("add", "[3, 4]").result(), "7");
  EXPECT_FALSE(broker_.Snapshot().completions.contains(running));
  // Unless it was handed back before.
  const auto state = broker_.Snapshot();
  if (state.completions.contains(waiting)) {
    EXPECT_EQ(state.completions.at(waiting)[0].verdict(), v1::Completion::RELEASED);
  }
}

TEST_F(WorkerTest, DrainFinishesWhatRunsAndReleasesTheRest) {
  Start();
  TeachTiny();
  std::vector<uint64_t> ids;
  for (int i = 0; i < 2; ++i) ids.push_back(PutAndBegin("sleep_ms", "[2000]"));
  for (int i = 0; i < 2; ++i) ids.push_back(broker_.Put("sleep_ms", "[2000]"));
  AwaitDelivered(104);
  worker_->Signal(SIGTERM);
  const int status = worker_->WaitEnd();
  EXPECT_EQ(status, 0) << worker_->Errors();
  const auto state = broker_.Snapshot();
  EXPECT_TRUE(state.draining);
  EXPECT_TRUE(state.ended_in_order);
  EXPECT_EQ(state.completions.at(ids[0])[0].verdict(), v1::Completion::DONE);
  EXPECT_EQ(state.completions.at(ids[1])[0].verdict(), v1::Completion::DONE);
  EXPECT_EQ(state.completions.at(ids[2])[0].verdict(), v1::Completion::RELEASED);
  EXPECT_EQ(state.completions.at(ids[3])[0].verdict(), v1::Completion::RELEASED);
}

struct HurryCase {
  std::vector<std::string> arguments;
  std::vector<int> signals;
};
class WorkerHurryTest : public WorkerTest, public ::testing::WithParamInterface<HurryCase> {};

TEST_P(WorkerHurryTest, GivesTheRunningTaskBack) {
  Start(GetParam().arguments);
  const auto id = broker_.Put("sleep_ms", "[60000]");
  ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().status.busy() == 1; }));
  const auto children = ChildPids();
  for (int number : GetParam().signals) {
    worker_->Signal(number);
    if (number != SIGTERM) continue;
    ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().draining; }));
  }
  EXPECT_EQ(worker_->WaitEnd(absl::Seconds(5)), 0) << worker_->Errors();
  const auto completion = broker_.Wait(id);
  ASSERT_TRUE(completion);
  EXPECT_EQ(completion->verdict(), v1::Completion::RELEASED);
  EXPECT_TRUE(WaitGone(children));
}

INSTANTIATE_TEST_SUITE_P(Ways, WorkerHurryTest,
                         ::testing::Values(HurryCase{{}, {SIGTERM, SIGTERM}}, HurryCase{{}, {SIGQUIT}},
                                           HurryCase{{"--drain-timeout", "0.3"}, {SIGTERM}}));

TEST_F(WorkerTest, DrainsWhenTheBrokerAsks) {
  Start();
  broker_.AskToDrain();
  EXPECT_EQ(worker_->WaitEnd(), 0);
  EXPECT_TRUE(broker_.Snapshot().draining);
}

TEST_F(WorkerTest, NothingIsLeftWhenTheDaemonIsKilled) {
  size_ = kTwoFromTheStart;
  Start({"--exec", "long=sleep 600"});
  broker_.Put("long", "");
  ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().status.busy() == 1; }));
  ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().status.children() == 2; }));
  std::vector<pid_t> all{KeeperPid(), ZygotePid()};
  for (pid_t child : ChildPids()) {
    all.push_back(child);
    for (pid_t grandchild : ChildrenOf(child)) all.push_back(grandchild);
  }
  ASSERT_GE(all.size(), 5u);
  worker_->Signal(SIGKILL);
  worker_->WaitEnd();
  EXPECT_TRUE(WaitGone(all));
}

TEST_F(WorkerTest, AZygoteThatIsKilledIsReplacedAndItsTasksGoBack) {
  Start({"--exec", "long=sleep 600"});
  const auto id = broker_.Put("long", "");
  ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().status.busy() == 1; }));
  std::vector<pid_t> all = ChildPids();
  for (pid_t child : ChildPids()) {
    for (pid_t grandchild : ChildrenOf(child)) all.push_back(grandchild);
  }
  kill(ZygotePid(), SIGKILL);
  const auto completion = broker_.Wait(id);
  ASSERT_TRUE(completion);
  EXPECT_EQ(completion->verdict(), v1::Completion::RELEASED);
  EXPECT_TRUE(WaitGone(all));
  EXPECT_EQ(Run("add", "[3, 4]").result(), "7");
  EXPECT_EQ(Stop(SIGQUIT), 0) << "the long one runs again";
}

TEST_F(WorkerTest, GivesUpWhenTheKeeperIsKilled) {
  Start({"--exec", "long=sleep 600"});
  const auto id = broker_.Put("long", "");
  ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().status.busy() == 1; }));
  std::vector<pid_t> all = ChildPids();
  all.push_back(ZygotePid());
  for (pid_t child : ChildPids()) {
    for (pid_t grandchild : ChildrenOf(child)) all.push_back(grandchild);
  }
  kill(KeeperPid(), SIGKILL);
  EXPECT_EQ(WEXITSTATUS(worker_->WaitEnd()), 1);
  const auto completion = broker_.Wait(id);
  ASSERT_TRUE(completion);
  EXPECT_EQ(completion->verdict(), v1::Completion::RELEASED);
  EXPECT_TRUE(WaitGone(all));
}

TEST_F(WorkerTest, ChildrenInheritNothingTheyShouldNot) {
  Start({}, {"JOINQ_TOKEN=secret", "JOINQ_TOKEN_FILE=/x", "JOINQ_PREFETCH_MAX=100", "HARMLESS=yes"});
  EXPECT_EQ(Run("environment", "JOINQ_TOKEN").result(), "");
  EXPECT_EQ(Run("environment", "JOINQ_TOKEN_FILE").result(), "");
  EXPECT_EQ(Run("environment", "JOINQ_PREFETCH_MAX").result(), "") << "an option of the worker";
  EXPECT_EQ(Run("environment", "HARMLESS").result(), "yes");
  EXPECT_EQ(Run("descriptors", "").result(), "5");  // standard ones, the channel and the output's
}

TEST_F(WorkerTest, OptionsComeFromTheEnvironmentAndAFileToo) {
  const std::string file = ::testing::TempDir() + "/worker.toml";
  std::ofstream(file) << "queues = [\"from-file\"]\nname = \"from-file\"\n";
  worker_ = std::make_unique<WorkerProcess>(
      std::vector<std::string>{"--config", file, "-c", "1"},
      std::vector<std::string>{"JOINQ_URL=" + broker_.address(), "JOINQ_NAME=from-env",
                               "JOINQ_EXEC=a=cat\nb=cat"});
  ASSERT_TRUE(broker_.WaitConnected());
  const auto hello = broker_.Snapshot().hello;
  EXPECT_EQ(hello.name(), "from-env");
  EXPECT_THAT(hello.queues(), ElementsAre("from-file"));
  EXPECT_THAT(hello.handlers(), IsSupersetOf({"a", "b"}));
}

TEST_F(WorkerTest, AProgramOfTheUserIsAWorker) {
  worker_ = std::make_unique<WorkerProcess>(std::vector<std::string>{"-u", broker_.address(), "-c", "1"},
                                            std::vector<std::string>{}, JOINQ_BUILD_DIR "/tests/own_worker");
  ASSERT_TRUE(broker_.WaitConnected());
  EXPECT_EQ(Run("triple", "[14]").result(), "42");
}

TEST_F(WorkerTest, TakesNoTasksWhileChildrenDieAtStart) {
  worker_ = std::make_unique<WorkerProcess>(std::vector<std::string>{
      "-u", broker_.address(), "-c", "2", "--module", JOINQ_BUILD_DIR "/tests/stillborn_module.so"});
  broker_.Put("never", "");
  ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().status.child_deaths_total() >= 6; }));
  EXPECT_EQ(broker_.Snapshot().credit_max, 0u);
  EXPECT_EQ(Stop(), 0);
  EXPECT_THAT(worker_->Errors(), HasSubstr("children in a row died at start"));
}

TEST_F(WorkerTest, AKilledSleeperOfACancelledTaskIsReplaced) {
  Start({"-c", "1", "--exec", "stubborn=sh -c \"trap '' TERM; sleep 600\""});
  const auto id = broker_.Put("stubborn", "");
  ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().status.busy() == 1; }));
  const auto children = ChildPids();
  const auto grandchildren = ChildrenOf(children.at(0));
  broker_.Cancel(id);
  EXPECT_TRUE(WaitGone(children));
  EXPECT_TRUE(WaitGone(grandchildren));
  EXPECT_EQ(Run("add", "[3, 4]").result(), "7");
}

struct BadInput {
  std::vector<std::string> arguments;
  std::string message;
};
class WorkerBadInputTest : public ::testing::TestWithParam<BadInput> {};

TEST_P(WorkerBadInputTest, IsRefusedInOneLine) {
  ExpectRefused(GetParam().arguments, GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    Input, WorkerBadInputTest,
    ::testing::Values(
        BadInput{{"--bogus"}, "--bogus"}, BadInput{{"-c", "0"}, "--concurrency"},
        BadInput{{"-c", "1025"}, "--concurrency"}, BadInput{{"-c", "two"}, "--concurrency"},
        BadInput{{"-c", "-1"}, "--concurrency"}, BadInput{{"-Q", "a,,b"}, "--queues: must not be empty"},
        BadInput{{"-Q", "a b"}, "--queues"}, BadInput{{"-Q", "a,a"}, "named twice"},
        BadInput{{"-n", "a/b"}, "--name"}, BadInput{{"-u", "host:99999"}, "--url"},
        BadInput{{"-l", "loud"}, "--log-level"}, BadInput{{"--drain-timeout", "nan"}, "--drain-timeout"},
        BadInput{{"--drain-timeout", "-1"}, "--drain-timeout"},
        BadInput{{"--prefetch-max", "0"}, "--prefetch-max"}, BadInput{{"--exec", "a"}, "--exec"},
        BadInput{{"--exec", "a=no-such-program"}, "no-such-program"},
        BadInput{{"--exec", "a=cat", "--exec", "a=cat"}, "\"a\" is registered twice"},
        BadInput{{"--exec", "joinq.noop=cat"}, "joinq.noop"},
        BadInput{{"--module", "/no/such.so"}, "--module /no/such.so"},
        BadInput{{"--module", "/etc/passwd"}, "--module /etc/passwd"},
        BadInput{{"--module", kModule, "--exec", "add=cat"}, "\"add\" is registered twice"},
        BadInput{{"--module", JOINQ_BUILD_DIR "/tests/threaded_module.so"},
                 "threaded_module.so: starts a thread when it is loaded"},
        BadInput{{"--module", JOINQ_BUILD_DIR "/tests/crashing_module.so"},
                 "crashing_module.so: loading it died of signal 6"},
        BadInput{{"--config", "/no/such/file"}, "/no/such/file"},
        BadInput{{"--pid-file", "/no/such/folder/pid"}, "--pid-file"},
        BadInput{{"--working-directory", "/no/such/folder"},
                 "--working-directory: cannot enter /no/such/folder"},
        BadInput{{"--working-directory", "/etc/passwd"}, "--working-directory"},
        BadInput{{"--ready-file", "/no/such/folder/ready"},
                 "--ready-file: cannot make /no/such/folder/ready"},
        BadInput{{"--burst-idle", "-1"}, "--burst-idle"}, BadInput{{"--burst-idle", "0"}, "--burst-idle"},
        BadInput{{"--burst-wait", "nan"}, "--burst-wait"}, BadInput{{"--user", ":x"}, "--user"},
        BadInput{{"--user", "x:"}, "--user"}, BadInput{{"--user", "x:y", "--group", "z"}, "--group"},
        BadInput{{"--env", ""}, "--env"}, BadInput{{"--env", "=x"}, "--env"},
        BadInput{{"--env", "JOINQ_TOKEN"}, "--env: JOINQ_TOKEN"},
        BadInput{{"--env", "NOTIFY_SOCKET=/x"}, "--env: NOTIFY_SOCKET"}));

}  // namespace
}  // namespace joinq
