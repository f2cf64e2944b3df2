// One runner program and the child's side of it, without a worker around.
#include "worker/child/runner.h"

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/worker/runner_script.h"

namespace joinq {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

// Asks the task to end as soon as a file exists.
class Asking final : public TaskControl {
 public:
  bool cancelled() const override { return Exists(cancel_when); }
  bool soft_time_limit_passed() const override { return Exists(soft_when); }
  void Progress(std::string_view text) override { progress = text; }
  void Put(std::string_view, std::string_view, std::string_view, const FollowUpOptions&) override {}
  std::string cancel_when, soft_when, progress;

 private:
  static bool Exists(const std::string& file) { return !file.empty() && std::filesystem::exists(file); }
};

class RunnerTest : public ::testing::Test {
 protected:
  // What a child sets, too.
  RunnerTest() {
    signal(SIGPIPE, SIG_IGN);
    signal(kAskSignal, [](int) {});
    task_.task_id = 7;
    task_.handler = "x";
    task_.queue = "q";
  }
  // A test that hangs ends here; every program must have been reaped.
  void SetUp() override { alarm(30); }
  void TearDown() override {
    runner_.reset();
    EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
    alarm(0);
  }
  void Use(const std::string& lines, const std::string& name = "x", uint32_t start_timeout_ms = 20'000) {
    script_ = std::make_unique<RunnerScript>(lines);
    auto spec = ParseRunner(name + "=" + script_->command());
    ASSERT_TRUE(spec.ok()) << spec.status();
    runner_ = std::make_unique<Runner>(*std::move(spec), start_timeout_ms);
  }
  std::string Run(std::string_view payload = "") { return runner_->Run(task_, payload).payload; }
  template <typename Error>
  std::string Message(std::string_view payload = "") {
    try {
      return "it returned " + Run(payload);
    } catch (const Error& error) {
      return error.what();
    } catch (const std::exception& error) {
      return std::string("it threw another: ") + error.what();
    }
  }

