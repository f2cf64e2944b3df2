// What the world outside sees of a worker's life: bursts, the ready file, the service
// manager, the state in the log.
#include <filesystem>
#include <fstream>

#include "tests/support/temp_directory.h"
#include "tests/worker/notify_socket.h"
#include "tests/worker/worker_fixture.h"

namespace joinq {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

class BurstTest : public WorkerTest {
 protected:
  // It may have ended before anybody looks.
  void StartBurst(std::vector<std::string> more) {
    more.push_back("--burst");
    worker_ = std::make_unique<WorkerProcess>(Arguments(std::move(more)));
  }
};

TEST_F(BurstTest, EndsWhenItsQueuesHaveNothingMore) {
  broker_.PutMany("joinq.noop", "x", 500);
  broker_.Put("sleep_ms", "[300]");
  broker_.Put("fail", "[\"no\"]");
  StartBurst({"--burst-idle", "0.2"});
  EXPECT_EQ(worker_->WaitEnd(), 0) << worker_->Errors();
  EXPECT_EQ(broker_.Snapshot().completed, 502u);
  EXPECT_TRUE(broker_.Snapshot().ended_in_order);
}

TEST_F(BurstTest, EndsWhenThereIsNothingAtAll) {
  StartBurst({"--burst-idle", "0.2"});
  EXPECT_EQ(worker_->WaitEnd(), 0) << worker_->Errors();
}

TEST_F(BurstTest, WaitsForARunningTaskOfAnyLength) {
  const auto id = broker_.Put("sleep_ms", "[1500]");
  StartBurst({"--burst-idle", "0.1", "--burst-wait", "0.1"});
  EXPECT_EQ(worker_->WaitEnd(), 0) << worker_->Errors();
  EXPECT_EQ(broker_.Wait(id)->verdict(), v1::Completion::DONE);
}

TEST_F(BurstTest, WaitsUntilItsResultsAreAcknowledged) {
  broker_.SetAck(false);
  const auto id = broker_.Put("add", "[1, 2]");
  StartBurst({"--burst-idle", "0.2"});
  ASSERT_TRUE(broker_.Wait(id));
  const int statuses = broker_.Snapshot().statuses;
  ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().statuses >= statuses + 2; })) << "it lives on";
  broker_.SetAck(true);
  EXPECT_EQ(worker_->WaitEnd(), 0) << worker_->Errors();
}

TEST_F(BurstTest, EndsWithStatus1WithoutABroker) {
  WorkerProcess worker({"-u", "127.0.0.1:1", "-c", "1", "--burst", "--burst-wait", "0.3"});
  EXPECT_EQ(WEXITSTATUS(worker.WaitEnd()), 1);
  EXPECT_THAT(
      worker.Errors(),
      HasSubstr("--burst: no task could be taken for 0.3 s: the broker at 127.0.0.1:1 is not reached"));
}

TEST_F(BurstTest, EndsWithStatus1WhenChildrenDieAtStart) {
  WorkerProcess worker({"-u", broker_.address(), "-c", "1", "--module",
                        JOINQ_BUILD_DIR "/tests/stillborn_module.so", "--burst", "--burst-wait", "0.5"});
  EXPECT_EQ(WEXITSTATUS(worker.WaitEnd()), 1);
  EXPECT_THAT(worker.Errors(), HasSubstr("--burst: no task could be taken for 0.5 s: children die at start"));
}

class ReadyFileTest : public WorkerTest {
 protected:
  // Looked at whenever the worker was heard of.
  bool WaitReady(bool ready) {
    return broker_.WaitFor([&] { return std::filesystem::exists(file_) == ready; });
  }
  joinq::testing::TempDirectory dir_;
  const std::string file_ = dir_.path() + "/ready";
};

TEST_F(ReadyFileTest, ExistsWhileTasksAreTaken) {
  Start({"--ready-file", file_});
  EXPECT_TRUE(WaitReady(true));
  broker_.SetPaused(true);
  EXPECT_TRUE(WaitReady(false)) << "paused";
  broker_.SetPaused(false);
  EXPECT_TRUE(WaitReady(true));
  const auto id = broker_.Put("sleep_ms", "[1000]");
  ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().status.busy() == 1; }));
  EXPECT_TRUE(std::filesystem::exists(file_)) << "busy";
  worker_->Signal(SIGTERM);
  EXPECT_TRUE(WaitReady(false)) << "draining";
  EXPECT_TRUE(broker_.Wait(id));
  EXPECT_EQ(worker_->WaitEnd(), 0);
  EXPECT_FALSE(std::filesystem::exists(file_));
}

