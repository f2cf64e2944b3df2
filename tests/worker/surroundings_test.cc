// What handlers find around them: environment, working directory, user.
#include <pwd.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/support/temp_directory.h"
#include "tests/worker/worker_fixture.h"

namespace joinq {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class SurroundingsTest : public WorkerTest {
 protected:
  std::string Variable(const std::string& name) { return Run("environment", name).result(); }

  joinq::testing::TempDirectory dir_;
};

TEST_F(SurroundingsTest, WhatTheServiceManagerSaysStaysWithTheDaemon) {
  Start({}, {"NOTIFY_SOCKET=/no/such/socket", "WATCHDOG_USEC=60000000", "WATCHDOG_PID=1", "LISTEN_FDS=1",
             "LISTEN_PID=1", "LISTEN_ADDRESS=kept"});
  for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID"})
    EXPECT_EQ(Variable(name), "") << name;
  EXPECT_EQ(Variable("LISTEN_ADDRESS"), "kept");
}

TEST_F(SurroundingsTest, SecretsAreNotInTheMemoryOfChildrenEither) {
  Start({"--exec", "parents=sh -c \"cat /proc/$PPID/environ\""}, {"JOINQ_TOKEN=very-secret", "SHOWN=yes"});
  const std::string memory = Run("parents", "").result();
  EXPECT_THAT(memory, HasSubstr("SHOWN=yes"));
  EXPECT_THAT(memory, Not(HasSubstr("very-secret")));
}

TEST_F(SurroundingsTest, ACleanEnvironmentHasWhatEveryProgramNeedsAndWhatIsNamed) {
  Start({"--clean-environment", "--env", "KEPT", "--env", "SET=a=b", "--env", "NOT_THERE"},
        {"KEPT=kept", "OTHER=x", "LC_TIME=C", "TZ=UTC", "JOINQ_URL=127.0.0.1:1"});
  EXPECT_EQ(Variable("KEPT"), "kept");
  EXPECT_EQ(Variable("SET"), "a=b");
  EXPECT_EQ(Variable("LC_TIME"), "C");
  EXPECT_EQ(Variable("TZ"), "UTC");
  EXPECT_NE(Variable("PATH"), "");
  EXPECT_EQ(Variable("OTHER"), "");
  EXPECT_EQ(Variable("NOT_THERE"), "");
  EXPECT_EQ(Variable("JOINQ_URL"), "");
}

TEST_F(SurroundingsTest, VariablesCanBeSetBesideAnInheritedEnvironment) {
  Start({"--exec", "shell=sh -c \"echo $SET $OTHER\""},
        {"JOINQ_ENV=SET=new\nMORE=more", "SET=old", "OTHER=x"});
  EXPECT_EQ(Variable("MORE"), "more");
  EXPECT_EQ(Run("shell", "").result(), "new x\n");
}

class UserTest : public SurroundingsTest {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  }
  // Without the modules of other tests: the user may not be able to read them.
  void StartAs(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"-u", broker_.address(), "-c", "1"});
    worker_ = std::make_unique<WorkerProcess>(arguments);
    ASSERT_TRUE(broker_.WaitConnected()) << worker_->Errors();
  }
};

TEST_F(UserTest, TheWorkerAndItsChildrenBecomeThatUser) {
  StartAs({"--user", "nobody", "--exec", "id=sh -c \"id -un; id -gn; id -G; echo $USER $LOGNAME\""});
  const passwd* nobody = getpwnam("nobody");
  ASSERT_NE(nobody, nullptr);
  EXPECT_EQ(Run("id", "").result(),
            "nobody\nnogroup\n" + std::to_string(nobody->pw_gid) + "\nnobody nobody\n");
  std::ifstream status("/proc/" + std::to_string(worker_->pid()) + "/status");
  const std::string text((std::istreambuf_iterator<char>(status)), {});
  const std::string uid = std::to_string(nobody->pw_uid);
  EXPECT_THAT(text, HasSubstr("Uid:\t" + uid + "\t" + uid + "\t" + uid)) << "of the daemon";
}

TEST_F(UserTest, AGroupCanBeNamedBesideIt) {
  StartAs({"--user", "nobody:daemon", "--exec", "id=id -gn"});
  EXPECT_EQ(Run("id", "").result(), "daemon\n");
}

TEST_F(UserTest, AGroupCanBeNamedWithoutIt) {
  StartAs({"--group", "daemon", "--exec", "id=sh -c \"id -un; id -Gn\""});
  EXPECT_EQ(Run("id", "").result(), "root\ndaemon\n");
}

TEST_F(UserTest, HandlersReadTheirOwnProcessButNotTheDaemons) {
  StartAs({"--user", "nobody", "--exec", "own=cat /proc/self/environ", "--exec",
           "daemons=sh -c \"cat /proc/$(cat)/environ\""});
  EXPECT_THAT(Run("own", "").result(), HasSubstr("USER=nobody"));
  EXPECT_THAT(Run("daemons", std::to_string(worker_->pid())).error().detail(),
              HasSubstr("Permission denied"));
}

TEST_F(UserTest, APidFileThatCannotBeRemovedAnyMoreIsEmptied) {
  const std::string file = dir_.path() + "/pid";
  StartAs({"--user", "nobody", "--pid-file", file});
  EXPECT_EQ(std::filesystem::file_size(file), std::to_string(worker_->pid()).size() + 1);
  EXPECT_EQ(Stop(), 0);
  EXPECT_EQ(std::filesystem::file_size(file), 0u);
}

TEST_F(UserTest, BadUsersAndPlacesTheyCannotReachAreRefusedByName) {
  ExpectRefused({"--user", "no-such-user"}, "--user: no user is named \"no-such-user\"");
  ExpectRefused({"--user", "54321"}, "--user: the system does not know user 54321");
  ExpectRefused({"--user", "nobody:no-such-group"}, "--group: no group is named \"no-such-group\"");
  ExpectRefused({"--user", "nobody", "--working-directory", dir_.path()}, "--working-directory");
  ExpectRefused({"--user", "nobody", "--ready-file", dir_.path() + "/ready"}, "--ready-file");
}

TEST_F(UserTest, OnlyRootChangesTheUser) {
  WorkerProcess worker(
      {"--reuid", "65534", "--clear-groups", JOINQ_BUILD_DIR "/bin/joinq-worker", "--user", "daemon"}, {},
      "/usr/bin/setpriv");
  EXPECT_EQ(WEXITSTATUS(worker.WaitEnd()), 2);
  EXPECT_THAT(worker.Errors(), HasSubstr("--user: only root can change it"));
}

TEST_F(SurroundingsTest, HandlersAndTheirFilesAreLookedForInTheWorkingDirectory) {
  const std::string path = std::filesystem::canonical(dir_.path());
  std::filesystem::copy_file(JOINQ_BUILD_DIR "/tests/version_1_module.so", path + "/mine.so");
  std::ofstream(path + "/where.sh") << "#!/bin/sh\npwd\n";
  std::filesystem::permissions(path + "/where.sh", std::filesystem::perms::owner_all);
  Start({"--working-directory", path, "--module", "./mine.so", "--exec", "where=./where.sh"});
  EXPECT_EQ(Run("version", "").result(), "1");
  EXPECT_EQ(Run("where", "").result(), path + "\n");
}

}  // namespace
}  // namespace joinq
