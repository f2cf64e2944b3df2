// The tool as scripts use it: exit statuses, one line on stderr, what is printed.
#include <gmock/gmock.h>
#include <joinq/client.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>

#include "common/names.h"
#include "common/rpc_status.h"
#include "tests/client/cli_fixture.h"
#include "tests/client/fake_broker.h"

namespace joinq::test {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

TEST_F(CliTest, UsageErrors) {
  ExpectError(Run({}), 2, "command");
  ExpectError(Run({"frob"}), 2, "\"frob\"");
  ExpectError(Run({"queue"}), 2, "verb");
  ExpectError(Run({"queue", "frob", "x"}), 2, "\"frob\"");
  ExpectError(Run({"put"}), 2, "QUEUE");
  ExpectError(Run({"get", "q", "--frob"}), 2, "--frob");
  ExpectError(Run({"get", "q", "--timeout"}), 2, "--timeout");
  ExpectError(Run({"get", "q", "--timeout", "soon"}), 2, "--timeout");
  ExpectError(Run({"get", "q", "--timeout", "-1"}), 2, "-1");
  ExpectError(Run({"get", "q", "--timeout", "nan"}), 2, "nan");
  ExpectError(Run({"get", "q", "--timeout", "1e99"}), 2, "too long");
  ExpectError(Run({"get", "q", "--lease=-2"}), 2, "--lease");
  ExpectError(Run({"get", "q", "-n", "0"}), 2, "--count");
  ExpectError(Run({"get", "a b"}), 2, "0x20");
  ExpectError(Run({"put", "q", "x", "--delay", "inf"}), 2, "--delay");
  ExpectError(Run({"put", "q", "x", "-H", "nonsense"}), 2, "nonsense");
  ExpectError(Run({"put", "q", "x", "--no-wait", "--timeout", "1"}), 2, "--no-wait");
  ExpectError(Run({"join", "q", "--timeout", "-0.5"}), 2, "--timeout");
  ExpectError(Run({"done", "q", "nonsense"}), 2, "\"nonsense\"");
  ExpectError(Run({"fail", "q", "1-2"}), 2, "\"1-2\"");
  ExpectError(Run({"result", "twelve"}), 2, "twelve");
  ExpectError(Run({"queue", "create", "q", "--maxsize", "many"}), 2, "many");
  ExpectError(Run({"-u", "host:port", "queue", "list"}), 2, "port");
  ExpectError(Run({"bench", "--memory"}), 2, "--self");
  ExpectError(Run({"--config", "/nowhere", "queue", "list"}), 2, "/nowhere");
}

TEST_F(CliTest, UnsignedOptionsTakeWholeNumbersOnly) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> options = {
      {"--maxsize", {"queue", "create", "q", "--maxsize"}},
      {"--count", {"get", "q", "-n"}},
      {"--max-attempts", {"put", "q", "x", "--max-attempts"}},
      {"--max-crashes", {"submit", "h", "x", "--max-crashes"}},
      {"--window", {"map", "h", "--window"}},
      {"ID", {"result"}},
      {"--tasks", {"bench", "--self", "--tasks"}},
      {"--size", {"bench", "--self", "--size"}},
      {"--window", {"bench", "--self", "--window"}},
      {"--warmup", {"bench", "--self", "--warmup"}},
  };
  for (const auto& [name, words] : options) {
    for (const std::string value : {"-1", "-5", "1e3", "1.5", "+1", "0x10", "7 ", "99999999999999999999"}) {
      auto args = words;
      args.push_back(value);
      ExpectError(Run(args), 2, name + ": must be a whole number from ");
      ExpectError(Run(args), 2, "not \"" + value + "\"");
    }
  }
  ExpectError(Run({"get", "q"}, {}, {"JOINQ_COUNT=-1"}), 2, "--count");
  std::ofstream(dir_ + "/conf") << "[get]\ncount = -1\n";
  ExpectError(Run({"get", "q", "--config", dir_ + "/conf"}), 2, "--count");
  ExpectError(Run({"map", "h", "--window", "0"}), 2, "--window");
  ExpectError(Run({"put", "q", "x", "--max-attempts", "1001"}), 2, "1000");
  FakeBroker broker;
  const auto put = Run({"put", "q", "x", "-u", broker.url(), "--max-attempts", "010"});
  EXPECT_EQ(put.status, 0) << put.err;
  EXPECT_EQ(broker.requests(0)[1].groups(0).options().max_attempts(), 10u) << "taken for octal";
}

