// Runs the tool as a subprocess, as scripts do.
#pragma once

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace joinq::test {

struct Ran {
  int status = -1;  // 128 + n for signal n; -1: killed after 20 s
  std::string out;
  std::string err;
};

inline std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Runs `joinq` with files for its streams.
class CliTest : public testing::Test {
 protected:
  CliTest() {
    std::string name = "/tmp/joinq-cli-test-XXXXXX";
    dir_ = mkdtemp(name.data());
  }
  ~CliTest() override { std::filesystem::remove_all(dir_); }

  Ran Run(std::vector<std::string> args, const std::string& input = {}, std::vector<std::string> env = {}) {
    std::ofstream(dir_ + "/in") << input;
    args.insert(args.begin(), JOINQ_BIN_DIR "/joinq");
    std::vector<char*> argv, envp;
    for (auto& arg : args) argv.push_back(arg.data());
    argv.push_back(nullptr);
    for (auto& setting : env) envp.push_back(setting.data());
    envp.push_back(nullptr);
    const std::string in = dir_ + "/in", out = dir_ + "/out", err = dir_ + "/err";
    const pid_t pid = fork();
    if (pid == 0) {
      dup2(open(in.c_str(), O_RDONLY), 0);
      dup2(open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), 1);
      dup2(open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), 2);
      alarm(20);
      execve(argv[0], argv.data(), envp.data());
      _exit(126);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    Ran ran;
    ran.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    ran.out = ReadFile(out);
    ran.err = ReadFile(err);
    return ran;
  }
  void ExpectError(const Ran& ran, int status, const std::string& part) {
    EXPECT_EQ(ran.status, status) << ran.err;
    EXPECT_THAT(ran.err, testing::StartsWith("joinq: "));
    EXPECT_THAT(ran.err, testing::HasSubstr(part));
    EXPECT_EQ(std::count(ran.err.begin(), ran.err.end(), '\n'), 1) << ran.err;
    EXPECT_EQ(ran.out, "");
  }

  std::string dir_;
};

}  // namespace joinq::test
