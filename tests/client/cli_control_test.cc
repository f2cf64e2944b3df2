// Queues and leases on the command line, and what all commands have.
#include <gmock/gmock.h>
#include <joinq/client.h>

#include "tests/client/cli_fixture.h"
#include "tests/client/fake_broker.h"

namespace joinq::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;

class CliControlTest : public CliTest {
 protected:
  Ran Joinq(std::vector<std::string> words) {
    words.insert(words.end(), {"-u", broker_.url()});
    return Run(words);
  }
  FakeBroker broker_;
};

// ---------------------------------------------------------------- queues

TEST_F(CliControlTest, CreateTakesAllOptions) {
  EXPECT_EQ(Joinq({"queue", "create", "q", "--maxsize", "5", "--max-bytes", "1000", "--order", "priority",
                   "--ageing", "2.5", "--durability", "wal", "--dead-max", "0", "--lease", "30"})
                .status,
            0);
  const auto sent = broker_.Last<v1::CreateQueueRequest>().options();
  EXPECT_EQ(sent.maxsize(), 5u);
  EXPECT_EQ(sent.max_bytes(), 1000u);
  EXPECT_EQ(sent.order(), v1::ORDER_PRIORITY);
  EXPECT_EQ(sent.ageing_ms(), 2500u);
  EXPECT_EQ(sent.durability(), v1::DURABILITY_WAL);
  EXPECT_TRUE(sent.has_dead_max());
  EXPECT_EQ(sent.lease_ms(), 30'000u);
  EXPECT_EQ(Joinq({"queue", "create", "q"}).status, 0);
  EXPECT_EQ(broker_.Last<v1::CreateQueueRequest>().options().ByteSizeLong(), 0u);
}

TEST_F(CliControlTest, UpdateSendsWhatWasGiven) {
  EXPECT_EQ(Joinq({"queue", "update", "q", "--maxsize", "0", "--order", "lifo"}).status, 0);
  const auto sent = broker_.Last<v1::UpdateQueueRequest>();
  EXPECT_TRUE(sent.has_maxsize());
  EXPECT_EQ(sent.order(), v1::ORDER_LIFO);
  EXPECT_FALSE(sent.has_durability());
  EXPECT_FALSE(sent.has_dead_max());
  EXPECT_EQ(json::parse(Joinq({"queue", "update", "q", "--json"}).out)["order"], "fifo");
}

TEST_F(CliControlTest, BadQueueOptionsSayWhatIsAllowed) {
  for (const char* verb : {"create", "update"}) {
    ExpectError(Joinq({"queue", verb, "q", "--order", "fito"}), 2,
                "--order: must be fifo, lifo or priority, not \"fito\"");
    ExpectError(Joinq({"queue", verb, "q", "--durability", "disk"}), 2,
                "--durability: must be best, fsync, wal or memory, not \"disk\"");
    ExpectError(Joinq({"queue", verb, "q", "--max-bytes", "-1"}), 2, "--max-bytes: must be a whole number");
    ExpectError(Joinq({"queue", verb, "q", "--dead-max", "1000001"}), 2, "0 to 1000000");
    ExpectError(Joinq({"queue", verb, "q", "--ageing", "nan"}), 2, "--ageing");
    ExpectError(Joinq({"queue", verb, "q", "--ageing", "-1"}), 2, "--ageing");
  }
  EXPECT_TRUE(broker_.Sent<v1::CreateQueueRequest>().empty());
  EXPECT_TRUE(broker_.Sent<v1::UpdateQueueRequest>().empty());
}

TEST_F(CliControlTest, PauseResumeCloseAndPurge) {
  broker_.Answer<v1::PurgeRequest, v1::PurgeResponse>([](const auto&, auto* response) {
    response->set_cancelled(3);
    return grpc::Status::OK;
  });
  EXPECT_EQ(Joinq({"queue", "pause", "q"}).status, 0);
  EXPECT_EQ(Joinq({"queue", "resume", "q"}).status, 0);
  EXPECT_EQ(Joinq({"queue", "close", "q"}).status, 0);
  EXPECT_EQ(broker_.Last<v1::PauseRequest>().queue(), "q");
  EXPECT_EQ(broker_.Last<v1::ResumeRequest>().queue(), "q");
  EXPECT_EQ(broker_.Last<v1::CloseRequest>().queue(), "q");
  EXPECT_EQ(Joinq({"queue", "purge", "q"}).out, "3\n");
  EXPECT_EQ(Joinq({"queue", "purge", "q", "--json"}).out, "{\"cancelled\":3}\n");
  EXPECT_EQ(Joinq({"queue", "delete", "q", "--force"}).status, 0);
  EXPECT_TRUE(broker_.Last<v1::DeleteQueueRequest>().force());
}

TEST_F(CliControlTest, PeekShowsPayloads) {
  broker_.Answer<v1::PeekRequest, v1::PeekResponse>([](const auto& request, auto* response) {
    for (uint32_t i = 0; i < request.max_tasks(); ++i) {
      response->add_tasks()->set_task_id(i + 1);
      response->mutable_tasks(i)->set_payload(i == 0 ? "line one\nline two" : std::string(100, 'x'));
    }
    return grpc::Status::OK;
  });
  const auto peek = Joinq({"queue", "peek", "q", "-n", "2"});
  EXPECT_THAT(peek.out, HasSubstr("line one\\nline two"));
  EXPECT_THAT(peek.out, HasSubstr("xxx..."));
  EXPECT_EQ(std::count(peek.out.begin(), peek.out.end(), '\n'), 3) << peek.out;
  EXPECT_EQ(json::parse(Joinq({"queue", "peek", "q", "--json"}).out)[0]["payload"], "line one\nline two");
  ExpectError(Joinq({"queue", "peek", "q", "-n", "101"}), 2, "--count: must be a whole number from 1 to 100");
}

TEST_F(CliControlTest, StatsTellTheOptionsToo) {
  const json stats = json::parse(Joinq({"queue", "stats", "q", "--json"}).out);
  EXPECT_EQ(stats["order"], "fifo");
  EXPECT_EQ(stats["paused"], false);
  for (const char* key : {"max_bytes", "ageing_ms", "dead_max", "dead_kept", "expired_total", "retried_total",
                          "waiting_bytes"}) {
    EXPECT_TRUE(stats.contains(key)) << key;
  }
}

// ---------------------------------------------------------------- leases

TEST_F(CliControlTest, GetOfSeveralQueues) {
  broker_.on_get = [](const v1::GetRequest& request, v1::GetResponse* response) {
    if (request.queues_size() == 0) return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "queue");
    auto* task = response->add_tasks();
    task->set_task_id(1);
    task->mutable_lease()->set_task_id(1);
    task->set_payload("x");
    task->set_queue("b");
    return grpc::Status::OK;
  };
  const auto get = Joinq({"get", "-Q", "a=3,b", "--json", "--lease", "9"});
  EXPECT_EQ(json::parse(get.out)["queue"], "b") << get.err;
  auto sent = broker_.Last<v1::GetRequest>();
  EXPECT_EQ(sent.queues(0).queue(), "a");
  EXPECT_EQ(sent.queues(0).weight(), 3u);
  EXPECT_EQ(sent.queues(1).weight(), 1u);
  EXPECT_EQ(sent.lease_ms(), 9000u);
  EXPECT_EQ(sent.session_id(), 0u) << "the lease outlives the tool";
  EXPECT_EQ(Joinq({"get", "--queues", "a", "--ack"}).out, "x\n");
  EXPECT_TRUE(broker_.Last<v1::GetRequest>().ack());
  for (const char* bad : {"a=0", "a=1001", "a=x", "a=-1", "a=", "=3", ",", "a,,b", "a b=1"}) {
    ExpectError(Joinq({"get", "-Q", bad}), 2, "queues: ");
  }
  ExpectError(Joinq({"get"}), 2, "give either QUEUE or --queues");
  ExpectError(Joinq({"get", "q", "-Q", "a"}), 2, "give either QUEUE or --queues");
}

