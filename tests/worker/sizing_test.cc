// How many children there are: on demand, scaled, resized, and when they will not start.
#include <filesystem>
#include <fstream>

#include "absl/time/clock.h"
#include "tests/support/temp_directory.h"
#include "tests/worker/worker_fixture.h"

namespace joinq {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

class SizingTest : public WorkerTest {
 protected:
  bool WaitChildren(uint32_t count) {
    return broker_.WaitFor([&] { return broker_.state().status.children() == count; });
  }
  bool WaitBusy(uint32_t count) {
    return broker_.WaitFor([&] { return broker_.state().status.busy() == count; });
  }
};

TEST_F(SizingTest, ChildrenAreMadeWhenTasksWaitAndKept) {
  size_ = {"-c", "3"};
  Start();
  EXPECT_EQ(Run("add", "[1, 2]").result(), "3");
  EXPECT_THAT(ChildPids(), SizeIs(1));
  std::vector<uint64_t> ids;
  for (int i = 0; i < 4; ++i) ids.push_back(broker_.Put("sleep_ms", "[1500]"));
  EXPECT_TRUE(WaitBusy(3));
  EXPECT_THAT(ChildPids(), SizeIs(3));
  for (uint64_t id : ids) EXPECT_EQ(broker_.Wait(id)->verdict(), v1::Completion::DONE);
  EXPECT_TRUE(WaitBusy(0));
  EXPECT_THAT(ChildPids(), SizeIs(3));
}

TEST_F(SizingTest, AutoscaleGrowsToItsMaximumAndShrinksToItsMinimum) {
  size_ = {"--autoscale", "5,2", "--autoscale-idle", "0.5"};
  Start();
  EXPECT_TRUE(WaitChildren(2));
  EXPECT_EQ(broker_.Snapshot().status.concurrency(), 5u);
  EXPECT_EQ(broker_.Snapshot().status.concurrency_min(), 2u);
  std::vector<uint64_t> ids;
  for (int i = 0; i < 10; ++i) ids.push_back(broker_.Put("sleep_ms", "[800]"));
  EXPECT_TRUE(WaitChildren(5));
  for (uint64_t id : ids) EXPECT_EQ(broker_.Wait(id)->verdict(), v1::Completion::DONE);
  EXPECT_TRUE(WaitChildren(2));
  EXPECT_THAT(ChildPids(), SizeIs(2));
  EXPECT_EQ(broker_.Snapshot().status.child_deaths_total(), 3u);
}

TEST_F(SizingTest, ResizeLetsIdleChildrenGoAtOnceAndBusyOnesAfterTheirTask) {
  size_ = {"--autoscale", "4,4"};
  Start();
  ASSERT_TRUE(WaitChildren(4));
  const auto running = broker_.Put("sleep_ms", "[2000]");
  const auto other = broker_.Put("sleep_ms", "[2000]");
  ASSERT_TRUE(WaitBusy(2));
  broker_.Resize(1);
  EXPECT_TRUE(broker_.WaitFor([&] { return broker_.state().status.concurrency() == 1; }));
  EXPECT_TRUE(WaitChildren(1));
  EXPECT_EQ(broker_.Wait(running)->verdict(), v1::Completion::DONE);
  EXPECT_EQ(broker_.Wait(other)->verdict(), v1::Completion::DONE);
  EXPECT_EQ(Run("add", "[3, 4]").result(), "7");
  EXPECT_TRUE(broker_.WaitFor([&] { return ChildPids().size() == 1; }));
  broker_.Resize(3);
  std::vector<uint64_t> ids;
  for (int i = 0; i < 3; ++i) ids.push_back(broker_.Put("sleep_ms", "[1500]"));
  EXPECT_TRUE(WaitBusy(3));
  EXPECT_EQ(broker_.Snapshot().status.child_deaths_total(), 3u);
}

TEST_F(SizingTest, ResizeTakesBackWhatChildrenHaveNotBegun) {
  size_ = {"--autoscale", "2,2"};
  Start();
  ASSERT_TRUE(WaitChildren(2));
  TeachTiny();
  std::vector<uint64_t> ids;
  for (int i = 0; i < 2; ++i) ids.push_back(broker_.Put("sleep_ms", "[200]"));
  for (int i = 0; i < 500; ++i) ids.push_back(broker_.Put("joinq.echo", "x"));
  broker_.Resize(1);
  for (uint64_t id : ids) {
    ASSERT_TRUE(broker_.WaitFor([&] {
      const auto it = broker_.state().completions.find(id);
      return it != broker_.state().completions.end() && it->second.back().verdict() == v1::Completion::DONE;
    })) << id;
  }
}

class InitializerTest : public SizingTest {
 protected:
  std::string File() const { return dir_.path() + "/word"; }
  void Want(const std::string& word) { std::ofstream(File()) << word; }
  void StartWith(std::vector<std::string> more) {
    more.insert(more.end(), {"--module", JOINQ_BUILD_DIR "/tests/initializer_module.so"});
    worker_ = std::make_unique<WorkerProcess>(Arguments(more),
                                              std::vector<std::string>{"INITIALIZER_FILE=" + File()});
  }

