// What the world outside sees of a worker's life: the ready file, the service
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
