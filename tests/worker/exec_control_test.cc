// What programs of --exec say while they run.
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "tests/worker/worker_fixture.h"

namespace joinq {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class ExecControlTest : public WorkerTest {
 protected:
  ~ExecControlTest() override {
    std::error_code ignored;
    std::filesystem::remove(script_, ignored);
  }
  void StartScript(const std::string& text, std::vector<std::string> more = {}) {
    std::ofstream(script_) << text;
    more.insert(more.end(), {"--exec", "work=sh " + script_});
    Start(std::move(more));
  }
  const std::string script_ = ::testing::TempDir() + "joinq-exec-" + std::to_string(getpid()) + ".sh";
};

TEST_F(ExecControlTest, LinesOfProgressAreTold) {
  StartScript(R"(
echo first >&$JOINQ_PROGRESS_FD
echo '{"type": "progress", "text": "second"}' >&$JOINQ_CONTROL_FD
sleep 0.3
i=0
while [ $i -lt 2000 ]; do i=$((i+1)); echo "step $i"; done >&$JOINQ_PROGRESS_FD
sleep 0.3
printf 'the last, without an end' >&$JOINQ_PROGRESS_FD
)");
  const uint64_t id = broker_.Put("work", "");
  ASSERT_EQ(broker_.Wait(id)->verdict(), v1::Completion::DONE);
  const auto progress = broker_.Snapshot().progress[id];
  EXPECT_THAT(progress, ::testing::Contains("step 2000"));
  EXPECT_LT(progress.size(), 30u);
}

TEST_F(ExecControlTest, WhatItPutsGoesWithItsCompletion) {
  StartScript(R"(
cat <<'END' >&$JOINQ_CONTROL_FD
{"type": "put", "queue": "next", "handler": "add", "payload": [1, 2], "priority": 3}

{"type": "put", "queue": "other", "payload": "text", "delay_ms": 1500}
END
echo result
)");
  const auto completion = Run("work", "");
  EXPECT_EQ(completion.result(), "result\n");
  ASSERT_THAT(completion.follow_ups(), SizeIs(2));
  EXPECT_EQ(completion.follow_ups(0).queue(), "next");
  EXPECT_EQ(completion.follow_ups(0).handler(), "add");
  EXPECT_EQ(completion.follow_ups(0).tasks(0).payload(), "[1,2]");
  EXPECT_EQ(completion.follow_ups(0).options().priority(), 3);
  EXPECT_EQ(completion.follow_ups(1).queue(), "other");
  EXPECT_EQ(completion.follow_ups(1).tasks(0).payload(), "text");
  EXPECT_EQ(completion.follow_ups(1).options().delay_ms(), 1500u);
}

TEST_F(ExecControlTest, OneThatFailsPutsNothing) {
  StartScript(R"(
echo '{"type": "put", "queue": "next"}' >&$JOINQ_CONTROL_FD
exit 3
)");
  const auto completion = Run("work", "");
  EXPECT_THAT(completion.error().message(), HasSubstr("exit status 3"));
  EXPECT_THAT(completion.follow_ups(), IsEmpty());
  EXPECT_EQ(Run("add", "[1, 2]").follow_ups_size(), 0);
}

TEST_F(ExecControlTest, AWrongLineFailsTheTaskForGoodAndEndsTheProgram) {
  StartScript(R"(
echo 'some words' >&2
read line
sleep 0.1
echo '{"type": "progress", "text": "fine"}' >&$JOINQ_CONTROL_FD
echo "$line" >&$JOINQ_CONTROL_FD
sleep 600
)");
  auto failure = [this](const std::string& line) { return Run("work", line + "\n").error(); };
  auto error = failure("half way");
  EXPECT_EQ(error.kind(), v1::FAILURE_KIND_HANDLER_ERROR);
  EXPECT_TRUE(error.final());
  EXPECT_THAT(error.message(), AllOf(HasSubstr("line 2 that it wrote to JOINQ_CONTROL_FD: is no JSON object"),
                                     HasSubstr("half way")));
  EXPECT_THAT(error.detail(), HasSubstr("some words"));
  EXPECT_THAT(failure(R"({"type": "put", "queue": "a b"})").message(),
              AllOf(HasSubstr("line 2"), HasSubstr("queue")));
  EXPECT_THAT(failure(R"({"type": "put", "queue": "q", "delay_ms": 4000000000})").message(),
              HasSubstr("delay"));
}

TEST_F(ExecControlTest, ItIsBounded) {
  StartScript(R"(
read what
case $what in
  many) i=0; while [ $i -le 1000 ]; do i=$((i+1)); echo '{"type": "put", "queue": "q"}'; done >&$JOINQ_CONTROL_FD ;;
  long) head -c 3000000 /dev/zero | tr '\0' x >&$JOINQ_CONTROL_FD ;;
  flood) yes >&$JOINQ_PROGRESS_FD & sleep 0.2; head -c 100000 /dev/zero | tr '\0' y >&$JOINQ_PROGRESS_FD ;;
  holds) sleep 600 & ;;
esac
echo done
)");
  EXPECT_THAT(Run("work", "many\n").error().message(), HasSubstr("a task may put 1000 tasks at most"));
  EXPECT_THAT(Run("work", "long\n").error().message(), HasSubstr("is longer than 2097152 bytes"));
  EXPECT_EQ(Run("work", "flood\n").result(), "done\n");
  EXPECT_EQ(Run("work", "holds\n").result(), "done\n");
}

TEST_F(ExecControlTest, AProgramHasTheseDescriptorsAndNoOthers) {
  StartScript("ls /proc/self/fd | tr '\\n' ' '; echo $JOINQ_CONTROL_FD $JOINQ_PROGRESS_FD\n");
  // 5 is the one that lists them.
  EXPECT_EQ(Run("work", "").result(), "0 1 2 3 4 5 3 4\n");
}

TEST_F(ExecControlTest, AProgramThatIsKilledInTheMiddleOfALineWasKilled) {
  StartScript(R"(
printf '{"type"' >&$JOINQ_CONTROL_FD
kill -9 $$
)");
  const auto completion = Run("work", "");
  EXPECT_THAT(completion.error().message(), HasSubstr("killed by signal 9"));
  EXPECT_FALSE(completion.error().final());
}

TEST_F(ExecControlTest, WhatIsInALargerPipeAtTheEndIsTakenAsWell) {
  StartScript(R"(
exec python3 -c '
import fcntl, os
fcntl.fcntl(1, 1031, 1 << 20)  # F_SETPIPE_SZ
os.write(1, b"x" * 1000000)
'
)");
  EXPECT_EQ(Run("work", "").result().size(), 1'000'000u);
}

}  // namespace
}  // namespace joinq