TEST_F(CliTest, Help) {
  EXPECT_EQ(Run({"--help"}).status, 0);
  EXPECT_THAT(Run({"put", "--help"}).out, HasSubstr("--max-attempts"));
  EXPECT_THAT(Run({"--version"}).out, StartsWith("joinq "));
}

TEST_F(CliTest, NoBrokerIsThree) {
  int port;
  { port = FakeBroker().port(); }
  const std::string url = "127.0.0.1:" + std::to_string(port);
  for (const std::vector<std::string>& command : {std::vector<std::string>{"queue", "list"},
                                                  {"put", "q", "x"},
                                                  {"get", "q"},
                                                  {"join", "q"},
                                                  {"health"},
                                                  {"submit", "h", "x", "-Q", "q", "--wait"},
                                                  {"worker", "list"},
                                                  {"result", "1"},
                                                  {"done", "q", "1-2-3"}}) {
    auto args = command;
    args.insert(args.end(), {"-u", url, "--connect-timeout", "0.3"});
    ExpectError(Run(args), 3, url);
  }
}

TEST_F(CliTest, FlagsWinOverEnvironmentOverFileOverDefault) {
  FakeBroker broker;
  std::ofstream(dir_ + "/conf") << "url = \"" << broker.url() << "\"\n[get]\ntimeout = 0.01\n";
  const std::string config = dir_ + "/conf";
  const std::string nowhere = "127.0.0.1:1";
  EXPECT_EQ(Run({"health", "--config", config}).status, 0);
  EXPECT_EQ(Run({"health"}, {}, {"JOINQ_CONFIG=" + config}).status, 0);
  EXPECT_EQ(Run({"health", "--config", config}, {}, {"JOINQ_URL=" + nowhere}).status, 3);
  EXPECT_EQ(Run({"health", "-u", broker.url()}, {}, {"JOINQ_URL=" + nowhere}).status, 0);
  EXPECT_EQ(Run({"get", "q", "--config", config}).status, 124);
  ExpectError(Run({"get", "q", "--config", config}, {}, {"JOINQ_TIMEOUT=-3"}), 2, "-3");
  std::ofstream(config) << "frob = 1\n";
  ExpectError(Run({"health", "--config", config}), 2, "frob");
}

TEST_F(CliTest, PutPrintsIdsInOrder) {
  FakeBroker broker;
  EXPECT_EQ(Run({"put", "q", "a", "b", "-u", broker.url()}).out, "1001\n1002\n");
  EXPECT_EQ(Run({"put", "q", "-", "-u", broker.url(), "--json"}, "x\n\nlast").out,
            "{\"id\":1001}\n{\"id\":1002}\n{\"id\":1003}\n");
  const auto tasks = TasksOf(broker.requests(1));
  ASSERT_EQ(tasks.size(), 3u);
  EXPECT_EQ(tasks[1].payload(), "");
  EXPECT_EQ(tasks[2].payload(), "last");
  const auto put = Run({"put", "q", "x", "-u", broker.url(), "--handler", "h", "-H", "a: b", "--delay", "1.5",
                        "--max-attempts", "3", "--timeout", "2"});
  EXPECT_EQ(put.status, 0) << put.err;
  const auto group = broker.requests(2)[1].groups(0);
  EXPECT_EQ(group.handler(), "h");
  EXPECT_EQ(group.options().delay_ms(), 1500u);
  EXPECT_EQ(group.options().max_attempts(), 3u);
  EXPECT_EQ(group.timeout_ms(), 2000u);
  EXPECT_EQ(group.tasks(0).headers(0).value(), "b");
  const auto large =
      Run({"put", "q", "-", "-u", broker.url()}, std::string(kPayloadBytesMaxDefault * 4, 'x'));
  ExpectError(large, 2, "bytes");
}

