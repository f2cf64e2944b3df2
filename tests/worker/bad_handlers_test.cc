// Handlers that behave badly: each gets a clear error and the worker goes on.
#include <fstream>

#include "absl/time/clock.h"
#include "tests/worker/worker_fixture.h"

namespace joinq {
namespace {

using ::testing::HasSubstr;

struct BadHandler {
  const char* handler;
  const char* payload;
  v1::FailureKind kind;
  const char* message;
};
class BadHandlerTest : public WorkerTest, public ::testing::WithParamInterface<BadHandler> {};

TEST_P(BadHandlerTest, IsToldApartAndOthersGoOn) {
  Start({"--time-limit", "0.5,add=0,eat_memory=30", "--kill-grace", "0.2", "--max-memory-per-child", "256"});
  const auto completion = Run(GetParam().handler, GetParam().payload);
  EXPECT_EQ(completion.verdict(), v1::Completion::FAILED);
  EXPECT_EQ(completion.error().kind(), GetParam().kind) << completion.error().message();
  EXPECT_THAT(completion.error().message(), HasSubstr(GetParam().message));
  EXPECT_EQ(completion.error().message().find('\n'), std::string::npos);
  // Both children work: two at once.
  const auto first = broker_.Put("sleep_ms", "[50]");
  const auto second = broker_.Put("sleep_ms", "[50]");
  EXPECT_TRUE(broker_.Wait(first) && broker_.Wait(second));
  EXPECT_EQ(Run("add", "[1, 2]").result(), "3");
  EXPECT_EQ(Stop(), 0);
}

INSTANTIATE_TEST_SUITE_P(
    Handlers, BadHandlerTest,
    ::testing::Values(
        BadHandler{"crash", "", v1::FAILURE_KIND_CRASH, "died: signal 11, SIGSEGV (Segmentation fault)"},
        BadHandler{"abort_now", "", v1::FAILURE_KIND_CRASH, "died: signal 6, SIGABRT (Aborted)"},
        BadHandler{"exit_in_order", "[0]", v1::FAILURE_KIND_CRASH,
                   "died: exit status 0 in the middle of a task"},
        BadHandler{"spin", "", v1::FAILURE_KIND_TIME_LIMIT,
                   "hard time limit of 0.5 s passed; it was ended after "},
        BadHandler{"spin_ignoring_term", "", v1::FAILURE_KIND_TIME_LIMIT,
                   "hard time limit of 0.5 s passed; it was ended after "},
        BadHandler{"eat_memory", "[4000]", v1::FAILURE_KIND_OUT_OF_MEMORY,
                   "out of memory: a child may have 256 MiB (--max-memory-per-child)"},
        BadHandler{"fork_many", "[50]", v1::FAILURE_KIND_TIME_LIMIT,
                   "hard time limit of 0.5 s passed; it was ended after "},
        BadHandler{"write_for_ever", "", v1::FAILURE_KIND_TIME_LIMIT,
                   "hard time limit of 0.5 s passed; it was ended after "},
        BadHandler{"close_everything", "", v1::FAILURE_KIND_CRASH,
                   "closed its channel to the worker, so it can answer nothing; it was ended"},
        BadHandler{"leave_a_stranger", "", v1::FAILURE_KIND_CRASH,
                   "died: signal 11, SIGSEGV (Segmentation fault)"}),
    [](const auto& info) { return std::string(info.param.handler); });

TEST_F(WorkerTest, AForkBombEndsWithItsTask) {
  Start({"-c", "1", "--time-limit", "1", "--kill-grace", "0.2"});
  const pid_t child = ChildPids().at(0);
  const auto id = broker_.Put("fork_many", "[100]");
  std::vector<pid_t> bomb;
  ASSERT_TRUE(broker_.WaitFor([&] {
    const auto children = ChildrenOf(child);
    bomb.insert(bomb.end(), children.begin(), children.end());
    return !bomb.empty() || broker_.state().completions.contains(id);
  }));
  ASSERT_TRUE(broker_.Wait(id));
  EXPECT_TRUE(WaitGone(bomb));
  EXPECT_EQ(Run("add", "[1, 2]").result(), "3");  // the replacement works
  EXPECT_EQ(ChildPids().size(), 1u);
}

TEST_F(WorkerTest, AForkBombThatDoublesEndsWithItsTask) {
  Start({"-c", "1", "--time-limit", "1", "--kill-grace", "0.2"});
  const pid_t child = ChildPids().at(0);
  const auto completion = Run("fork_doubling", "[7]");
  EXPECT_EQ(completion.error().kind(), v1::FAILURE_KIND_TIME_LIMIT);
  EXPECT_THAT(completion.error().message(), HasSubstr("hard time limit of 1 s passed; it was ended after "));
  // None of them is left, not as a zombie either.
  EXPECT_TRUE(broker_.WaitFor([&] { return kill(-child, 0) != 0; }));
  EXPECT_EQ(Run("add", "[1, 2]").result(), "3");
}

TEST_F(WorkerTest, AStrangerOfADeadTaskEndsWithItsChild) {
  Start({"-c", "1"});
  const auto completion = Run("leave_a_stranger", "");
  const std::string& detail = completion.error().detail();
  const size_t said = detail.find("stranger ");
  ASSERT_NE(said, std::string::npos) << detail;
  const pid_t stranger = std::stoi(detail.substr(said + 9));
  EXPECT_EQ(StateOf(stranger), 0) << "it outlives its child's death, as reported";
  EXPECT_EQ(Run("add", "[1, 2]").result(), "3");
}

TEST_F(WorkerTest, AHandlerThatLeavesItsGroupIsEndedAllTheSame) {
  Start({"-c", "1", "--time-limit", "0.3", "--kill-grace", "0.2"});
  EXPECT_EQ(Run("leave_its_group", "").error().kind(), v1::FAILURE_KIND_TIME_LIMIT);
  EXPECT_EQ(Run("add", "[1, 2]").result(), "3");
}

TEST_F(WorkerTest, AStoppedZygoteIsReplacedWhenItIsNeeded) {
  Start({"-c", "1", "--time-limit", "0.3", "--kill-grace", "0.2"});
  ASSERT_EQ(Run("stop_the_zygote", "").verdict(), v1::Completion::DONE);
  // Its child is killed by the daemon itself; the end is told once another zygote is there.
  const auto late = broker_.Put("spin", "");
  const auto completion = broker_.Wait(late, absl::Seconds(40));
  ASSERT_TRUE(completion.has_value()) << worker_->Errors();
  EXPECT_EQ(completion->error().kind(), v1::FAILURE_KIND_TIME_LIMIT);
  EXPECT_EQ(Run("add", "[1, 2]").result(), "3");
}

TEST_F(WorkerTest, AHandlerThatForksAndReturnsTwiceAnswersOnce) {
  Start({"-c", "1"});
  std::vector<uint64_t> ids;
  for (int i = 0; i < 20; ++i) {
    ids.push_back(broker_.Put(i % 5 == 0 ? "fork_and_return" : "sleep_ms", i % 5 == 0 ? "" : "[1]"));
  }
  for (uint64_t id : ids) EXPECT_EQ(broker_.Wait(id)->verdict(), v1::Completion::DONE);
  ASSERT_TRUE(broker_.WaitFor([&] { return broker_.state().status.done_total() >= 20; }));
  EXPECT_EQ(broker_.Snapshot().status.child_deaths_total(), 0u);
}

TEST_F(WorkerTest, ALargeTaskIsNotChargedForTheDescriptorsOfAnother) {
  Start({"-c", "1", "--max-open-files", "64"});
  Run("use_up_descriptors", "");
  const std::string large(300'000, 'x');
  const auto completion = Run("echo", large);
  EXPECT_EQ(completion.verdict(), v1::Completion::DONE);
  EXPECT_EQ(completion.result().size(), large.size());
}

TEST_F(WorkerTest, AnExceptionThatSaysNothingIsAFailureLikeOthers) {
  Start({"-c", "1"});
  EXPECT_EQ(Run("throw_silently", "").error().message(), "an exception that does not say what it is");
}

TEST_F(WorkerTest, AChildWithManyDeadOfOthersIsReplaced) {
  Start({"-c", "1"});
  // Each leaves a process behind that ends by itself.
  const std::string first = Run("leave_an_orphan", "").result();
  EXPECT_TRUE([&] {
    for (const auto end = absl::Now() + absl::Seconds(20); absl::Now() < end;) {
      if (Run("leave_an_orphan", "").result() != first) return true;
    }
    return false;
  }());
  EXPECT_TRUE(WaitGone({std::stoi(first)}));
}

TEST_F(WorkerTest, WritingWithoutEndCostsTheWorkerNoMemory) {
  Start({"-c", "1", "--time-limit", "2", "--exec", "yes=yes"});
  const auto peak_mib = [this] {
    std::ifstream status("/proc/" + std::to_string(worker_->pid()) + "/status");
    for (std::string word; status >> word;) {
      uint64_t kib;
      if (word == "VmHWM:" && status >> kib) return kib >> 10;
    }
    return uint64_t{0};
  };
  Run("add", "[1, 2]");
  const uint64_t before = peak_mib();
  ASSERT_GT(before, 0u);
  const auto completion = Run("write_for_ever", "");
  EXPECT_EQ(completion.error().kind(), v1::FAILURE_KIND_TIME_LIMIT);
  EXPECT_THAT(completion.error().detail(), HasSubstr("mmmmm"));
  EXPECT_LE(completion.error().detail().size(), 16384u);
  // A program's standard output is its result, which may not be of any size.
  EXPECT_THAT(Run("yes", "").error().message(), HasSubstr("bytes to its standard output"));
  EXPECT_LT(peak_mib(), before + 64);
}

}  // namespace
}  // namespace joinq
