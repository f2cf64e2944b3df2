// The command line on a live broker, as scripts use it.
#include <gmock/gmock.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tests/support/programs.h"

namespace joinq::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

struct CliTest : ::testing::Test {
  Finished Joinq(std::vector<std::string> words, const std::string& input = "") {
    words.insert(words.begin(), {"joinq", "-u", broker.url()});
    return RunProgram(std::move(words), input);
  }
  // A failure is one line that starts with the program's name and contains `text`.
  void ExpectError(const Finished& run, int status, const std::string& text) {
    EXPECT_EQ(run.status, status) << run.errors;
    EXPECT_EQ(run.errors.rfind("joinq: ", 0), 0u) << run.errors;
    EXPECT_EQ(std::count(run.errors.begin(), run.errors.end(), '\n'), 1) << run.errors;
    EXPECT_THAT(run.errors, HasSubstr(text));
  }
  BrokerProcess broker;
};

TEST_F(CliTest, AQueueFromPutToJoin) {
  EXPECT_EQ(Joinq({"queue", "create", "q", "--maxsize", "5"}).status, 0);
  EXPECT_EQ(Joinq({"put", "q", "a", "b"}).output, "1\n2\n");
  EXPECT_EQ(Joinq({"put", "q", "-"}, "c\nd\n").output, "3\n4\n");
  const json got = json::parse(Joinq({"get", "q", "--json"}).output);
  EXPECT_EQ(got["id"], 1);
  EXPECT_EQ(got["payload"], "a");
  EXPECT_EQ(got["attempt"], 1);
  EXPECT_EQ(Joinq({"get", "q", "--ack"}).output, "b\n");
  json stats = json::parse(Joinq({"queue", "stats", "q", "--json"}).output);
  for (const char* key : {"name", "size", "ready", "delayed", "leased", "unfinished", "maxsize", "closed",
                          "put_total", "done_total", "dead", "oldest_ready_ms"}) {
    EXPECT_TRUE(stats.contains(key)) << key;
  }
  EXPECT_EQ(stats["unfinished"], 3);
  EXPECT_EQ(stats["maxsize"], 5);
  EXPECT_EQ(stats["done_total"], 1);
  ExpectError(Joinq({"join", "q", "--timeout", "0.1"}), 124, "unfinished");
  EXPECT_EQ(Joinq({"done", "q", got["lease"].get<std::string>()}).status, 0);
  EXPECT_EQ(Joinq({"done", "q", got["lease"].get<std::string>()}).status, 0) << "a repeated done is fine";
  const json second = json::parse(Joinq({"get", "q", "--json"}).output);
  EXPECT_EQ(Joinq({"release", "q", second["lease"].get<std::string>()}).status, 0);
  ExpectError(Joinq({"fail", "q", second["lease"].get<std::string>()}), 1, "stale lease");
  const json again = json::parse(Joinq({"get", "q", "--json"}).output);
  EXPECT_EQ(again["payload"], "c");
  EXPECT_EQ(again["attempt"], 2);
  EXPECT_EQ(Joinq({"fail", "q", again["lease"].get<std::string>(), "--error", "no"}).status, 0);
  EXPECT_EQ(Joinq({"queue", "close", "q"}).status, 0);
  ExpectError(Joinq({"put", "q", "late"}), 1, "joinq: queue \"q\" is closed: it takes no more puts");
  ExpectError(Joinq({"submit", "h", "x", "-Q", "q", "--wait"}), 1,
              "joinq: queue \"q\" is closed: it takes no more puts");
  EXPECT_EQ(Joinq({"get", "q", "--ack"}).output, "d\n");
  ExpectError(Joinq({"get", "q", "--timeout", "1"}), 1, "closed");
  EXPECT_EQ(Joinq({"join", "q", "--timeout", "5"}).status, 0);
  EXPECT_EQ(Joinq({"queue", "delete", "q"}).status, 0);
  EXPECT_EQ(Joinq({"queue", "list", "--json"}).output.find("\"q\""), std::string::npos);
}