TEST_F(CliTest, PutPrintsTheIdsOfWhatWasPutBeforeItsError) {
  FakeBroker broker;
  broker.set_on_request([](int, const v1::ProduceRequest& request, FakeBroker::Stream* out) {
    v1::ProduceResponse response;
    for (const auto& task : TasksOf(request)) {
      if (task.payload() == "bad") {
        auto* error = response.add_errors();
        error->set_tag(task.tag());
        error->set_code(static_cast<int>(absl::StatusCode::kDeadlineExceeded));
        continue;
      }
      auto* ack = response.add_acks();
      ack->set_first_tag(task.tag());
      ack->set_first_task_id(task.tag() + kIdOffset);
      ack->set_count(1);
    }
    return response.acks_size() + response.errors_size() == 0 || out->Write(response);
  });
  const auto put = Run({"put", "q", "a", "bad", "c", "bad", "-u", broker.url()});
  EXPECT_EQ(put.status, 124);
  EXPECT_EQ(put.out, "1001\n1003\n");
  EXPECT_EQ(put.err, "joinq: 2 of 4 put: queue \"q\" is full\n");
  const auto lines = Run({"put", "q", "-", "--json", "-u", broker.url()}, "a\nb\nbad\n");
  EXPECT_EQ(lines.status, 124);
  EXPECT_EQ(lines.out, "{\"id\":1001}\n{\"id\":1002}\n");
  EXPECT_EQ(lines.err, "joinq: 2 of 3 put: queue \"q\" is full\n");
  std::string many;
  for (int i = 0; i < 10'000; ++i) many += i == 5000 ? "bad\n" : "x\n";
  const auto batches = Run({"put", "q", "-", "-u", broker.url()}, many);
  EXPECT_EQ(batches.err, "joinq: 8191 of 8192 put: queue \"q\" is full\n") << "not of the lines read so far";
  EXPECT_EQ(std::count(batches.out.begin(), batches.out.end(), '\n'), 8191);
  ExpectError(Run({"put", "q", "bad", "-u", broker.url()}), 124, "joinq: queue \"q\" is full");
}

TEST_F(CliTest, GetPrintsPayloadsOrJson) {
  FakeBroker broker;
  std::string payload = "text";
  std::string type;
  broker.on_get = [&](const v1::GetRequest& request, v1::GetResponse* response) {
    auto* task = response->add_tasks();
    task->set_task_id(12);
    if (!request.ack()) {
      task->mutable_lease()->set_task_id(12);
      task->mutable_lease()->set_epoch(1);
      task->mutable_lease()->set_sequence(34);
    }
    task->set_payload(payload);
    task->set_content_type(type);
    task->set_attempt(1);
    return grpc::Status::OK;
  };
  const std::vector<std::string> get = {"get", "q", "-u", broker.url()};
  auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), get.begin(), get.end());
    return Run(more);
  };
  EXPECT_EQ(with({}).out, "text\n");
  auto json = nlohmann::json::parse(with({"--json"}).out);
  EXPECT_EQ(json["id"], 12);
  EXPECT_EQ(json["lease"], "12-1-34");
  EXPECT_EQ(json["payload"], "text");
  EXPECT_EQ(json["attempt"], 1);
  EXPECT_FALSE(nlohmann::json::parse(with({"--json", "--ack"}).out).contains("lease"));
  payload = "\xff\x00";
  json = nlohmann::json::parse(with({"--json"}).out);
  EXPECT_EQ(json["payload_base64"], "/w==");
  EXPECT_FALSE(json.contains("payload"));
  type = "msgpack";
  payload = PackArgs(1, "two");
  EXPECT_EQ(with({}).out, "[1,\"two\"]\n");
  EXPECT_EQ(nlohmann::json::parse(with({"--json"}).out)["payload"][1], "two");
  broker.on_get = [](const v1::GetRequest&, v1::GetResponse*) {
    return ToGrpc(FieldError(absl::StatusCode::kFailedPrecondition, "closed", "drained"));
  };
  ExpectError(with({}), 1, "queue \"q\" is closed and drained");
  broker.on_get = nullptr;
  ExpectError(with({"--timeout", "0"}), 124, "empty");
}