  Asking asking_;
  TaskContext task_;
  std::unique_ptr<RunnerScript> script_;
  std::unique_ptr<Runner> runner_;
};

TEST_F(RunnerTest, TheProgramGetsTheWholeTaskAndIsStartedOnce) {
  Use(R"py(
hello()
while got := receive():
    done(got[0], json.dumps([got[0], got[1].decode(), os.getpid()]).encode())
)py");
  task_.task_id = 18446744073709551615u;
  task_.attempt = 3;
  task_.epoch = 4;
  task_.sequence = 9007199254740993;
  task_.content_type = "text/\xffplain";
  task_.deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  const auto first = json::parse(Run("the payload"));
  EXPECT_EQ(first[0]["type"], "task");
  EXPECT_EQ(first[0]["id"], "18446744073709551615");
  EXPECT_EQ(first[0]["attempt"], 3);
  EXPECT_EQ(first[0]["epoch"], "4");
  EXPECT_EQ(first[0]["sequence"], "9007199254740993");
  EXPECT_EQ(first[0]["queue"], "q");
  EXPECT_EQ(first[0]["handler"], "x");
  EXPECT_EQ(first[0]["content_type"], "text/\xef\xbf\xbdplain");
  EXPECT_GT(first[0]["deadline_ms"], 30'000);
  EXPECT_LE(first[0]["deadline_ms"], 60'000);
  EXPECT_EQ(first[1], "the payload");
  task_.deadline = std::chrono::steady_clock::time_point::max();
  const auto second = json::parse(Run(""));
  EXPECT_FALSE(second[0].contains("deadline_ms"));
  EXPECT_EQ(second[2], first[2]);
}

TEST_F(RunnerTest, ItHasTheProtocolsDescriptorsNothingElseAndACleanState) {
  Use(R"py(
hello()
while got := receive():
    answer = {
        "fds": sorted(int(n) for n in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + n)),
        "stdin": os.readlink("/proc/self/fd/0"),
        "joinq": sorted(k + "=" + v for k, v in os.environ.items() if k.startswith("JOINQ_RUNNER_")),
        "group": os.getpgrp(),
        "status": open("/proc/self/status").read(),
    }
    done(got[0], json.dumps(answer).encode())
)py");
  const auto answer = json::parse(Run());
  EXPECT_EQ(answer["fds"], json({0, 1, 2, 3, 4}));
  EXPECT_EQ(answer["stdin"], "/dev/null");
  EXPECT_EQ(answer["joinq"], json({"JOINQ_RUNNER_IN=3", "JOINQ_RUNNER_OUT=4", "JOINQ_RUNNER_PROTOCOL=1"}));
  EXPECT_EQ(answer["group"], getpgrp());
  EXPECT_THAT(answer["status"].get<std::string>(), HasSubstr("SigBlk:\t0000000000000000"));
}

TEST_F(RunnerTest, LargePayloadsPassBothWaysAtOnce) {
  Use(R"py(
hello()
while got := receive():
    for i in range(50):
        send({"type": "progress", "id": got[0]["id"], "padding": "x" * 10000})
    done(got[0], got[1])
)py");
  const std::string large(5'000'000, 'x');
  EXPECT_TRUE(Run(large) == large);
  EXPECT_TRUE(Run("y") == "y");
}

TEST_F(RunnerTest, FailuresAreToldApart) {
  Use(R"py(
hello()
while got := receive():
    send({"type": "result", "id": got[0]["id"], "status": "failed", **json.loads(got[1])})
)py");
  try {
    Run(R"({"message":"no","detail":"because","final":true})");
    FAIL();
  } catch (const HandlerError& error) {
    EXPECT_STREQ(error.what(), "no");
    EXPECT_EQ(error.detail(), "because");
    EXPECT_TRUE(error.final());
  }
  EXPECT_EQ(Message<DecodeError>(R"({"message":"bad","kind":"bad_arguments"})"), "bad");
  EXPECT_EQ(Message<HandlerError>(R"({"message":""})"), "failed, and said no more");
  // Nobody asked it to end.
  EXPECT_EQ(Message<LimitError>(R"({"message":"late","kind":"time_limit"})"), "it threw another: late");
}

TEST_F(RunnerTest, LogProgressAndUnknownFieldsDoNotDisturb) {
  Use(R"py(
send({"type": "log", "text": "before the hello"})
hello(later="unknown")
while got := receive():
    send({"type": "log", "level": "warn", "text": "halfway\n", "later": 1})
    send({"type": "progress", "done": 1, "total": None})
    done(got[0], b"ok")
    send({"type": "log", "text": "after the result"})
)py");
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(Run(), "ok");
  EXPECT_EQ(Run(), "ok");
  runner_->Stop();
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr("info: before the hello\nwarn: halfway\n"));
}

TEST_F(RunnerTest, HearsOfHeadersAndTellsOfProgress) {
  Use(R"py(
hello()
while got := receive():
    send({"type": "progress", "id": got[0]["id"], "text": "half of " + got[0]["headers"][1][1]})
    done(got[0], b"ok")
)py");
  const HeaderView headers[] = {{"a", "1"}, {"size", "all"}};
  task_.headers = headers;
  task_.control = &asking_;
  EXPECT_EQ(Run(), "ok");
  EXPECT_EQ(asking_.progress, "half of all");
}

// What a start can fail with, and how it is said.
struct BadStart {
  const char* lines;
  const char* message;
  const char* names = "x";
};
class RunnerBadStartTest : public RunnerTest, public ::testing::WithParamInterface<BadStart> {};

TEST_P(RunnerBadStartTest, FailsTheAttemptAndNamesTheCommand) {
  Use(GetParam().lines, GetParam().names);
  for (int attempt = 0; attempt < 2; ++attempt) {
    EXPECT_THAT(Message<HandlerError>(),
                AllOf(HasSubstr("the runner `" + script_->command() + "`"), HasSubstr(GetParam().message)));
    EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "nothing is left running";
  }
}

INSTANTIATE_TEST_SUITE_P(
    Ways, RunnerBadStartTest,
    ::testing::Values(
        BadStart{"hello(protocol=2)", "speaks version 2 of the protocol, this worker version 1"},
        BadStart{"hello(handlers=['y', 'z'])", "does not serve x, which --runner names; it serves y, z"},
        BadStart{"hello(handlers=[])", "does not serve x, a.b, which --runner names; it serves nothing",
                 "x,a.b"},
        BadStart{"send({'type': 'result', 'id': '7', 'status': 'done'})", "its first message is no hello"},
        BadStart{"write(b'Starting up...\\n')", "broke the protocol: a frame claims a header of"},
        BadStart{"write(struct.pack('>II', 3, 0) + b'123')", "the header of a frame is no JSON object"},
        BadStart{"send({'type': 'hello'})", "\"protocol\" of a hello is missing"},
        BadStart{"sys.exit(3)", "did not start: it died (exit status 3)"},
        BadStart{"os.kill(os.getpid(), 9)", "did not start: it died (signal 9, SIGKILL (Killed))"},
        BadStart{"write(b'\\0'); sys.exit(0)", "did not start: it died (exit status 0)"},
        BadStart{"os.close(OUT); signal.pause()",
                 "did not start: it closed its end of the protocol's pipes"}));

TEST_F(RunnerTest, AStartThatTakesTooLongIsEnded) {
  Use("signal.pause()", "x", 300);
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_THAT(Message<HandlerError>(), AllOf(HasSubstr("no hello within 0.3 s (--runner-start-timeout)"),
                                             HasSubstr(script_->command())));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
}

TEST_F(RunnerTest, AProgramThatVanishedIsNamed) {
  runner_ = std::make_unique<Runner>(RunnerSpec{{"x"}, "/no/such/program", {"x"}, "x"}, 1000);
  EXPECT_THAT(Message<HandlerError>(), HasSubstr("cannot run /no/such/program"));
}

TEST_F(RunnerTest, AskedToEndDuringItsStartNothingBegins) {
  Use("signal.pause()");
  asking_.soft_when = script_->folder();
  task_.control = &asking_;
  EXPECT_EQ(Message<SoftTimeLimitPassed>(), "the soft time limit passed");
}

// How a program can break down in the middle of a task. `x` is the first task, the second works.
struct Breakdown {
  const char* lines;
  const char* message;
};
class RunnerBreakdownTest : public RunnerTest, public ::testing::WithParamInterface<Breakdown> {};

TEST_P(RunnerBreakdownTest, IsACrashOfTheAttemptAndTheNextTaskStartsANewOne) {
  Use(std::string("hello()\ngot = receive()\ntask = got[0]\nif got[1] == b'fine':\n    done(task, b'works')\n"
                  "else:\n    ") +
      GetParam().lines + "\nsignal.pause()");
  EXPECT_THAT(Message<RunnerCrash>("break"),
              AllOf(HasSubstr("the runner `" + script_->command() + "`"), HasSubstr(GetParam().message)));
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "nothing is left running";
  EXPECT_EQ(Run("fine"), "works");
}

INSTANTIATE_TEST_SUITE_P(
    Ways, RunnerBreakdownTest,
    ::testing::Values(
        Breakdown{"sys.exit(3)", "died (exit status 3) in the middle of a task"},
        Breakdown{"os._exit(0)", "died (exit status 0) in the middle of a task"},
        Breakdown{"os.kill(os.getpid(), signal.SIGSEGV)", "died (signal 11, SIGSEGV (Segmentation fault))"},
        Breakdown{"subprocess.Popen(['sleep', '5'], pass_fds=[OUT]); os._exit(4)", "died (exit status 4)"},
        Breakdown{"os.close(OUT)", "closed its end of the protocol's pipes in the middle of a task"},
        Breakdown{"write(b'print debugging')", "a frame claims a header of 1886546286 bytes"},
        Breakdown{"write(struct.pack('>II', 2, 0xffffffff))", "at most 16777216 are allowed"},
        Breakdown{"write(struct.pack('>II', 4, 0) + b'nope')", "no JSON object; it begins with \"nope\""},
        Breakdown{"send({'type': 'results'})", "no message has the type \"results\""},
        Breakdown{"send({'type': 'result', 'id': task['id'], 'status': 'ok'})",
                  "neither \"done\" nor \"failed\""},
        Breakdown{"done({'id': '6'})", "a result of task \"6\" while task 7 runs"},
        Breakdown{"hello()", "a second hello"}));

TEST_F(RunnerTest, AResultBeforeTheWholeTaskWasReadBreaksTheProtocol) {
  Use(R"py(
hello()
exactly(8)
done({"id": "7"})
signal.pause()
)py");
  EXPECT_THAT(Message<RunnerCrash>(std::string(3'000'000, 'x')),
              HasSubstr("before it had read the whole task"));
}

TEST_F(RunnerTest, ReadingNoMoreInTheMiddleOfATaskIsSeen) {
  Use(R"py(
hello()
exactly(8)
os.close(IN)
signal.pause()
)py");
  EXPECT_THAT(Message<RunnerCrash>(std::string(3'000'000, 'x')),
              HasSubstr("closed its end of the protocol's pipes"));
}

TEST_F(RunnerTest, AResultWrittenJustBeforeDeathCounts) {
  Use(R"py(
hello()
done(receive()[0], b"x" * 200000)
os._exit(9)
)py");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Run().size(), 200'000u);
}

TEST_F(RunnerTest, DeathBetweenTasksCostsNobodyAnything) {
  Use(R"py(
hello()
done(receive()[0], str(os.getpid()).encode())
signal.pause()
)py");
  const std::string first = Run();
  const pid_t pid = std::stoi(first);
  kill(pid, SIGKILL);
  siginfo_t info;
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT), 0);
  EXPECT_NE(Run(), first);
}

