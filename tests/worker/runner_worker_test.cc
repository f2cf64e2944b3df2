// --runner in a whole worker: misbehaving programs, limits, and the runners in examples/.
#include <fstream>
#include <set>

#include "absl/time/clock.h"
#include "joinq/codec.h"
#include "tests/worker/runner_script.h"
#include "tests/worker/worker_fixture.h"

namespace joinq {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;

const char kPython[] = "python3 " JOINQ_SOURCE_DIR "/examples/runners/python/handlers.py";
const char kNode[] = "node " JOINQ_SOURCE_DIR "/examples/runners/node/handlers.js";

class RunnerWorkerTest : public WorkerTest {
 protected:
  // One child, whose runner this is.
  void StartScript(const std::string& lines, std::vector<std::string> more = {}) {
    script_ = std::make_unique<RunnerScript>(lines);
    more.insert(more.end(), {"-c", "1", "--runner", "x=" + script_->command()});
    Start(std::move(more));
  }
  // Of its own handlers, in Python, besides those of the examples.
  void StartPython(const std::string& names, const std::string& lines, std::vector<std::string> more = {}) {
    script_ = std::make_unique<RunnerScript>("");
    std::ofstream(script_->folder() + "/handlers.py")
        << "import sys\nsys.path.insert(0, '" JOINQ_SOURCE_DIR "/examples/runners/python')\n"
        << "from joinq_runner import *\nimport os, subprocess, threading, time\n"
        << lines << "\nrun()\n";
    more.insert(more.end(),
                {"-c", "1", "--runner", names + "=python3 " + script_->folder() + "/handlers.py"});
    Start(std::move(more));
  }
  void StartNode(const std::string& names, const std::string& lines, std::vector<std::string> more = {}) {
    script_ = std::make_unique<RunnerScript>("");
    std::ofstream(script_->folder() + "/handlers.js")
        << "const { task, run, current, log, progress, DecodeError, TaskFailed } = "
           "require('" JOINQ_SOURCE_DIR "/examples/runners/node/joinq_runner.js');\n"
        << lines << "\nrun();\n";
    more.insert(more.end(), {"-c", "1", "--runner", names + "=node " + script_->folder() + "/handlers.js"});
    Start(std::move(more));
  }
  std::unique_ptr<RunnerScript> script_;
};

TEST_F(RunnerWorkerTest, ACrashOfTheRunnerIsOneOfTheAttemptButNotOfTheChild) {
  StartScript(R"py(
hello()
while got := receive():
    print("last words", flush=True)
    if got[1] == b"die":
        os.kill(os.getpid(), signal.SIGSEGV)
    done(got[0], str(os.getppid()).encode())
)py");
  const std::string child = Run("x", "").result();
  const auto completion = Run("x", "die");
  EXPECT_EQ(completion.error().kind(), v1::FAILURE_KIND_CRASH);
  EXPECT_THAT(completion.error().message(), HasSubstr("died (signal 11, SIGSEGV (Segmentation fault))"));
  EXPECT_THAT(completion.error().detail(), EndsWith("last words\n"));
  EXPECT_FALSE(completion.error().final());
  EXPECT_EQ(Run("x", "").result(), child);
}

TEST_F(RunnerWorkerTest, AFailedStartIsAFailedAttemptWithWhatTheProgramWrote) {
  StartScript("raise RuntimeError('no database')");
  const auto completion = Run("x", "");
  EXPECT_EQ(completion.error().kind(), v1::FAILURE_KIND_HANDLER_ERROR);
  EXPECT_THAT(completion.error().message(), HasSubstr("did not start: it died (exit status 1)"));
  EXPECT_THAT(completion.error().detail(), HasSubstr("RuntimeError: no database"));
  EXPECT_FALSE(completion.error().final());
}

TEST_F(RunnerWorkerTest, TooLargeAResultIsRefusedForGood) {
  StartScript("hello()\nwhile got := receive(): done(got[0], b'x' * int(got[1]))");
  EXPECT_EQ(Run("x", "1048576").result().size(), 1u << 20);
  const auto completion = Run("x", "1048577");
  EXPECT_THAT(completion.error().message(), HasSubstr("the result has 1048577 bytes; at most 1048576"));
  EXPECT_TRUE(completion.error().final());
}

TEST_F(RunnerWorkerTest, TheHardTimeLimitEndsTheRunnerWithTheChild) {
  StartScript(
      "hello()\nwhile got := receive():\n  open(folder + '/pid', 'w').write(str(os.getpid()))\n  "
      "signal.pause()",
      {"--time-limit", "1"});
  const auto completion = Run("x", "");
  EXPECT_EQ(completion.error().kind(), v1::FAILURE_KIND_TIME_LIMIT);
  EXPECT_THAT(completion.error().message(), HasSubstr("hard time limit of 1 s"));
  EXPECT_TRUE(WaitGone({std::stoi(script_->Read("pid"))}));
}

TEST_F(RunnerWorkerTest, ACancelledTasksRunnerIsEndedWithItsChild) {
  StartScript(
      "hello()\nwhile got := receive():\n  open(folder + '/pid', 'w').write(str(os.getpid()))\n  "
      "signal.pause()",
      {"--kill-grace", "0.2"});
  const auto id = broker_.Put("x", "");
  ASSERT_TRUE(
      broker_.WaitFor([&] { return !script_->Read("pid").empty() && broker_.state().status.busy() == 1; }));
  const pid_t pid = std::stoi(script_->Read("pid"));
  broker_.Cancel(id);
  EXPECT_TRUE(WaitGone({pid}));
  EXPECT_EQ(Run("add", "[1, 2]").result(), "3");
}

TEST_F(RunnerWorkerTest, NoRunnerOutlivesAKilledWorker) {
  StartScript("hello()\nwhile got := receive(): done(got[0], str(os.getpid()).encode())");
  const pid_t pid = std::stoi(Run("x", "").result());
  worker_->Signal(SIGKILL);
  worker_->WaitEnd();
  EXPECT_TRUE(WaitGone({pid}));
}

TEST_F(RunnerWorkerTest, AUsedUpChildShutsItsRunnerDownInOrder) {
  StartScript(R"py(
hello()
while got := receive():
    if got[0]["type"] == "shutdown":
        open(folder + "/tidied", "w").write("yes")
        break
    done(got[0], str(os.getpid()).encode())
)py",
              {"--max-tasks-per-child", "2"});
  const std::string first = Run("x", "").result();
  EXPECT_EQ(Run("x", "").result(), first);
  EXPECT_NE(Run("x", "").result(), first);
  EXPECT_EQ(script_->Read("tidied"), "yes");
}

