// What a broker keeps, orders and takes back, from the command line and the library.
#include <gmock/gmock.h>
#include <joinq/client.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tests/support/programs.h"

namespace joinq::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

struct DurableCliTest : ::testing::Test {
  Finished Joinq(std::vector<std::string> words, const std::string& input = "") {
    words.insert(words.begin(), {"joinq", "-u", broker.url()});
    return RunProgram(std::move(words), input);
  }
  json Parsed(std::vector<std::string> words) {
    words.push_back("--json");
    const Finished run = Joinq(words);
    EXPECT_EQ(run.status, 0) << run.errors;
    return json::parse(run.output);
  }
  std::string LeaseOf(const std::string& queue) { return Parsed({"get", queue})["lease"]; }
  void ExpectError(const Finished& run, int status, const std::string& text) {
    EXPECT_EQ(run.status, status) << run.errors;
    EXPECT_EQ(std::count(run.errors.begin(), run.errors.end(), '\n'), 1) << run.errors;
    EXPECT_THAT(run.errors, HasSubstr(text));
  }
  TempDirectory backups;
  BrokerProcess broker{{"--backup-dir", backups.path()}};
};

TEST_F(DurableCliTest, OrdersAndPeek) {
  EXPECT_EQ(Joinq({"queue", "create", "urgent", "--order", "priority", "--max-bytes", "1000"}).status, 0);
  EXPECT_EQ(Joinq({"put", "urgent", "later", "--priority", "5"}).status, 0);
  EXPECT_EQ(Joinq({"put", "urgent", "now", "--priority", "-5"}).status, 0);
  EXPECT_EQ(Parsed({"queue", "peek", "urgent", "-n", "2"})[0]["payload"], "now");
  EXPECT_EQ(Joinq({"get", "urgent", "--ack", "-n", "2"}).output, "now\nlater\n");
  EXPECT_EQ(Joinq({"queue", "update", "urgent", "--order", "lifo"}).status, 0);
  EXPECT_EQ(Joinq({"put", "urgent", "1", "2"}).status, 0);
  EXPECT_EQ(Joinq({"get", "urgent", "--ack", "-n", "2"}).output, "2\n1\n");
  EXPECT_EQ(Joinq({"queue", "create", "fifo"}).status, 0);
  ExpectError(Joinq({"put", "fifo", "x", "--priority", "1"}), 2, "priority");
}

TEST_F(DurableCliTest, KeysNameTheTaskThatIsThere) {
  EXPECT_EQ(Joinq({"queue", "create", "q"}).status, 0);
  const json first = Parsed({"put", "q", "x", "--unique-key", "k"});
  EXPECT_EQ(first["existing"], false);
  EXPECT_EQ(first["durability"], "fsync");
  const Finished again = Joinq({"put", "q", "x", "--unique-key", "k"});
  EXPECT_EQ(again.output, first["id"].dump() + "\n");
  EXPECT_THAT(again.errors, HasSubstr("nothing was put"));
  EXPECT_EQ(Joinq({"put", "q", "y", "--request-id", "r"}).output,
            Joinq({"put", "q", "y", "--request-id", "r"}).output);
  EXPECT_EQ(Parsed({"queue", "stats", "q"})["ready"], 2);
  EXPECT_EQ(Joinq({"get", "q", "--ack"}).output, "x\n");
  EXPECT_EQ(Parsed({"put", "q", "x", "--unique-key", "k"})["existing"], false);
}

TEST_F(DurableCliTest, APausedQueueHandsNothingOut) {
  EXPECT_EQ(Joinq({"queue", "create", "q"}).status, 0);
  EXPECT_EQ(Joinq({"queue", "pause", "q"}).status, 0);
  EXPECT_EQ(Joinq({"put", "q", "x"}).output, "1\n");
  ExpectError(Joinq({"get", "q", "--timeout", "0.2"}), 124, "empty");
  EXPECT_EQ(Parsed({"why", "1"})["reason"], "queue_paused");
  broker.Crash();
  EXPECT_EQ(Parsed({"queue", "stats", "q"})["paused"], true);
  EXPECT_EQ(Joinq({"queue", "resume", "q"}).status, 0);
  EXPECT_EQ(Joinq({"get", "q", "--ack", "--timeout", "10"}).output, "x\n");
}

TEST_F(DurableCliTest, DeadTasksAreListedRetriedAndPurged) {
  EXPECT_EQ(Joinq({"queue", "create", "q"}).status, 0);
  EXPECT_EQ(Joinq({"put", "q", "a", "b"}).status, 0);
  for (int i = 0; i < 2; ++i)
    EXPECT_EQ(Joinq({"fail", "q", LeaseOf("q"), "--error", "no such file"}).status, 0);
  const json dead = Parsed({"dead", "list", "q"});
  ASSERT_EQ(dead.size(), 2u);
  EXPECT_EQ(dead[0]["id"], 1);
  EXPECT_EQ(dead[0]["error"]["message"], "no such file");
  EXPECT_EQ(Joinq({"dead", "retry", "q", "2"}).output, "1\n");
  EXPECT_EQ(Joinq({"get", "q", "--ack"}).output, "b\n");
  EXPECT_EQ(Joinq({"dead", "retry", "q"}).output, "1\n");
  EXPECT_EQ(Joinq({"fail", "q", LeaseOf("q")}).status, 0);
  EXPECT_EQ(Joinq({"dead", "purge", "q"}).output, "1\n");
  EXPECT_EQ(Parsed({"dead", "list", "q"}).size(), 0u);
}