TEST_F(CliTest, GetWaitsForTheFirstOnly) {
  FakeBroker broker;
  std::mutex mutex;
  std::vector<v1::GetRequest> requests;
  broker.on_get = [&](const v1::GetRequest& request, v1::GetResponse* response) {
    std::lock_guard lock(mutex);
    requests.push_back(request);
    if (requests.size() > 1) return grpc::Status(grpc::StatusCode::DEADLINE_EXCEEDED, "empty");
    response->add_tasks()->set_payload("only");
    return grpc::Status::OK;
  };
  for (const std::vector<std::string>& more : {std::vector<std::string>{}, {"--timeout", "9"}, {"--ack"}}) {
    std::vector<std::string> args = {"get", "q", "-n", "5", "-u", broker.url()};
    args.insert(args.end(), more.begin(), more.end());
    const auto got = Run(args);
    EXPECT_EQ(got.status, 0) << got.err;
    EXPECT_EQ(got.out, "only\n");
    std::lock_guard lock(mutex);
    ASSERT_EQ(requests.size(), 2u);
    EXPECT_FALSE(requests[0].no_wait());
    EXPECT_TRUE(requests[1].no_wait());
    requests.clear();
  }
}

TEST_F(CliTest, StaleLeaseIsOne) {
  FakeBroker broker;
  broker.on_done = [](const v1::DoneRequest&) {
    return ToGrpc(FieldError(absl::StatusCode::kFailedPrecondition, "lease", "stale lease"));
  };
  ExpectError(Run({"done", "q", "12-1-34", "-u", broker.url()}), 1, "task 12 of queue \"q\": stale lease");
}