TEST_F(RunnerWorkerTest, CpuTimeIsLimitedAndARunnerThatUsedHalfIsReplacedBetweenTasks) {
  StartScript(R"py(
hello()
while got := receive():
    if got[0]["type"] != "task":
        break
    end = time.process_time() + float(got[1])
    while time.process_time() < end:
        pass
    done(got[0], str(os.getpid()).encode())
)py",
              {"--max-cpu-per-child", "1"});
  std::set<std::string> pids;
  for (int i = 0; i < 3; ++i) {
    const auto completion = Run("x", "0.6");
    ASSERT_EQ(completion.verdict(), v1::Completion::DONE) << completion.error().message();
    pids.insert(completion.result());
  }
  EXPECT_EQ(pids.size(), 3u);
  const auto completion = Run("x", "60");
  EXPECT_EQ(completion.error().kind(), v1::FAILURE_KIND_TIME_LIMIT);
  EXPECT_THAT(completion.error().message(), HasSubstr("--max-cpu-per-child"));
}

TEST_F(RunnerWorkerTest, RunnersComeFromTheEnvironmentAndAFileToo) {
  const std::string config = ::testing::TempDir() + "/runner.toml";
  std::ofstream(config) << "runner = [\"a,b=cat\", \"c=cat\"]\nrunner-start-timeout = 2\n";
  worker_ = std::make_unique<WorkerProcess>(
      std::vector<std::string>{"-u", broker_.address(), "-c", "1", "--config", config});
  ASSERT_TRUE(broker_.WaitConnected());
  const auto from_file = broker_.Snapshot().hello;
  EXPECT_THAT(from_file.handlers(), IsSupersetOf({"a", "b", "c"}));
  EXPECT_EQ(Stop(), 0);
  worker_ = std::make_unique<WorkerProcess>(std::vector<std::string>{"-u", broker_.address(), "-c", "1"},
                                            std::vector<std::string>{"JOINQ_RUNNER=d=cat\ne,f=cat"});
  ASSERT_TRUE(broker_.WaitConnected(2));
  const auto from_environment = broker_.Snapshot().hello;
  EXPECT_THAT(from_environment.handlers(), IsSupersetOf({"d", "e", "f"}));
}