TEST_F(RunnerTest, WhoEndsWithoutReadingATaskIsStartedOnceMoreAndThenCrashes) {
  Use(R"py(
hello()
done(receive()[0], b"once")
os._exit(0)
)py");
  // Its death may be seen before the next task is sent, or after.
  for (int i = 0; i < 20; ++i) ASSERT_EQ(Run(), "once");
  Use("hello()");
  EXPECT_THAT(Message<RunnerCrash>(), HasSubstr("ends after its hello, without reading a task"));
}

TEST_F(RunnerTest, AResultThatNobodyWaitsForEndsTheProgramAndNoOtherTask) {
  Use(R"py(
hello()
task = receive()[0]
head = json.dumps({"type": "result", "id": task["id"], "status": "done"}).encode()
pid = str(os.getpid()).encode()
write((struct.pack(">II", len(head), len(pid)) + head + pid) * 2)
signal.pause()
)py");
  const std::string first = Run();
  EXPECT_NE(Run(), first);
}

TEST_F(RunnerTest, ACancelledTaskIsToldSoAndTheProgramMayEndItInOrder) {
  Use(R"py(
hello()
while got := receive():
    if got[0]["type"] == "task":
        task = got[0]
        open(folder + "/begun", "w").close()
        send({"type": "progress"})
    else:
        done(task, json.dumps(got[0]).encode())
)py");
  asking_.cancel_when = script_->folder() + "/begun";
  task_.control = &asking_;
  EXPECT_EQ(json::parse(Run()), json({{"type", "cancel"}, {"id", "7"}, {"reason", "cancelled"}}));
}

