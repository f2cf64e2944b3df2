// Cgroups of children, on the kernel's own; where there is no memory controller, with another.
#include "worker/process/cgroup.h"

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>

#include <functional>

#include "tests/worker/cgroup_folder.h"

namespace joinq {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

using Killed = ChildCgroups::Killed;

class CgroupTest : public ::testing::Test {
 protected:
  explicit CgroupTest(bool memory = false) : folder_(memory) {}
  void SetUp() override {
    if (!folder_.why_not().empty()) GTEST_SKIP() << folder_.why_not();
    ASSERT_TRUE(CgroupFolder::Write(folder_.path() + "/cgroup.procs", "0"));
  }
  absl::StatusOr<std::unique_ptr<ChildCgroups>> Open(std::vector<CgroupSetting> settings = {}) {
    return ChildCgroups::Open(folder_.path(), folder_.controller(), std::move(settings));
  }
  static pid_t Fork(const std::function<int()>& act) {
    const pid_t pid = fork();
    if (pid == 0) _exit(act());
    return pid;
  }
  static int Wait(pid_t pid) {
    int status = 0;
    waitpid(pid, &status, 0);
    return status;
  }
  std::string Own() const { return absl::StrCat("joinq-", getpid()); }
  std::string Of(pid_t pid) const { return absl::StrCat(Own(), "-", pid); }

