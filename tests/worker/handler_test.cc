// Typed handlers (joinq/worker.h) and programs as handlers.
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>

#include "joinq/worker.h"
#include "worker/child/exec_handler.h"
#include "worker/child/module.h"
#include "worker/child/registry.h"

namespace joinq {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using worker_internal::MakeHandler;

HandlerResult Call(const Handler& handler, std::string_view payload, std::string_view type) {
  TaskContext task;
  task.task_id = 42;
  task.attempt = 2;
  task.queue = "q";
  task.handler = "h";
  task.content_type = type;
  return handler(task, payload);
}

template <typename Error, typename F>
std::string Message(F call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

int Free(int a) {
  return -a;
}

TEST(TypedHandlerTest, Msgpack) {
  auto add = MakeHandler([](int a, int b) { return a + b; });
  auto result = Call(add, PackArgs(1, 2), kMsgpackType);
  EXPECT_EQ(UnpackResult<int>(result.payload), 3);
  EXPECT_EQ(result.content_type, kMsgpackType);
  EXPECT_EQ(UnpackResult<int>(Call(MakeHandler(&Free), PackArgs(7), kMsgpackType).payload), -7);
  auto text = MakeHandler([](std::string_view s) { return s.substr(1); });
  EXPECT_EQ(UnpackResult<std::string>(Call(text, PackArgs("abc"), kMsgpackType).payload), "bc");
  auto nothing = MakeHandler([] {});
  EXPECT_EQ(Call(nothing, PackArgs(), kMsgpackType).payload, PackVoid());
  auto bytes = MakeHandler([](const Bytes& b) { return b; });
  EXPECT_EQ(
      UnpackResult<Bytes>(Call(bytes, PackArgs(Bytes{std::string("\0\xff", 2)}), kMsgpackType).payload).data,
      std::string("\0\xff", 2));
}

TEST(TypedHandlerTest, RawBytes) {
  auto upper = MakeHandler([](std::string s) { return s + "!"; });
  EXPECT_EQ(Call(upper, "x\xff", "").payload, "x\xff!");
  EXPECT_EQ(Call(upper, "x", "").content_type, "");
  auto size = MakeHandler([](std::string_view s) { return s.size(); });
  EXPECT_EQ(Call(size, "four", "").payload, "4");
  auto bytes = MakeHandler([](Bytes b) { return b; });
  EXPECT_EQ(Call(bytes, "\xfe", "").payload, "\xfe");
}

TEST(TypedHandlerTest, JsonTextForTypedArguments) {
  auto add = MakeHandler([](int a, int b) { return a + b; });
  EXPECT_EQ(Call(add, "[1, 2]", "").payload, "3");
  EXPECT_EQ(Call(add, "[1, 2]", "").content_type, "");
  EXPECT_EQ(Call(MakeHandler([] { return std::vector<int>{1, 2}; }), "", "").payload, "[1,2]");
  EXPECT_EQ(Call(MakeHandler([](int) {}), "[1]", "").payload, "");
  EXPECT_THAT(Message<DecodeError>([&] { Call(add, "hello", ""); }), HasSubstr("not a JSON array"));
  EXPECT_THAT(Message<DecodeError>([&] { Call(add, "[1]", ""); }), HasSubstr("takes 2 argument(s), got 1"));
  EXPECT_THAT(Message<DecodeError>([&] { Call(add, "[1, 2.5]", ""); }), HasSubstr("argument 2"));
}

TEST(TypedHandlerTest, BadArguments) {
  auto add = MakeHandler([](int a, int b) { return a + b; });
  EXPECT_THAT(Message<DecodeError>([&] { Call(add, PackArgs(1), kMsgpackType); }), HasSubstr("got 1"));
  EXPECT_THAT(Message<DecodeError>([&] { Call(add, PackArgs(1, "x"), kMsgpackType); }),
              HasSubstr("argument 2"));
  EXPECT_THAT(Message<DecodeError>([&] { Call(add, PackArgs(1, 1ll << 40), kMsgpackType); }),
              HasSubstr("range"));
  EXPECT_THAT(Message<DecodeError>([&] { Call(add, "\xc1", kMsgpackType); }), HasSubstr("MessagePack"));
  EXPECT_THAT(Message<DecodeError>([&] { Call(add, "", "text/csv"); }), HasSubstr("text/csv"));
}

TEST(TypedHandlerTest, ContextIsNoArgument) {
  auto handler =
      MakeHandler([](const TaskContext& task, int x) { return static_cast<int>(task.task_id) + x; });
  EXPECT_EQ(UnpackResult<int>(Call(handler, PackArgs(1), kMsgpackType).payload), 43);
  auto only = MakeHandler([](const TaskContext& task) { return task.attempt; });
  EXPECT_EQ(UnpackResult<uint32_t>(Call(only, PackArgs(), kMsgpackType).payload), 2u);
  auto raw = MakeHandler(
      [](const TaskContext& task, std::string_view s) { return std::string(task.queue) + std::string(s); });
  EXPECT_EQ(Call(raw, "!", "").payload, "q!");
}

TEST(RegistryTest, RefusesBadAndTakenNames) {
  Registry registry;
  AddBuiltinHandlers(registry);
  EXPECT_THAT(registry.names(), ElementsAre("joinq.noop", "joinq.echo"));
  EXPECT_TRUE(registry.error().ok());
  registry.Add("joinq.echo", {});
  EXPECT_THAT(std::string(registry.error().message()), HasSubstr("registered twice"));
  EXPECT_EQ(registry.size(), 2u);
  Registry other;
  other.Add("a b", {});
  EXPECT_FALSE(other.error().ok());
  EXPECT_EQ(other.size(), 0u);
  auto echoed = Call(registry.handler(1), "x", "anything");
  EXPECT_EQ(echoed.payload, "x");
  EXPECT_EQ(echoed.content_type, "anything");
}

TEST(SplitCommandTest, Quoting) {
  EXPECT_THAT(*SplitCommand("a  b\tc"), ElementsAre("a", "b", "c"));
  EXPECT_THAT(*SplitCommand(R"(a 'b  "c' "d 'e" f\ g "\"\\\n" '')"),
              ElementsAre("a", "b  \"c", "d 'e", "f g", "\"\\\\n", ""));
  for (const char* bad : {"", "  ", "'a", "\"a", "a\\", "''"}) EXPECT_FALSE(SplitCommand(bad).ok()) << bad;
}

TEST(ParseExecTest, SaysWhatIsWrong) {
  EXPECT_TRUE(ParseExec("up=tr a-z A-Z").ok());
  auto message = [](const char* text) { return std::string(ParseExec(text).status().message()); };
  EXPECT_THAT(message("tr"), HasSubstr("NAME="));
  EXPECT_THAT(message("=tr"), HasSubstr("empty"));
  EXPECT_THAT(message("a b=tr"), HasSubstr("0x20"));
  EXPECT_THAT(message("a="), HasSubstr("names no program"));
  EXPECT_THAT(message("a='x"), HasSubstr("unclosed"));
  EXPECT_THAT(message("a=no-such-program-at-all x"), HasSubstr("no-such-program-at-all"));
  EXPECT_THAT(message("a=/etc/passwd"), HasSubstr("not an executable"));
}

class ExecTest : public ::testing::Test {
 protected:
  ExecTest() { signal(SIGPIPE, SIG_IGN); }
  // Every run must have been reaped.
  ~ExecTest() override { EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1); }
  static std::string Run(const std::string& command, std::string_view input = "") {
    auto spec = ParseExec("x=" + command);
    if (!spec.ok()) throw std::runtime_error(std::string(spec.status().message()));
    return Call(MakeExecHandler(*std::move(spec)), input, "").payload;
  }
};

TEST_F(ExecTest, PayloadInResultOut) {
  EXPECT_EQ(Run("tr a-z A-Z", "hello"), "HELLO");
  EXPECT_EQ(Run("echo 'a b'"), "a b\n");
  const std::string large(700'000, 'x');
  EXPECT_EQ(Run("cat", large), large);
}

TEST_F(ExecTest, InputNeedNotBeRead) {
  const std::string large(5'000'000, 'x');
  EXPECT_EQ(Run("true", large), "");
  EXPECT_EQ(Run("sh -c 'exec <&-; echo done'", large), "done\n");
}

TEST_F(ExecTest, TooMuchOutputIsAnError) {
  try {
    Run("head -c 3000000 /dev/zero");
    FAIL();
  } catch (const HandlerError& error) {
    EXPECT_THAT(error.what(), HasSubstr("more than 1048576 bytes"));
    EXPECT_TRUE(error.final());
  }
  EXPECT_EQ(Run("head -c 1048576 /dev/zero").size(), 1048576u);
}

TEST_F(ExecTest, StatusAndTailOfStderr) {
  try {
    Run("sh -c 'head -c 100000 /dev/zero >&2; echo last words >&2; exit 3'");
    FAIL();
  } catch (const HandlerError& error) {
    EXPECT_STREQ(error.what(), "exit status 3");
    EXPECT_EQ(error.detail().size(), kStderrTailBytes);
    EXPECT_TRUE(error.detail().ends_with("last words\n"));
    EXPECT_FALSE(error.final());
  }
  EXPECT_THAT(Message<HandlerError>([] { Run("sh -c 'kill -TERM $$'"); }), HasSubstr("killed by signal 15"));
}

TEST_F(ExecTest, AProgramThatLeavesAnotherBehindDoesNotHang) {
  EXPECT_EQ(Run("sh -c 'sleep 30 & echo $! >&2; echo out'"), "out\n");
}

TEST_F(ExecTest, Environment) {
  EXPECT_EQ(Run("sh -c 'echo $JOINQ_TASK_ID $JOINQ_TASK_ATTEMPT $JOINQ_TASK_QUEUE $JOINQ_TASK_HANDLER'"),
            "42 2 q h\n");
  EXPECT_EQ(Run("sh -c 'ls /proc/self/fd | wc -l'"), "6\n");  // 0 to 4 and the folder
}

TEST_F(ExecTest, ProgramThatVanished) {
  ExecSpec spec{"x", "/no/such/program", {"x"}};
  EXPECT_THAT(Message<HandlerError>([&] { Call(MakeExecHandler(spec), "", ""); }),
              HasSubstr("cannot run /no/such/program"));
}

}  // namespace
}  // namespace joinq