TEST_F(RunnerWorkerTest, NamesThatTheProgramDoesNotServeAreToldAtTheFirstTask) {
  Start({"--runner", "add_py,sleep=" + std::string(kPython)});
  EXPECT_THAT(Run("add_py", "[1, 2]").error().message(),
              HasSubstr("does not serve add_py, which --runner names; it serves add, sleep, word_count"));
}

TEST_F(RunnerWorkerTest, ThePythonExampleServesItsHandlers) {
  worker_ = std::make_unique<WorkerProcess>(
      std::vector<std::string>{"-u", broker_.address(), "-c", "2", "--soft-time-limit", "sleep=1", "--runner",
                               "add,word_count,sleep=" + std::string(kPython)});
  ASSERT_TRUE(broker_.WaitConnected());
  EXPECT_EQ(Run("add", "[1, 2]").result(), "3");
  EXPECT_EQ(Run("add", "[\"a\", \"\xc3\xa4\"]").result(), "a\xc3\xa4");
  EXPECT_EQ(Run("word_count", "b a b").result(), R"({"a": 1, "b": 2})");
  EXPECT_EQ(Run("sleep", "[0.01]").result(), "");
  EXPECT_THAT(Run("sleep", "[60]").result(), HasSubstr("{\"slept\": "));
  for (const auto& [payload, type, why] : {std::tuple{"[1]", "", "missing a required argument: 'b'"},
                                           {"{}", "", "not a JSON array"},
                                           {"nonsense", "", "not a JSON array"},
                                           {"", "msgpack", "content type \"msgpack\" is not known"}}) {
    const auto completion = Run("add", payload, type);
    EXPECT_EQ(completion.error().kind(), v1::FAILURE_KIND_BAD_ARGUMENTS) << payload;
    EXPECT_THAT(completion.error().message(), HasSubstr(why));
    EXPECT_TRUE(completion.error().final());
  }
  const auto completion = Run("add", "[1, \"2\"]");
  EXPECT_EQ(completion.error().kind(), v1::FAILURE_KIND_HANDLER_ERROR);
  EXPECT_THAT(completion.error().message(), HasSubstr("TypeError: unsupported operand"));
  EXPECT_THAT(completion.error().detail(), AllOf(HasSubstr("Traceback"), HasSubstr("handlers.py")));
  EXPECT_EQ(Stop(), 0);
  EXPECT_THAT(worker_->Errors(), HasSubstr(" | info: 3 words"));
}

