// A worker process and the fake broker it serves.
#pragma once

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "tests/worker/fake_broker.h"
#include "tests/worker/worker_process.h"

namespace joinq {

inline const char kModule[] = JOINQ_BUILD_DIR "/tests/test_module.so";

class WorkerTest : public ::testing::Test {
 protected:
  std::vector<std::string> Arguments(std::vector<std::string> more = {}) {
    std::vector<std::string> arguments{"-u",    broker_.address(), "--module",
                                       kModule, "--module",        JOINQ_BUILD_DIR "/tests/unruly_module.so"};
    arguments.insert(arguments.end(), size_.begin(), size_.end());
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  void Start(std::vector<std::string> more = {}, std::vector<std::string> environment = {}) {
    worker_ = std::make_unique<WorkerProcess>(Arguments(std::move(more)), std::move(environment));
    ASSERT_TRUE(broker_.WaitConnected());
  }
  // The worker's other processes, as long as it runs.
  pid_t KeeperPid() { return ChildrenOf(worker_->pid()).at(0); }
  pid_t ZygotePid() { return ChildrenOf(KeeperPid()).back(); }
  std::vector<pid_t> ChildPids() { return ChildrenOf(ZygotePid()); }
  v1::Completion Run(const std::string& handler, const std::string& payload, const std::string& type = "") {
    const uint64_t id = broker_.Put(handler, payload, type);
    auto completion = broker_.Wait(id);
    if (!completion) ADD_FAILURE() << handler << " did not complete";
    return completion.value_or(v1::Completion());
  }
  // So many tiny tasks that others are taken ahead from now on.
  void TeachTiny() {
    const uint64_t goal = broker_.Snapshot().completed + 100;
    broker_.PutMany("joinq.noop", "x", 100);
    ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().completed >= goal; }));
  }
  // Waits until everything put so far has been delivered.
  void AwaitDelivered(uint64_t count) {
    ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().delivered >= count; }));
  }
  // Waits until the task runs.
  uint64_t PutAndBegin(const std::string& handler, const std::string& payload = "") {
    const uint64_t id = broker_.Put(handler, payload);
    bool running = false;  // a child is busy already when it has been sent the task
    for (const auto end = absl::Now() + absl::Seconds(20); !running && absl::Now() < end;)
      running = broker_.AskLog(id).value_or(v1::TaskLogAnswer()).log().running();
    EXPECT_TRUE(running);
    return id;
  }
  int Stop(int number = SIGTERM) {
    worker_->Signal(number);
    return worker_->WaitEnd();
  }

  static inline const std::vector<std::string> kTwoFromTheStart{"--autoscale", "2,2"};

  std::vector<std::string> size_{"-c", "2"};
  FakeBroker broker_;
  std::unique_ptr<WorkerProcess> worker_;
};

}  // namespace joinq