TEST_F(ReadyFileTest, IsNotThereWithoutABrokerNorLeftOver) {
  std::ofstream(file_).close();
  WorkerProcess lonely(
      {"-u", "127.0.0.1:1", "-c", "1", "--ready-file", file_, "--burst", "--burst-wait", "0.2"});
  EXPECT_EQ(WEXITSTATUS(lonely.WaitEnd()), 1);
  EXPECT_FALSE(std::filesystem::exists(file_));
}

TEST_F(ReadyFileTest, IsGoneWhileTheBrokerIs) {
  Start({"--ready-file", file_});
  EXPECT_TRUE(WaitReady(true));
  broker_.SetAccept(false);
  broker_.Break();
  EXPECT_TRUE(WaitReady(false));
  broker_.SetAccept(true);
  ASSERT_TRUE(broker_.WaitConnected(2));
  EXPECT_TRUE(WaitReady(true));
}

TEST_F(ReadyFileTest, IsNotThereWhileChildrenDieAtStart) {
  worker_ = std::make_unique<WorkerProcess>(
      std::vector<std::string>{"-u", broker_.address(), "-c", "1", "--ready-file", file_, "--module",
                               JOINQ_BUILD_DIR "/tests/stillborn_module.so"});
  ASSERT_TRUE(broker_.WaitFor([&] { return !broker_.state().status.trouble().empty(); }));
  EXPECT_FALSE(std::filesystem::exists(file_));
}

class ServiceManagerTest : public WorkerTest {
 protected:
  NotifySocket manager_;
};

TEST_F(ServiceManagerTest, IsToldOfReadinessReloadsAndTheEnd) {
  broker_.SetAccept(false);
  worker_ = std::make_unique<WorkerProcess>(Arguments(), std::vector<std::string>{manager_.Variable()});
  EXPECT_TRUE(manager_.WaitFor("STATUS=the broker at " + broker_.address() + " is not reached"));
  EXPECT_THAT(manager_.heard(), Not(HasSubstr("READY=1")));
  broker_.SetAccept(true);
  EXPECT_TRUE(manager_.WaitFor("READY=1"));
  EXPECT_TRUE(manager_.WaitFor("STATUS=0 of 2 children busy, 0 tasks in hand, 0 done, 0 failed"));
  worker_->Signal(SIGHUP);
  EXPECT_TRUE(manager_.WaitFor("RELOADING=1\nMONOTONIC_USEC="));
  EXPECT_TRUE(manager_.WaitFor("READY=1"));
  EXPECT_EQ(Stop(), 0);
  EXPECT_TRUE(manager_.WaitFor("STOPPING=1"));
  EXPECT_THAT(manager_.heard(), Not(HasSubstr("WATCHDOG")));
}

TEST_F(ServiceManagerTest, IsToldThatTheWorkerLivesWhenItWatches) {
  Start({}, {manager_.Variable(), "WATCHDOG_USEC=200000"});
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(manager_.WaitFor("WATCHDOG=1"));
}

TEST_F(ServiceManagerTest, WatchesNotThisProcessIfItNamesAnother) {
  Start({}, {manager_.Variable(), "WATCHDOG_USEC=1000", "WATCHDOG_PID=1"});
  EXPECT_TRUE(manager_.WaitFor("READY=1"));
  EXPECT_EQ(Stop(), 0);
  EXPECT_TRUE(manager_.WaitFor("STOPPING=1"));
  EXPECT_THAT(manager_.heard(), Not(HasSubstr("WATCHDOG")));
}

TEST_F(WorkerTest, Usr1LogsTheStateOfEachChild) {
  size_ = kTwoFromTheStart;
  Start();
  const auto id = broker_.Put("sleep_ms", "[60000]");
  ASSERT_TRUE(broker_.WaitFor(
      [&] { return broker_.state().status.busy() == 1 && broker_.state().status.children() == 2; }));
  worker_->Signal(SIGUSR1);
  ASSERT_TRUE(broker_.WaitFor([&] { return worker_->Errors().find(" old: idle") != std::string::npos; }))
      << worker_->Errors();
  EXPECT_THAT(worker_->Errors(), AllOf(ContainsRegex("child [0-9]+, [0-9.]+ s old: runs task " +
                                                     std::to_string(id) + " \\(sleep_ms\\) for [0-9.]+ s"),
                                       ContainsRegex("child [0-9]+, [0-9.]+ s old: idle")));
}

}  // namespace
}  // namespace joinq
