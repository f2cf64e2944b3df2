// A worker process and the fake broker it serves.
#pragma once

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/worker/fake_broker.h"
#include "tests/worker/worker_process.h"

namespace joinq {

inline const char kModule[] = JOINQ_BUILD_DIR "/tests/test_module.so";

class WorkerTest : public ::testing::Test {
 protected:
  std::vector<std::string> Arguments(std::vector<std::string> more = {}) {
    std::vector<std::string> arguments{
        "-u",       broker_.address(), "-c",       "2",
        "--module", kModule,           "--module", JOINQ_BUILD_DIR "/tests/unruly_module.so"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  void Start(std::vector<std::string> more = {}, std::vector<std::string> environment = {}) {
    worker_ = std::make_unique<WorkerProcess>(Arguments(std::move(more)), std::move(environment));
    ASSERT_TRUE(broker_.WaitConnected());
  }
  // The zygote and the children, as long as the worker runs.
  pid_t ZygotePid() { return ChildrenOf(worker_->pid()).at(0); }
  std::vector<pid_t> ChildPids() { return ChildrenOf(ZygotePid()); }
  v1::Completion Run(const std::string& handler, const std::string& payload, const std::string& type = "") {
    const uint64_t id = broker_.Put(handler, payload, type);
    auto completion = broker_.Wait(id);
    if (!completion) ADD_FAILURE() << handler << " did not complete";
    return completion.value_or(v1::Completion());
  }
  int Stop(int number = SIGTERM) {
    worker_->Signal(number);
    return worker_->WaitEnd();
  }

  FakeBroker broker_;
  std::unique_ptr<WorkerProcess> worker_;
};

}  // namespace joinq