TEST_F(CliTest, SubmitWaitResultAndFailure) {
  Program worker = StartWorker(broker.url(), "q",
                               {"--exec", "upper=tr a-z A-Z", "--exec", "bad=sh -c 'echo why >&2; exit 3'"});
  EXPECT_EQ(Joinq({"submit", "upper", "hello", "-Q", "q", "--wait"}).output, "HELLO\n");
  EXPECT_EQ(Joinq({"submit", "upper", "-", "-Q", "q", "--wait"}, "from stdin").output, "FROM STDIN\n");
  std::string id = Joinq({"submit", "upper", "later", "-Q", "q"}).output;
  id.pop_back();
  EXPECT_EQ(Joinq({"result", id, "--wait", "10"}).output, "LATER\n");
  const Finished bad = Joinq({"submit", "bad", "x", "-Q", "q", "--wait"});
  EXPECT_EQ(bad.status, 1);
  EXPECT_THAT(bad.errors, HasSubstr("exit status 3"));
  EXPECT_THAT(bad.errors, HasSubstr("why"));
  const Finished unknown = Joinq({"submit", "nope", "x", "-Q", "q", "--wait"});
  EXPECT_EQ(unknown.status, 1);
  EXPECT_THAT(unknown.errors, HasSubstr("no handler \"nope\""));
  EXPECT_EQ(Joinq({"submit", "add", "[40,2]", "-Q", "q", "--wait"}).output, "42\n");
  const Finished map = Joinq({"map", "bad", "-Q", "q"}, "1\n2\n3\n");
  EXPECT_EQ(map.status, 1);
  EXPECT_THAT(map.errors, HasSubstr("3 of 3"));
  EXPECT_THAT(Joinq({"worker", "list", "--json"}).output, HasSubstr("upper"));
}

TEST_F(CliTest, TheDefaultQueueNeedsNoNaming) {
  Program worker = StartWorker(broker.url(), "default", {"--exec", "upper=tr a-z A-Z"});
  EXPECT_EQ(Joinq({"submit", "upper", "hello", "--wait"}).output, "HELLO\n");
  EXPECT_EQ(Joinq({"map", "upper"}, "a\nb\n").output, "A\nB\n");
  const Finished bench = Joinq({"bench", "--tasks", "50", "--warmup", "0"});
  EXPECT_EQ(bench.status, 0) << bench.errors;
}

TEST_F(CliTest, APutThatFindsNoRoomTellsWhatItStored) {
  EXPECT_EQ(Joinq({"queue", "create", "full", "--maxsize", "2"}).status, 0);
  Finished put = Joinq({"put", "full", "a", "b", "c", "--timeout", "0.3"});
  EXPECT_EQ(put.output, "1\n2\n");
  ExpectError(put, 124, "2 of 3 put: queue \"full\" is full");
  EXPECT_EQ(Joinq({"get", "full", "--ack"}).output, "a\n");
  put = Joinq({"put", "full", "-", "--no-wait"}, "d\ne\n");
  EXPECT_EQ(std::count(put.output.begin(), put.output.end(), '\n'), 1) << put.output;
  ExpectError(put, 124, "1 of 2 put: queue \"full\" is full");
  EXPECT_EQ(Joinq({"get", "full", "--ack", "-n", "9"}).output, "b\nd\n");
}

TEST_F(CliTest, GetOfManyEndsWhenTheQueueIsEmpty) {
  EXPECT_EQ(Joinq({"queue", "create", "q"}).status, 0);
  EXPECT_EQ(Joinq({"put", "q", "a", "b", "c"}).status, 0);
  const auto began = std::chrono::steady_clock::now();
  EXPECT_EQ(Joinq({"get", "q", "-n", "2"}).output, "a\nb\n");
  EXPECT_EQ(Joinq({"get", "q", "-n", "5"}).output, "c\n");
  EXPECT_EQ(Joinq({"put", "q", "d", "e"}).status, 0);
  EXPECT_EQ(Joinq({"get", "q", "-n", "5", "--ack", "--timeout", "25"}).output, "d\ne\n");
  EXPECT_LT(std::chrono::steady_clock::now() - began, 20s);
  ExpectError(Joinq({"get", "q", "-n", "5", "--timeout", "0.1"}), 124, "empty");
}

