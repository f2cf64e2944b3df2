// What the log tells of the worker.
#include "tests/worker/worker_fixture.h"

namespace joinq {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;

TEST_F(WorkerTest, Usr1LogsTheStateOfEachChild) {
  size_ = kTwoFromTheStart;
  Start();
  const auto id = broker_.Put("sleep_ms", "[60000]");
  ASSERT_TRUE(broker_.WaitFor(
      [&] { return broker_.state().status.busy() == 1 && broker_.state().status.children() == 2; }));
  worker_->Signal(SIGUSR1);
  ASSERT_TRUE(broker_.WaitFor([&] { return worker_->Errors().find(" old: idle") != std::string::npos; }))
      << worker_->Errors();
  EXPECT_THAT(worker_->Errors(), AllOf(ContainsRegex("child [0-9]+, [0-9.]+ s old: runs task " +
                                                     std::to_string(id) + " \\(sleep_ms\\) for [0-9.]+ s"),
                                       ContainsRegex("child [0-9]+, [0-9.]+ s old: idle")));
}

}  // namespace
}  // namespace joinq