TEST_F(CliTest, SubmitAndMap) {
  FakeBroker broker;
  broker.set_on_request([](int stream, const v1::ProduceRequest& request, FakeBroker::Stream* out) {
    v1::ProduceResponse response;
    for (const auto& task : TasksOf(request)) {
      if (!task.payload().starts_with("bad")) continue;
      auto* result = response.add_results();
      result->set_tag(task.tag());
      result->set_task_id(task.tag() + kIdOffset);
      result->set_outcome(v1::OUTCOME_FAILED);
      result->mutable_error()->set_message("no good" + task.payload().substr(3));
      result->mutable_error()->set_detail("line one\nline two");
    }
    if (response.results_size() > 0) out->Write(response);
    return FakeBroker::Echo(stream, request, out);
  });
  const std::string url = broker.url();
  EXPECT_EQ(Run({"submit", "h", "x", "-Q", "q", "-u", url}).out, "1001\n");
  EXPECT_EQ(Run({"submit", "h", "x", "-Q", "q", "-u", url, "--wait"}).out, "x\n");
  EXPECT_EQ(Run({"submit", "h", "x", "-u", url}).out, "1001\n");
  EXPECT_EQ(broker.requests(2)[1].groups(0).queue(), "default");
  EXPECT_EQ(Run({"map", "h", "-u", url}, "a\n").out, "a\n");
  EXPECT_EQ(broker.requests(3)[1].groups(0).queue(), "default");
  EXPECT_EQ(Run({"submit", "h", "-", "-Q", "q", "-u", url, "--wait"}, "from\nstdin\n").out, "from\nstdin\n");
  const auto failed = Run({"submit", "h", "bad", "-Q", "q", "-u", url, "--wait"});
  EXPECT_EQ(failed.status, 1);
  EXPECT_EQ(failed.err, "joinq: task 1001 failed: handler error: no good\nline one\nline two\n");
  std::string lines, expected;
  for (int i = 0; i < 20'000; ++i) lines += std::to_string(i) + "\n";
  EXPECT_EQ(Run({"map", "h", "-Q", "q", "-u", url}, lines).out, lines);
  const auto some = Run({"map", "h", "-Q", "q", "-u", url}, "a\nbad\n\nbad");
  EXPECT_EQ(some.status, 1);
  EXPECT_EQ(some.out, "a\n\n\n\n");
  EXPECT_EQ(some.err, "joinq: 2 of 4 failed: lines 2, 4: no good\n");
  const auto map = [&](const std::string& input) {
    return Run({"map", "h", "-Q", "q", "-u", url}, input).err;
  };
  EXPECT_EQ(map("a\nbad\n"), "joinq: 1 of 2 failed: line 2: no good\n");
  EXPECT_EQ(map("bad\nbad\nbad 1\na\nbad\na\nbad\nbad\n"),
            "joinq: 6 of 8 failed: lines 1-3, 5, 7-8: no good; no good 1\n");
  EXPECT_EQ(map("bad\nbad 1\nbad 2\nbad 3\nbad 4\nbad 5\nbad 6\nbad\n"),
            "joinq: 8 of 8 failed: lines 1-8: no good; no good 1; no good 2; no good 3; no good 4; "
            "and other reasons\n");
  std::string sparse;
  for (int i = 0; i < 1500; ++i) sparse += "a\nbad\n";
  const std::string told = map(sparse);
  EXPECT_THAT(told, HasSubstr("1500 of 3000 failed: lines 2, 4, 6, "));
  EXPECT_THAT(told, HasSubstr(", 1998, 2000 and 500 more: no good\n"));
  ExpectError(Run({"map", "h", "-Q", "nowhere", "-u", url}, "a\n"), 1, "nowhere");
  EXPECT_EQ(Run({"map", "h", "-Q", "q", "-u", url}, "").status, 0);
}

TEST_F(CliTest, QueueCommands) {
  FakeBroker broker;
  const auto stats = nlohmann::json::parse(Run({"queue", "stats", "q", "--json", "-u", broker.url()}).out);
  for (const char* key : {"name", "size", "ready", "delayed", "leased", "unfinished", "maxsize", "closed",
                          "put_total", "done_total", "dead", "oldest_ready_ms"}) {
    EXPECT_TRUE(stats.contains(key)) << key;
  }
  EXPECT_EQ(stats["ready"], 3);
  EXPECT_EQ(nlohmann::json::parse(Run({"queue", "list", "--json", "-u", broker.url()}).out).size(), 2u);
  EXPECT_THAT(Run({"queue", "list", "-u", broker.url()}).out, StartsWith("NAME"));
  ExpectError(Run({"queue", "stats", "nowhere", "-u", broker.url()}), 1, "no queue \"nowhere\"");
}

TEST_F(CliTest, BenchWithoutABrokerBesideItLeavesNothing) {
  namespace fs = std::filesystem;
  // A copy of the tool alone in a directory, with a temporary directory of its own.
  fs::create_directory(dir_ + "/tmp");
  fs::copy_file(JOINQ_BIN_DIR "/joinq", dir_ + "/joinq");
  const std::string command = "TMPDIR=" + dir_ + "/tmp " + dir_ + "/joinq bench --self 2>" + dir_ + "/err";
  const int status = std::system(command.c_str());
  EXPECT_EQ(WEXITSTATUS(status), 1);
  EXPECT_THAT(ReadFile(dir_ + "/err"), HasSubstr("no joinqd beside"));
  EXPECT_TRUE(fs::is_empty(dir_ + "/tmp"));
}

}  // namespace
}  // namespace joinq::test
