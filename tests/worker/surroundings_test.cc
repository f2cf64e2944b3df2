// What handlers find around them: environment, working directory.
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