TEST_F(CliTest, BadInputIsOneLineAndTheRightStatus) {
  for (const std::vector<std::string>& words : {std::vector<std::string>{"put", "nope", "x"},
                                                {"get", "nope"},
                                                {"join", "nope"},
                                                {"queue", "stats", "nope"},
                                                {"submit", "h", "x", "-Q", "nope"},
                                                {"submit", "h", "x", "-Q", "nope", "--wait"},
                                                {"map", "h", "-Q", "nope"}}) {
    const Finished run = Joinq(words);
    EXPECT_EQ(run.status, 1) << words[0];
    EXPECT_EQ(run.errors, "joinq: no queue \"nope\"\n") << words[0];
  }
  ExpectError(Joinq({"result", "77"}), 1, "joinq: no task 77");
  ExpectError(Joinq({"queue", "create", "a b"}), 2, "0x20");
  ExpectError(Joinq({"bogus"}), 2, "bogus");
  ExpectError(Joinq({"queue", "bogus"}), 2, "bogus");
  ExpectError(Joinq({"queue", "list", "--bogus"}), 2, "--bogus");
  EXPECT_EQ(Joinq({"queue", "create", "q"}).status, 0);
  ExpectError(Joinq({"queue", "create", "neg", "--maxsize", "-1"}), 2, "--maxsize");
  ExpectError(Joinq({"queue", "stats", "neg"}), 1, "neg");
  for (const char* time : {"-1", "nan", "inf", "abc", "99999999999"}) {
    ExpectError(Joinq({"get", "q", "--timeout", time}), 2, "--timeout");
  }
  for (const char* lease : {"", "x", "1-2", "1-2-3-4", "1-2-x", "-1-2-3"}) {
    EXPECT_EQ(Joinq({"done", "q", lease}).status, 2) << lease;
  }
  ExpectError(Joinq({"done", "q", "999-1-1"}), 1, "stale lease");
  ExpectError(Joinq({"put", "q", "-"}, std::string((1 << 20) + 1, 'x') + "\n"), 2, "1048576");
  ExpectError(Joinq({"get", "q", "--timeout", "0"}), 124, "empty");
  EXPECT_EQ(Joinq({"queue", "create", "full", "--maxsize", "1"}).status, 0);
  EXPECT_EQ(Joinq({"put", "full", "x"}).status, 0);
  ExpectError(Joinq({"put", "full", "y", "--timeout", "0.1"}), 124, "full");
  ExpectError(RunProgram({"joinq", "-u", "127.0.0.1:1", "--connect-timeout", "0.3", "queue", "list"}), 3,
              "127.0.0.1:1");
  const json stats = json::parse(Joinq({"queue", "stats", "q", "--json"}).output);
  EXPECT_EQ(stats["put_total"], 0) << "something was changed";
}

TEST_F(CliTest, TheBenchmarkMeasuresAndLeavesNothingBehind) {
  const Finished bench = RunProgram(
      {"joinq", "bench", "--self", "--tasks", "2000", "--size", "100", "--memory", "--json"}, "", 60s);
  ASSERT_EQ(bench.status, 0) << bench.errors;
  const json figures = json::parse(bench.output);
  EXPECT_EQ(figures["tasks"], 2000);
  EXPECT_EQ(figures["durability"], "memory");
  for (const char* key : {"seconds", "tasks_per_s", "p50_us", "p99_us"})
    EXPECT_GT(figures[key].get<double>(), 0) << key;
  EXPECT_GE(figures["p99_us"].get<double>(), figures["p50_us"].get<double>());
}

}  // namespace
}  // namespace joinq::testing