  CgroupFolder folder_;
};

TEST_F(CgroupTest, ItsOwnProcessMovesBelowAndBackAgain) {
  {
    auto cgroups = Open();
    ASSERT_TRUE(cgroups.ok()) << cgroups.status();
    EXPECT_EQ((*cgroups)->folder(), folder_.path());
    EXPECT_THAT(folder_.Below(), ElementsAre(Own()));
    EXPECT_EQ(*OwnCgroup(), folder_.path() + "/" + Own());
    EXPECT_THAT(CgroupFolder::Read(folder_.path() + "/cgroup.subtree_control"),
                HasSubstr(folder_.controller()));
  }
  EXPECT_EQ(*OwnCgroup(), folder_.path());
  EXPECT_THAT(folder_.Below(), IsEmpty());
  EXPECT_EQ(CgroupFolder::Read(folder_.path() + "/cgroup.subtree_control").find_first_not_of('\n'),
            std::string::npos);
  EXPECT_TRUE(Open().ok());
}

TEST_F(CgroupTest, OneWithOtherProcessesIsLeftAlone) {
  const pid_t other = Fork([] { return pause(); });
  const auto cgroups = Open();
  EXPECT_THAT(std::string(cgroups.status().message()), HasSubstr("other processes are in it"));
  EXPECT_EQ(*OwnCgroup(), folder_.path());
  EXPECT_THAT(folder_.Below(), IsEmpty());
  kill(other, SIGKILL);
  Wait(other);
}

TEST_F(CgroupTest, WithoutTheControllerOrTheRightsItSaysWhy) {
  EXPECT_THAT(std::string(ChildCgroups::Open(folder_.path(), "nonsense", {}).status().message()),
              HasSubstr("the nonsense controller is not there for cgroup " + folder_.path()));
  if (getuid() != 0) GTEST_SKIP() << "only root can become somebody else";
  const pid_t nobody = Fork([&] {
    if (setuid(65534) != 0) return 2;
    const auto refused = Open();
    return refused.status().message().find("is not delegated to this user") != std::string::npos ? 0 : 1;
  });
  EXPECT_EQ(Wait(nobody), 0);
  EXPECT_THAT(folder_.Below(), IsEmpty());
}

TEST_F(CgroupTest, AChildHasItsOwnWithWhatWasSet) {
  auto cgroups = Open({{"cgroup.max.depth", "3"}, {"no.such.file", "1", true}});
  ASSERT_TRUE(cgroups.ok()) << cgroups.status();
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t child = Fork([&] {
    const bool entered = (*cgroups)->Enter().ok();
    if (write(ends[1], entered ? "y" : "n", 1) != 1) return 1;
    return pause();
  });
  char answer = 0;
  ASSERT_EQ(read(ends[0], &answer, 1), 1);
  ASSERT_EQ(answer, 'y');
  EXPECT_THAT(folder_.Below(), UnorderedElementsAre(Own(), Of(child)));
  const std::string below = folder_.path() + "/" + Of(child);
  EXPECT_EQ(CgroupFolder::Read(below + "/cgroup.procs"), absl::StrCat(child, "\n"));
  EXPECT_EQ(CgroupFolder::Read(below + "/cgroup.max.depth"), "3\n");
  kill(child, SIGKILL);
  Wait(child);
  EXPECT_EQ((*cgroups)->Release(child), Killed::kNot) << "it was killed by somebody, not for want of memory";
  EXPECT_THAT(folder_.Below(), ElementsAre(Own()));
  close(ends[0]);
  close(ends[1]);
}

TEST_F(CgroupTest, AnEntryThatFailsSaysWhy) {
  auto cgroups = Open({{"no.such.file", "1"}});
  ASSERT_TRUE(cgroups.ok()) << cgroups.status();
  const pid_t child = Fork([&] {
    const std::string why((*cgroups)->Enter().message());
    return why.find("cannot write \"1\" to") != why.npos && why.find("no.such.file") != why.npos ? 0 : 1;
  });
  EXPECT_EQ(Wait(child), 0);
  EXPECT_EQ((*cgroups)->Release(child), Killed::kNot);
  EXPECT_THAT(folder_.Below(), ElementsAre(Own()));
}

TEST_F(CgroupTest, WhatAChildLeftBehindEndsWithIt) {
  auto cgroups = Open();
  ASSERT_TRUE(cgroups.ok()) << cgroups.status();
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t child = Fork([&] {
    if (!(*cgroups)->Enter().ok()) return 1;
    Fork([&] {
      setsid();
      return pause();
    });
    return 0;
  });
  close(ends[1]);
  EXPECT_EQ(Wait(child), 0);
  EXPECT_EQ((*cgroups)->Release(child), Killed::kNot);
  char end = 0;
  EXPECT_EQ(read(ends[0], &end, 1), 0) << "the stranger lives";
  close(ends[0]);
  cgroups->reset();
  EXPECT_THAT(folder_.Below(), IsEmpty());
}

TEST_F(CgroupTest, ItsEndEndsAllOfThem) {
  auto cgroups = Open();
  ASSERT_TRUE(cgroups.ok()) << cgroups.status();
  std::vector<pid_t> children;
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  for (int i = 0; i < 3; ++i) {
    children.push_back(Fork([&] {
      const bool entered = (*cgroups)->Enter().ok() && write(ends[1], "y", 1) == 1;
      return entered ? pause() : 1;
    }));
  }
  char answers[3];
  for (char& answer : answers) ASSERT_EQ(read(ends[0], &answer, 1), 1);
  cgroups->reset();
  EXPECT_THAT(folder_.Below(), IsEmpty());
  for (pid_t child : children) EXPECT_TRUE(WIFSIGNALED(Wait(child)));
  close(ends[0]);
  close(ends[1]);
}

TEST_F(CgroupTest, WhatAKilledWorkerLeftIsRemoved) {
  const pid_t dead = Fork([] { return 0; });
  Wait(dead);
  for (const std::string& name :
       {absl::StrCat("joinq-", dead), absl::StrCat("joinq-", dead, "-77"), absl::StrCat("joinq-", getppid()),
        std::string("joinq-else"), std::string("other")})
    ASSERT_EQ(mkdir((folder_.path() + "/" + name).c_str(), 0755), 0);
  const auto cgroups = Open();
  ASSERT_TRUE(cgroups.ok()) << cgroups.status();
  EXPECT_THAT(folder_.Below(),
              UnorderedElementsAre(Own(), absl::StrCat("joinq-", getppid()), "joinq-else", "other"));
}

class MemoryCgroupTest : public CgroupTest {
 protected:
  MemoryCgroupTest() : CgroupTest(true) {}
  static int Eat(size_t mib) {
    std::string memory(mib << 20, 'x');
    return memory[memory.size() / 2] == 'x' ? 0 : 1;
  }
};

TEST_F(MemoryCgroupTest, PastItsMemoryAChildAndItsDescendantsAreKilled) {
  auto cgroups = Open(MemorySettings(32 << 20));
  ASSERT_TRUE(cgroups.ok()) << cgroups.status();
  const pid_t modest = Fork([&] { return (*cgroups)->Enter().ok() ? Eat(10) : 1; });
  EXPECT_EQ(Wait(modest), 0);
  EXPECT_EQ((*cgroups)->Release(modest), Killed::kNot);
  const pid_t greedy = Fork([&] { return (*cgroups)->Enter().ok() ? Eat(100) : 1; });
  const int status = Wait(greedy);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  EXPECT_EQ((*cgroups)->Release(greedy), Killed::kPastLimit);
  // What its descendants use counts as well, and it goes with them.
  const pid_t parent = Fork([&] {
    if (!(*cgroups)->Enter().ok()) return 1;
    for (int i = 0; i < 3; ++i) {
      Fork([] {
        const int status = Eat(15);
        pause();
        return status;
      });
    }
    return pause();
  });
  EXPECT_TRUE(WIFSIGNALED(Wait(parent)));
  EXPECT_EQ((*cgroups)->Release(parent), Killed::kPastLimit);
}

}  // namespace
}  // namespace joinq
