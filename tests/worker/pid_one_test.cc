// The worker as process 1, as in a container without an init: orphans that are not its own
// come to it, and the kernel drops signals that it does not handle.
#include <cstdlib>

#include "tests/worker/worker_fixture.h"

namespace joinq {
namespace {

using ::testing::SizeIs;

class PidOneTest : public WorkerTest {
 protected:
  void SetUp() override {
    if (std::system("unshare --pid --fork --mount-proc true 2>/dev/null") != 0)
      GTEST_SKIP() << "unshare --pid is not permitted here";
    std::vector<std::string> arguments{"--pid", "--fork", "--mount-proc",
                                       JOINQ_BUILD_DIR "/bin/joinq-worker"};
    for (const auto& argument : Arguments()) arguments.push_back(argument);
    worker_ = std::make_unique<WorkerProcess>(arguments, std::vector<std::string>{}, "/usr/bin/unshare");
    ASSERT_TRUE(broker_.WaitConnected()) << worker_->Errors();
    init_ = ChildrenOf(worker_->pid()).at(0);
  }
  // As `docker exec` does; it leaves an orphan behind. False: nsenter is not permitted.
  bool LeaveAnOrphan() {
    return std::system(("nsenter --target " + std::to_string(init_) +
                        " --pid sh -c 'sleep 600 >/dev/null 2>&1 &' 2>/dev/null")
                           .c_str()) == 0;
  }

  pid_t init_ = -1;  // the worker, as it is called out here
};

TEST_F(PidOneTest, RunsTasksAndDrains) {
  EXPECT_EQ(Run("add", "[1, 2]").result(), "3");
  const auto id = broker_.Put("sleep_ms", "[700]");
  ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().status.busy() == 1; }));
  kill(init_, SIGTERM);
  EXPECT_EQ(worker_->WaitEnd(), 0) << worker_->Errors();
  EXPECT_EQ(broker_.Wait(id)->verdict(), v1::Completion::DONE);
  EXPECT_TRUE(broker_.Snapshot().ended_in_order);
}

TEST_F(PidOneTest, ReapsTheOrphansOfOthers) {
  if (!LeaveAnOrphan()) GTEST_SKIP() << "nsenter is not permitted here";
  const auto children = ChildrenOf(init_);
  ASSERT_THAT(children, SizeIs(2)) << "the keeper and the orphan";
  kill(children.at(1), SIGKILL);
  EXPECT_TRUE(broker_.WaitFor([&] { return StateOf(children.at(1)) == 0; })) << "it stays a zombie";
  EXPECT_EQ(Run("add", "[1, 2]").result(), "3");
  kill(init_, SIGTERM);
  EXPECT_EQ(worker_->WaitEnd(), 0) << worker_->Errors();
}

}  // namespace
}  // namespace joinq