TEST_F(RunnerWorkerTest, PythonHandlersMayDoWhatProgramsDo) {
  StartPython("context,give_up,dirty,nan,leave,fork,speak", R"py(
@task()
def context():
    return current()["queue"] + current()["attempt"] * "!"
@task()
def give_up(message):
    raise TaskFailed(message, detail="a detail", final=True)
@task()
def dirty():
    raise ValueError("half a pair: \udc80")
@task()
def nan():
    return float("nan")
@task()
def leave():
    sys.exit(5)
@task()
def fork():
    return subprocess.run(["ls", "/proc/self/fd"], capture_output=True, text=True).stdout.split()
@task()
def speak():
    print("no line break", end="")
    thread = threading.Thread(target=log, args=("of a thread", "debug"))
    thread.start()
    thread.join()
    raise KeyError("x")
)py");
  EXPECT_EQ(Run("context", "").result(), "default!");
  auto completion = Run("give_up", "[\"why\"]");
  EXPECT_EQ(completion.error().message(), "why");
  EXPECT_THAT(completion.error().detail(), HasSubstr("a detail"));
  EXPECT_TRUE(completion.error().final());
  EXPECT_THAT(Run("dirty", "").error().message(), HasSubstr("ValueError: half a pair: ?"));
  EXPECT_THAT(Run("nan", "").error().message(), HasSubstr("ValueError"));
  EXPECT_THAT(Run("leave", "").error().message(), HasSubstr("died (exit status 5) in the middle of a task"));
  EXPECT_EQ(Run("fork", "").result(), R"(["0", "1", "2", "3"])") << "standard ones and the folder";
  completion = Run("speak", "");
  EXPECT_THAT(completion.error().detail(),
              AllOf(HasSubstr("no line break"), HasSubstr("debug: of a thread")));
}

TEST_F(RunnerWorkerTest, APythonHandlerIsInterruptedInTheMiddleOfABlockingCall) {
  size_ = {"-c", "1"};
  StartPython("warm,nap,busy,chatter", R"py(
@task()
def warm():
    pass
@task()
def nap():
    time.sleep(600)
@task()
def busy():
    while True:
        pass
@task()
def chatter():
    while True:
        progress(1, 2)
)py",
              {"--soft-time-limit", "0.5", "--time-limit", "30"});
  // The start of the runner counts as well, and may take longer than the limit here.
  for (const auto end = absl::Now() + absl::Seconds(20); absl::Now() < end;) {
    if (Run("warm", "").verdict() == v1::Completion::DONE) break;
  }
  for (const char* handler : {"nap", "busy", "chatter"}) {
    const auto completion = Run(handler, "");
    EXPECT_EQ(completion.error().kind(), v1::FAILURE_KIND_TIME_LIMIT) << handler;
    EXPECT_THAT(completion.error().message(),
                AllOf(HasSubstr("soft time limit of 0.5 s"), HasSubstr("SoftTimeLimit: asked to end")));
  }
}

TEST_F(RunnerWorkerTest, ACancelledPythonHandlerMayTidyUp) {
  StartPython("work", R"py(
@task()
def work(folder):
    try:
        open(folder + "/begun", "w").write("yes")
        time.sleep(600)
    except Cancelled:
        open(folder + "/tidied", "w").write("yes")
        raise
)py",
              {"--kill-grace", "20"});
  const auto id = broker_.Put("work", "[\"" + script_->folder() + "\"]");
  ASSERT_TRUE(
      broker_.WaitFor([&] { return script_->Read("begun") == "yes" && broker_.state().status.busy() == 1; }));
  broker_.Cancel(id);
  EXPECT_EQ(Run("add", "[1, 2]").result(), "3");
  EXPECT_EQ(script_->Read("tidied"), "yes");
}