TEST_F(RunnerTest, WhoWantsItGetsASignalBehindTheCancelAndMaySayThatItsTimeWasPast) {
  Use(R"py(
def interrupted(*_):
    send({"type": "result", "id": task["id"], "status": "failed", "message": receive()[0]["reason"],
          "kind": "time_limit"})
signal.signal(signal.SIGUSR1, interrupted)
hello(signal=True)
task = receive()[0]
open(folder + "/begun", "w").close()
send({"type": "progress"})
while True: signal.pause()
)py");
  asking_.soft_when = script_->folder() + "/begun";
  task_.control = &asking_;
  EXPECT_EQ(Message<LimitError>(), "soft_time_limit");
}

TEST_F(RunnerTest, StoppedItIsToldToShutDownAndMayTidyUp) {
  Use(R"py(
hello()
while got := receive():
    if got[0]["type"] == "shutdown":
        break
    done(got[0])
open(folder + "/tidied", "w").write(f"{receive()}")
)py");
  Run();
  runner_->Stop();
  EXPECT_EQ(script_->Read("tidied"), "None") << "its input ends after the shutdown";
}

TEST_F(RunnerTest, WhoDoesNotShutDownIsKilledAfterASecond) {
  Use("signal.signal(signal.SIGTERM, signal.SIG_IGN)\nhello()\ndone(receive()[0])\nwhile True: "
      "signal.pause()");
  Run();
  const auto begin = std::chrono::steady_clock::now();
  runner_->Stop();
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::seconds(1));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
}

TEST(ParseRunnerTest, SaysWhatIsWrong) {
  const auto good = ParseRunner("a,b.c='python3' -u 'my handlers.py'");
  ASSERT_TRUE(good.ok()) << good.status();
  EXPECT_THAT(good->names, ::testing::ElementsAre("a", "b.c"));
  EXPECT_EQ(good->command, "python3 -u my handlers.py");
  auto message = [](const char* text) { return std::string(ParseRunner(text).status().message()); };
  EXPECT_THAT(message("python3"), HasSubstr("NAME[,NAME...]="));
  EXPECT_THAT(message("=python3"), HasSubstr("handler name: must not be empty"));
  EXPECT_THAT(message("a,,b=python3"), HasSubstr("must not be empty"));
  EXPECT_THAT(message("a b=python3"), HasSubstr("0x20"));
  EXPECT_THAT(message("a="), HasSubstr("names no program"));
  EXPECT_THAT(message("a='x"), HasSubstr("unclosed"));
  EXPECT_THAT(message("a=no-such-program-at-all"), HasSubstr("no-such-program-at-all"));
}

}  // namespace
}  // namespace joinq
