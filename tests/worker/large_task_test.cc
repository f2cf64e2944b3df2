// Large payloads through a whole worker.
#include "tests/worker/large_payloads.h"
#include "tests/worker/worker_fixture.h"
#include "worker/child/frames.h"
#include "worker/process/payload_store.h"

namespace joinq {
namespace {

using ::testing::HasSubstr;

TEST_F(WorkerTest, PayloadsAndResultsOfEverySizeGoThrough) {
  Start({"--exec", "cat=cat", "--exec", "count=wc -c"});
  for (const size_t bytes : {kPayloadBytesInFrame - 1, kPayloadBytesInFrame, kPayloadBytesInFrame + 1,
                             size_t{300'000}, size_t{1} << 20}) {
    const std::string payload = Letters(bytes);
    for (const char* handler : {"joinq.echo", "echo", "cat"}) {
      const auto completion = Run(handler, payload);
      EXPECT_EQ(completion.verdict(), v1::Completion::DONE) << completion.error().message();
      EXPECT_TRUE(completion.result() == payload) << handler << " " << bytes;
    }
  }
  // The most that a broker can be told to allow; a result may have less.
  EXPECT_EQ(Run("count", Letters(3 << 20)).result(), "3145728\n");
  EXPECT_EQ(Run("joinq.noop", Letters(3 << 20)).verdict(), v1::Completion::DONE);
  EXPECT_THAT(Run("joinq.echo", Letters((1 << 20) + 1)).error().message(),
              HasSubstr("the result has 1048577 bytes; at most 1048576 are allowed"));
}

TEST_F(WorkerTest, ALargeTaskInAProcessOfItsOwnGoesThrough) {
  Start();
  const std::string payload = Letters(700'000);
  const auto completion = broker_.Wait(broker_.Put("joinq.echo", payload, {.fresh_process = true}));
  ASSERT_TRUE(completion);
  EXPECT_TRUE(completion->result() == payload) << completion->error().message();
}

TEST_F(WorkerTest, LargeTasksBehindOneThatKillsItsChildRunElsewhere) {
  Start({"-c", "1"});
  TeachTiny();
  for (int round = 0; round < 5; ++round) {
    std::vector<std::pair<uint64_t, std::string>> tasks;
    const uint64_t crash = broker_.Put("crash", "");
    for (int i = 0; i < 12; ++i) {
      std::string payload = Letters(66'000 + 10'000 * i, static_cast<char>('A' + round + i));
      const uint64_t id = broker_.Put("joinq.echo", payload);
      tasks.emplace_back(id, std::move(payload));
    }
    EXPECT_EQ(broker_.Wait(crash)->error().kind(), v1::FAILURE_KIND_CRASH);
    for (const auto& [id, payload] : tasks) {
      ASSERT_TRUE(broker_.WaitFor([&, id = id] {
        const auto it = broker_.state().completions.find(id);
        return it != broker_.state().completions.end() &&
               it->second.back().verdict() != v1::Completion::RELEASED;
      }));
      const auto completion = broker_.Snapshot().completions[id].back();
      EXPECT_TRUE(completion.result() == payload) << completion.error().message();
    }
  }
}

TEST_F(WorkerTest, ALargeTaskWhoseChildIsKilledFailsAndTheNextOneRuns) {
  Start({"-c", "1", "--exec", "stuck=sleep 600"});
  const uint64_t id = PutAndBegin("stuck", Letters(500'000));
  for (pid_t pid : ChildPids()) kill(pid, SIGKILL);
  EXPECT_EQ(broker_.Wait(id)->error().kind(), v1::FAILURE_KIND_CRASH);
  const std::string payload = Letters(500'000, 'B');
  EXPECT_TRUE(Run("joinq.echo", payload).result() == payload);
}

TEST_F(WorkerTest, LargeTasksLeaveNoDescriptorsBehind) {
  size_ = kTwoFromTheStart;
  Start();
  const std::string payload = Letters(100'000);
  auto thousand = [&] {
    std::vector<uint64_t> ids;
    for (int i = 0; i < 1000; ++i) ids.push_back(broker_.Put("joinq.echo", payload));
    for (uint64_t id : ids) {
      ASSERT_TRUE(broker_.WaitFor([&] {
        const auto it = broker_.state().completions.find(id);
        return it != broker_.state().completions.end() && it->second.back().verdict() == v1::Completion::DONE;
      }));
    }
  };
  thousand();
  const auto daemon = CountDescriptors(worker_->pid());
  std::vector<ptrdiff_t> before, after;
  for (pid_t pid : ChildPids()) before.push_back(CountDescriptors(pid));
  thousand();
  // What is kept to be used again has one each.
  EXPECT_LE(std::abs(CountDescriptors(worker_->pid()) - daemon),
            static_cast<ptrdiff_t>(PayloadStore::kIdleMax));
  for (pid_t pid : ChildPids()) after.push_back(CountDescriptors(pid));
  EXPECT_EQ(after, before);
}

TEST_F(WorkerTest, ProgramsInheritNothingOfALargeTask) {
  Start({"--exec", "list=sh -c 'ls /proc/self/fd | wc -l'"});
  const std::string few = Run("list", "x").result();
  EXPECT_EQ(Run("list", Letters(100'000)).result(), few);
}

TEST_F(WorkerTest, AChildOfFewDescriptorsTakesLargeTasks) {
  Start({"--max-open-files", "16"});
  const std::string payload = Letters(100'000);
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(Run("joinq.echo", payload).result() == payload);
}

}  // namespace
}  // namespace joinq