TEST_F(DurableCliTest, ATaskIsFollowedThroughItsLife) {
  EXPECT_EQ(Joinq({"queue", "create", "q"}).status, 0);
  EXPECT_EQ(Joinq({"queue", "create", "next"}).status, 0);
  const std::string trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  const Finished put = Joinq({"put", "q", "x", "--delay", "600", "-H", "traceparent=" + trace});
  EXPECT_EQ(put.output, "1\n") << put.errors;
  EXPECT_EQ(Parsed({"task", "show", "1"})["state"], "delayed");
  EXPECT_EQ(Parsed({"why", "1"})["reason"], "delayed");
  EXPECT_EQ(Parsed({"task", "retry", "1"})["state"], "ready");
  const std::string lease = LeaseOf("q");
  EXPECT_EQ(Joinq({"progress", "q", lease, "half"}).status, 0);
  const json shown = Parsed({"task", "show", "1", "--payload"});
  EXPECT_EQ(shown["state"], "leased");
  EXPECT_EQ(shown["progress"], "half");
  EXPECT_EQ(shown["payload"], "x");
  EXPECT_EQ(shown["headers"]["traceparent"], trace);
  EXPECT_EQ(shown["lease"], lease);
  EXPECT_EQ(Parsed({"task", "list", "--state", "leased"}).size(), 1u);
  ExpectError(Joinq({"done", "q", lease, "--then", "nowhere", "x"}), 1, "nowhere");
  EXPECT_EQ(Joinq({"done", "q", lease, "--then", "next", "follows"}).output, "2\n");
  EXPECT_EQ(Joinq({"get", "next", "--ack"}).output, "follows\n");
  EXPECT_EQ(Joinq({"put", "q", "y"}).output, "3\n");
  EXPECT_EQ(Joinq({"task", "cancel", "3"}).status, 0);
  ExpectError(Joinq({"get", "q", "--timeout", "0"}), 124, "empty");
}

TEST_F(DurableCliTest, SeveralQueuesAtOnce) {
  EXPECT_EQ(Joinq({"queue", "create", "a"}).status, 0);
  EXPECT_EQ(Joinq({"queue", "create", "b"}).status, 0);
  EXPECT_EQ(Joinq({"put", "b", "x"}).status, 0);
  EXPECT_EQ(Parsed({"get", "-Q", "a=3,b=1"})["queue"], "b");
  ExpectError(Joinq({"get", "-Q", "a,b", "--timeout", "0"}), 124, "\"a\", \"b\" is empty");
}

TEST_F(DurableCliTest, ServerShowAndBackup) {
  EXPECT_EQ(Joinq({"queue", "create", "q"}).status, 0);
  EXPECT_EQ(Joinq({"put", "q", "x"}).status, 0);
  const json shown = Parsed({"server", "show"});
  EXPECT_EQ(shown["tasks"], 1);
  EXPECT_EQ(shown["durability"], "fsync");
  const std::string copy = backups.path() + "/copy";
  EXPECT_GT(Parsed({"server", "backup", copy})["bytes"], 0);
  ExpectError(Joinq({"server", "backup", copy}), 1, copy);
  ExpectError(Joinq({"server", "backup", "/var/backups/joinq-1"}), 4, "--backup-dir");
}

TEST_F(DurableCliTest, ALeaseLastsAsLongAsItsClient) {
  auto client = std::make_unique<Client>(broker.url());
  auto queue = client->joinable_queue("q", {.lease = 1s});
  queue.put("x");
  queue.put("y");
  auto slow = std::make_unique<Task>(queue.get(10s));
  const Task cancelled = queue.get(10s);
  EXPECT_EQ(slow->lease_time(), 0s);
  Client other(broker.url());
  auto same = other.open_joinable_queue("q");
  EXPECT_THROW(same.get(2500ms), Empty) << "the queue's lease time does not matter";
  other.cancel(cancelled.id());
  EXPECT_TRUE(Eventually([&] { return cancelled.cancelled(); }));
  EXPECT_FALSE(slow->cancelled());
  EXPECT_THROW(cancelled.done(), StaleLease);
}

TEST_F(DurableCliTest, TheEndOfAClientGivesItsTasksBackAtOnce) {
  Client other(broker.url());
  auto same = other.joinable_queue("q");
  same.put("x");
  { Client(broker.url()).open_joinable_queue("q").get(10s); }
  const auto began = std::chrono::steady_clock::now();
  const Task again = same.get(10s);
  EXPECT_LT(std::chrono::steady_clock::now() - began, 2s) << "only after the grace";
  EXPECT_EQ(again.attempt(), 2u);
  again.done();
}

TEST_F(DurableCliTest, AHeldTaskOutlivesABrokenConnection) {
  Client client(broker.url());
  auto queue = client.joinable_queue("q");
  queue.put("x");
  const Task task = queue.get(10s);
  broker.Crash();
  queue.put("y");
  const Task second = queue.get(20s);
  second.done();
  // The lease may have been handed out anew by the restart; if it was, that is told.
  try {
    task.done();
  } catch (const StaleLease&) {
    queue.get(10s).done();
  }
  queue.join(10s);
}

}  // namespace
}  // namespace joinq::testing