  joinq::testing::TempDirectory dir_;
};

TEST_F(InitializerTest, RunsOnceInEachChildBeforeItsFirstTask) {
  StartWith({});
  ASSERT_TRUE(broker_.WaitConnected());
  EXPECT_EQ(Run("initialized_here", "").result(), "true");
  kill(ChildPids().at(0), SIGKILL);
  EXPECT_EQ(Run("initialized_here", "").result(), "true");
}

struct BadStart {
  const char* how;
  const char* said;
};
class BadStartTest : public InitializerTest, public ::testing::WithParamInterface<BadStart> {};

TEST_P(BadStartTest, StopsTheWorkerFromTakingTasksUntilItIsOver) {
  Want(GetParam().how);
  StartWith({"--child-start-timeout", "0.1", "--kill-grace", "0.05"});
  ASSERT_TRUE(broker_.WaitFor([&] { return !broker_.state().status.trouble().empty(); }));
  auto state = broker_.Snapshot();
  EXPECT_THAT(state.status.trouble(), HasSubstr("children die at start: "));
  EXPECT_THAT(state.status.trouble(), HasSubstr(GetParam().said));
  EXPECT_EQ(state.credit, 0u);
  const auto id = broker_.Put("initialized_here", "");
  Want("work");
  EXPECT_EQ(broker_.Wait(id)->result(), "true");
  EXPECT_TRUE(broker_.WaitFor([&] { return broker_.state().status.trouble().empty(); }));
}

INSTANTIATE_TEST_SUITE_P(Ways, BadStartTest,
                         ::testing::Values(BadStart{"throw", "no connection to be had"},
                                           BadStart{"crash", "SIGABRT"},
                                           BadStart{"hang", "was not ready after 0.1 s"}));

TEST_F(InitializerTest, TasksInHandGoBackWhenNoChildWillStart) {
  StartWith({});
  ASSERT_TRUE(broker_.WaitConnected());
  Want("throw");
  kill(ChildPids().at(0), SIGKILL);
  const auto id = broker_.Put("initialized_here", "");
  const auto completion = broker_.Wait(id);
  ASSERT_TRUE(completion);
  EXPECT_EQ(completion->verdict(), v1::Completion::RELEASED);
}

struct BadSize {
  std::vector<std::string> arguments;
  const char* message;
};
class BadSizeTest : public ::testing::TestWithParam<BadSize> {};

TEST_P(BadSizeTest, IsRefusedInOneLine) {
  ExpectRefused(GetParam().arguments, GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    Sizes, BadSizeTest,
    ::testing::Values(BadSize{{"--autoscale", "4"}, "--autoscale: \"4\" is not MAX,MIN"},
                      BadSize{{"--autoscale", "2,4"}, "--autoscale: MAX,MIN must be 1 <= MIN <= MAX <= 1024"},
                      BadSize{{"--autoscale", "4,0"}, "--autoscale: MAX,MIN must be"},
                      BadSize{{"--autoscale", "4,-1"}, "is not MAX,MIN"},
                      BadSize{{"--autoscale", "4,2", "-c", "3"}, "--autoscale: says what -c says"},
                      BadSize{{"--autoscale-idle", "0"}, "--autoscale-idle: must be more than 0"},
                      BadSize{{"--child-start-timeout", "0"}, "--child-start-timeout: must be more than 0"},
                      BadSize{{"--processes-max", "0"}, "--processes-max"}));

}  // namespace
}  // namespace joinq