TEST_F(CliControlTest, DonePutsWhatFollows) {
  broker_.Answer<v1::DoneRequest, v1::DoneResponse>([](const auto& request, auto* response) {
    for (int i = 0; i < request.follow_ups_size(); ++i) response->add_follow_up_ids(70 + i);
    return grpc::Status::OK;
  });
  const auto done = Joinq({"done", "--then", "next", "payload one", "--then", "log/append", "two", "q",
                           "12-1-34", "--result", "r"});
  EXPECT_EQ(done.out, "70\n71\n") << done.err;
  const auto sent = broker_.Last<v1::DoneRequest>();
  EXPECT_EQ(sent.result(), "r");
  ASSERT_EQ(sent.follow_ups_size(), 2);
  EXPECT_EQ(sent.follow_ups(0).queue(), "next");
  EXPECT_EQ(sent.follow_ups(0).handler(), "");
  EXPECT_EQ(sent.follow_ups(0).tasks(0).payload(), "payload one");
  EXPECT_EQ(sent.follow_ups(1).queue(), "log");
  EXPECT_EQ(sent.follow_ups(1).handler(), "append");
  EXPECT_EQ(Joinq({"done", "q", "12-1-34", "--then", "n", "x", "--json"}).out, "{\"follow_up_ids\":[70]}\n");
  EXPECT_EQ(Joinq({"done", "q", "12-1-34"}).out, "");
  const size_t calls = broker_.Sent<v1::DoneRequest>().size();
  ExpectError(Run({"done", "q", "12-1-34", "-u", broker_.url(), "--then", "lonely"}), 2, "--then");
  ExpectError(Joinq({"done", "q", "12-1-34", "--then", "q/", "x"}), 2, "QUEUE/HANDLER PAYLOAD");
  ExpectError(Joinq({"done", "q", "12-1-34", "--then", "a b", "x"}), 2, "0x20");
  EXPECT_EQ(broker_.Sent<v1::DoneRequest>().size(), calls) << "nothing was done";
}

