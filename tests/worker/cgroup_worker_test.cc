// A worker whose children's memory is kept by cgroups.
#include "tests/worker/cgroup_folder.h"
#include "tests/worker/worker_fixture.h"

namespace joinq {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

TEST_F(WorkerTest, WithoutACgroupTheLimitIsAnRlimitAndItSaysSo) {
  Start({"--max-memory-per-child", "128", "--cgroup", "off"});
  EXPECT_EQ(Run("eat_memory", "[20]").result(), "20");
  EXPECT_THAT(worker_->Errors(), HasSubstr("kept by RLIMIT_DATA, --cgroup is off"));
}

TEST_F(WorkerTest, ARequiredCgroupThatCannotBeHadIsRefused) {
  const auto own = OwnCgroup();
  if (own.ok() && CgroupFolder::Read(*own + "/cgroup.controllers").find("memory") != std::string::npos)
    GTEST_SKIP() << "there is a memory controller";
  ExpectRefused(Arguments({"--max-memory-per-child", "128", "--cgroup", "require"}), "--cgroup require: ");
}

class CgroupWorkerTest : public WorkerTest {
 protected:
  CgroupWorkerTest() : folder_(true) {}
  void SetUp() override {
    if (!folder_.why_not().empty()) GTEST_SKIP() << folder_.why_not();
  }
  // In the cgroup, alone.
  void StartThere(std::vector<std::string> more, int streams = 1) {
    std::vector<std::string> arguments{
        "-c",
        "echo 0 > " + folder_.path() + "/cgroup.procs && exec " JOINQ_BUILD_DIR "/bin/joinq-worker \"$@\"",
        "sh"};
    const auto rest = Arguments(std::move(more));
    arguments.insert(arguments.end(), rest.begin(), rest.end());
    worker_ = std::make_unique<WorkerProcess>(arguments, std::vector<std::string>{}, "/bin/sh");
    ASSERT_TRUE(broker_.WaitConnected(streams));
  }
  CgroupFolder folder_;
};

TEST_F(CgroupWorkerTest, TooMuchMemoryIsToldApartFromAKill) {
  StartThere({"-c", "1", "--max-memory-per-child", "64", "--cgroup", "require", "--exec",
              "greedy=sh -c 'head -c 200000000 /dev/zero | tail'"});
  EXPECT_THAT(worker_->Errors(), HasSubstr("kept by a cgroup for each child, below " + folder_.path()));
  EXPECT_EQ(Run("eat_memory", "[20]").result(), "20");
  for (const char* handler : {"eat_memory", "eat_memory_in_a_thread", "greedy"}) {
    const auto completion = Run(handler, "[200]");
    EXPECT_EQ(completion.error().kind(), v1::FAILURE_KIND_OUT_OF_MEMORY) << completion.error().message();
    EXPECT_THAT(completion.error().message(),
                HasSubstr("out of memory, it and all it started may have 64 MiB (--max-memory-per-child)"));
  }
  const auto completion = Run("crash_with_grandchild", "");
  EXPECT_EQ(completion.error().kind(), v1::FAILURE_KIND_CRASH);
  EXPECT_THAT(completion.error().message(), HasSubstr("not sent by the worker"));
  EXPECT_EQ(Run("eat_memory", "[20]").result(), "20");
  EXPECT_EQ(Stop(), 0);
  EXPECT_THAT(folder_.Below(), IsEmpty());
}

TEST_F(CgroupWorkerTest, AKilledWorkersCgroupsGoWithTheNextOne) {
  size_ = kTwoFromTheStart;
  StartThere({"--max-memory-per-child", "64"});
  EXPECT_EQ(Run("eat_memory", "[20]").result(), "20");
  std::vector<pid_t> pids = ChildPids();
  pids.push_back(KeeperPid());
  pids.push_back(ZygotePid());
  const std::string killed = absl::StrCat("joinq-", worker_->pid());
  EXPECT_NE(Stop(SIGKILL), 0);
  ASSERT_TRUE(WaitGone(pids));
  ASSERT_TRUE(broker_.WaitFor([&] { return !broker_.state().connected; }));
  ASSERT_FALSE(folder_.Below().empty());
  // As a service manager would: nothing is enabled in the cgroup it starts a process in.
  ASSERT_TRUE(CgroupFolder::Write(folder_.path() + "/cgroup.subtree_control", "-memory"));
  StartThere({"--max-memory-per-child", "64", "--cgroup", "require"}, 2);
  for (const auto& name : folder_.Below()) EXPECT_THAT(name, Not(HasSubstr(killed)));
  EXPECT_EQ(Stop(), 0);
  EXPECT_THAT(folder_.Below(), IsEmpty());
}

}  // namespace
}  // namespace joinq