TEST_F(RunnerWorkerTest, TheNodeExampleServesItsHandlers) {
  worker_ = std::make_unique<WorkerProcess>(
      std::vector<std::string>{"-u", broker_.address(), "-c", "2", "--soft-time-limit", "wait=1", "--runner",
                               "add,reverse,wait=" + std::string(kNode)});
  ASSERT_TRUE(broker_.WaitConnected());
  EXPECT_EQ(Run("add", "[1, 2]").result(), "3");
  EXPECT_EQ(Run("reverse", std::string("a\xff\0c", 4)).result(), std::string("c\0\xff"
                                                                             "a",
                                                                             4));
  EXPECT_EQ(Run("reverse", std::string(1'000'000, 'x')).result().size(), 1'000'000u);
  EXPECT_EQ(Run("wait", "[0.01]").result(), "waited");
  EXPECT_EQ(Run("wait", "[60]").result(), "soft_time_limit");
  for (const auto& [payload, type, why] : {std::tuple{"[1]", "", "takes 2 argument(s), got 1"},
                                           {"{}", "", "not a JSON array"},
                                           {"", "msgpack", "content type \"msgpack\" is not known"}}) {
    const auto completion = Run("add", payload, type);
    EXPECT_EQ(completion.error().kind(), v1::FAILURE_KIND_BAD_ARGUMENTS) << payload;
    EXPECT_THAT(completion.error().message(), HasSubstr(why));
  }
  EXPECT_EQ(Stop(), 0);
  EXPECT_THAT(worker_->Errors(), HasSubstr(" | info: interrupted: soft_time_limit"));
}

TEST_F(RunnerWorkerTest, NodeHandlersMayDoWhatProgramsDo) {
  StartNode("context,give_up,broken,nothing,late,leave,astray", R"js(
task('context', () => current().queue + current().attempt);
task('give_up', async (message) => { throw new TaskFailed(message, { detail: 'a detail', final: true }); });
task('broken', () => { console.log('said'); throw new TypeError('half a pair: \udc80'); });
task('nothing', () => undefined);
task('late', () => new Promise((_, reject) => {
  current().signal.onabort = () => reject(new Error('stopped in time'));
  setTimeout(() => {}, 600000);
}));
task('leave', () => process.exit(5));
task('astray', async () => {
  Promise.reject(new Error('nobody awaits this'));
  await new Promise((resolve) => setTimeout(resolve, 600000));
});
)js",
            {"--soft-time-limit", "late=0.5"});
  EXPECT_EQ(Run("context", "").result(), "default1");
  auto completion = Run("give_up", "[\"why\"]");
  EXPECT_EQ(completion.error().message(), "why");
  EXPECT_TRUE(completion.error().final());
  completion = Run("broken", "");
  EXPECT_THAT(completion.error().message(), HasSubstr("half a pair: \xef\xbf\xbd"));
  EXPECT_THAT(completion.error().detail(), AllOf(HasSubstr("TypeError"), HasSubstr("said")));
  EXPECT_EQ(Run("nothing", "").result(), "");
  completion = Run("late", "");
  EXPECT_EQ(completion.error().kind(), v1::FAILURE_KIND_TIME_LIMIT);
  EXPECT_THAT(completion.error().message(), HasSubstr("stopped in time"));
  EXPECT_THAT(Run("leave", "").error().message(), HasSubstr("died (exit status 5) in the middle of a task"));
  EXPECT_EQ(Run("astray", "").error().kind(), v1::FAILURE_KIND_CRASH);
  EXPECT_EQ(Run("nothing", "").verdict(), v1::Completion::DONE);
}

struct BadRunner {
  std::vector<std::string> arguments;
  std::string message;
};
class WorkerBadRunnerTest : public ::testing::TestWithParam<BadRunner> {};

TEST_P(WorkerBadRunnerTest, IsRefusedInOneLine) {
  ExpectRefused(GetParam().arguments, GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    Input, WorkerBadRunnerTest,
    ::testing::Values(BadRunner{{"--runner", "a"}, "--runner: must be NAME[,NAME...]='command args'"},
                      BadRunner{{"--runner", "a=no-such-program"},
                                "--runner: no program \"no-such-program\""},
                      BadRunner{{"--runner", "a,a=cat"}, "\"a\" is registered twice"},
                      BadRunner{{"--runner", "a=cat", "--exec", "a=cat"}, "\"a\" is registered twice"},
                      BadRunner{{"--runner", "a b=cat"}, "--runner"},
                      BadRunner{{"--runner-start-timeout", "0"}, "--runner-start-timeout"},
                      BadRunner{{"--runner-start-timeout", "-1"}, "--runner-start-timeout"}));

}  // namespace
}  // namespace joinq
