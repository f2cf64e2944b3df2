// Handlers that behave badly: each gets a clear error and the worker goes on.
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
    ::testing::Values(BadHandler{"crash", "", v1::FAILURE_KIND_CRASH, "SIGSEGV"},
                      BadHandler{"abort_now", "", v1::FAILURE_KIND_CRASH, "SIGABRT"},
                      BadHandler{"exit_in_order", "[0]", v1::FAILURE_KIND_CRASH,
                                 "exit status 0 in the middle"},
                      BadHandler{"spin", "", v1::FAILURE_KIND_TIME_LIMIT, "hard time limit of 0.5 s"},
                      BadHandler{"spin_ignoring_term", "", v1::FAILURE_KIND_TIME_LIMIT, "hard time limit"},
                      BadHandler{"eat_memory", "[4000]", v1::FAILURE_KIND_OUT_OF_MEMORY, "out of memory"},
                      BadHandler{"fork_many", "[50]", v1::FAILURE_KIND_TIME_LIMIT, "hard time limit"},
                      BadHandler{"close_everything", "", v1::FAILURE_KIND_CRASH, "closed its channel"},
                      BadHandler{"leave_a_stranger", "", v1::FAILURE_KIND_CRASH, "SIGSEGV"}),
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

}  // namespace
}  // namespace joinq
