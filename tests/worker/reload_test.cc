// HUP: modules are loaded anew by a new zygote, and no task is lost meanwhile.
#include <filesystem>
#include <fstream>

#include "tests/support/temp_directory.h"
#include "tests/worker/worker_fixture.h"

namespace joinq {
namespace {

using ::testing::Contains;
using ::testing::Not;
using ::testing::SizeIs;

class ReloadTest : public WorkerTest {
 protected:
  void Install(int version) {
    // Renamed into place, as it is to be done with a library that is in use.
    const auto fresh = dir_.path() + "/fresh.so";
    std::filesystem::copy_file(JOINQ_BUILD_DIR "/tests/version_" + std::to_string(version) + "_module.so",
                               fresh);
    std::filesystem::rename(fresh, Module());
  }
  std::string Module() { return dir_.path() + "/module.so"; }
  std::vector<std::string> Handlers() {
    const auto hello = broker_.Snapshot().hello;
    return {hello.handlers().begin(), hello.handlers().end()};
  }

  joinq::testing::TempDirectory dir_;
};

TEST_F(ReloadTest, NewTasksRunTheNewModuleWhileWhatRunsGoesOn) {
  Install(1);
  const std::string hold = dir_.path() + "/hold";
  std::ofstream(hold).close();
  Start({"--module", Module(), "--exec",
         "held=sh -c \"while test -e " + hold + "; do sleep 0.02; done; echo released\""});
  EXPECT_EQ(Run("version", "").result(), "1");
  EXPECT_THAT(Handlers(), Contains("only_before"));
  const auto running = broker_.Put("held", "");
  ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().status.busy() == 1; }));
  const pid_t zygote = ZygotePid();
  Install(2);
  worker_->Signal(SIGHUP);
  ASSERT_TRUE(broker_.WaitConnected(2)) << "the broker is told of the new handlers";
  EXPECT_THAT(Handlers(), Contains("only_after"));
  EXPECT_THAT(Handlers(), Not(Contains("only_before")));
  EXPECT_EQ(Run("version", "").result(), "2");
  EXPECT_EQ(Run("only_after", "").verdict(), v1::Completion::DONE);
  EXPECT_EQ(Run("only_before", "").error().kind(), v1::FAILURE_KIND_UNKNOWN_HANDLER);
  EXPECT_FALSE(broker_.Snapshot().completions.contains(running));
  std::filesystem::remove(hold);
  EXPECT_EQ(broker_.Wait(running)->result(), "released\n");
  EXPECT_TRUE(WaitGone({zygote})) << "it ends with the last of its children";
  EXPECT_EQ(Stop(), 0);
}

TEST_F(ReloadTest, NothingIsLostUnderLoad) {
  Install(1);
  Start({"--module", Module(), "-l", "warn"});
  uint64_t put = 0;
  for (int round = 0; round < 10; ++round) {
    for (int i = 0; i < 2000; ++i, ++put) broker_.Put("version", "");
    Install(1 + round % 2);
    worker_->Signal(SIGHUP);
  }
  ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().completions.size() == put; }));
  ASSERT_TRUE(broker_.WaitFor([&] {
    for (const auto& [id, completions] : broker_.state().completions) {
      if (completions.back().verdict() == v1::Completion::RELEASED) return false;
    }
    return true;
  }));
  int of_version[3] = {};
  for (const auto& [id, completions] : broker_.Snapshot().completions) {
    int done = 0;
    for (const auto& completion : completions) {
      if (completion.verdict() == v1::Completion::RELEASED) continue;
      ASSERT_EQ(completion.verdict(), v1::Completion::DONE) << completion.error().message();
      ++done;
      ++of_version[completion.result() == "1" ? 1 : 2];
    }
    EXPECT_EQ(done, 1) << id;
  }
  EXPECT_GT(of_version[1], 0);
  EXPECT_GT(of_version[2], 0);
  // The newest one serves in the end.
  EXPECT_TRUE(broker_.WaitFor([&] { return ChildrenOf(KeeperPid()).size() == 1; }));
  EXPECT_EQ(Run("version", "").result(), "2");
}

TEST_F(ReloadTest, AModuleThatCannotBeLoadedChangesNothing) {
  Install(1);
  Start({"--module", Module()});
  EXPECT_EQ(Run("version", "").result(), "1");
  for (const char* bad : {"/tests/threaded_module.so", "/tests/crashing_module.so"}) {
    std::filesystem::remove(Module());
    std::filesystem::create_symlink(std::string(JOINQ_BUILD_DIR) + bad, Module());
    const size_t before = worker_->Errors().size();
    worker_->Signal(SIGHUP);
    EXPECT_TRUE(broker_.WaitFor([&] {
      const std::string log = worker_->Errors().substr(before);
      return log.find("nothing was reloaded, the worker goes on as it is") != log.npos;
    })) << bad;
    EXPECT_EQ(Run("version", "").result(), "1");
  }
  EXPECT_THAT(ChildrenOf(KeeperPid()), SizeIs(1));
  EXPECT_EQ(Stop(), 0);
}

}  // namespace
}  // namespace joinq