TEST_F(CliControlTest, Progress) {
  EXPECT_EQ(Joinq({"progress", "q", "12-1-34", "half of it"}).status, 0);
  const auto sent = broker_.Last<v1::ReportProgressRequest>();
  EXPECT_EQ(sent.progress(), "half of it");
  EXPECT_EQ(sent.lease().sequence(), 34u);
  ExpectError(Joinq({"progress", "q", "12-1-34", std::string(4097, 'x')}), 2, "4096");
  ExpectError(Joinq({"progress", "q", "12-1-34"}), 2, "TEXT");
  ExpectError(Joinq({"progress", "q", "nonsense", "x"}), 2, "\"nonsense\"");
}

// ---------------------------------------------------------------- all of them

TEST_F(CliControlTest, EveryCommandHasAnExample) {
  const std::vector<std::vector<std::string>> commands = {{"put"},
                                                          {"get"},
                                                          {"submit"},
                                                          {"result"},
                                                          {"map"},
                                                          {"why"},
                                                          {"done"},
                                                          {"fail"},
                                                          {"release"},
                                                          {"extend"},
                                                          {"progress"},
                                                          {"join"},
                                                          {"health"},
                                                          {"bench"},
                                                          {"queue", "create"},
                                                          {"queue", "update"},
                                                          {"queue", "list"},
                                                          {"queue", "stats"},
                                                          {"queue", "peek"},
                                                          {"queue", "pause"},
                                                          {"queue", "resume"},
                                                          {"queue", "close"},
                                                          {"queue", "purge"},
                                                          {"queue", "delete"},
                                                          {"dead", "list"},
                                                          {"dead", "retry"},
                                                          {"dead", "purge"},
                                                          {"task", "show"},
                                                          {"task", "list"},
                                                          {"task", "why"},
                                                          {"task", "cancel"},
                                                          {"task", "retry"},
                                                          {"task", "result"},
                                                          {"server", "show"},
                                                          {"server", "backup"},
                                                          {"worker", "list"}};
  for (auto words : commands) {
    std::string command = "joinq";
    for (const auto& word : words) command += " " + word;
    words.push_back("--help");
    const auto help = Run(words);
    EXPECT_EQ(help.status, 0) << command;
    EXPECT_THAT(help.out, HasSubstr("Example: ")) << command;
    EXPECT_THAT(help.out, HasSubstr(command + (command == "joinq map" ? " digest" : " "))) << command;
  }
  const auto help = Run({"--help"});
  EXPECT_LT(std::count(help.out.begin(), help.out.end(), '\n'), 50);
  EXPECT_THAT(help.out, HasSubstr("\nQueues:\n"));
}

TEST_F(CliControlTest, NoBrokerIsThreeForTheseToo) {
  const int port = broker_.port();
  broker_.Stop();
  for (std::vector<std::string> words : {std::vector<std::string>{"queue", "pause", "q"},
                                         {"task", "show", "1"},
                                         {"dead", "list", "q"},
                                         {"server", "backup", "/x"},
                                         {"get", "-Q", "a=1"},
                                         {"put", "q", "x", "--unique-key", "k"},
                                         {"why", "1"}}) {
    words.insert(words.end(), {"-u", "127.0.0.1:" + std::to_string(port), "--connect-timeout", "0.2"});
    ExpectError(Run(words), 3, std::to_string(port));
  }
}

}  // namespace
}  // namespace joinq::test
