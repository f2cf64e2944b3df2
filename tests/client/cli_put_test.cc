// The options of put, submit and map, and the tasks that exist already.
#include <gmock/gmock.h>
#include <joinq/client.h>

#include "tests/client/cli_fixture.h"
#include "tests/client/fake_broker.h"

namespace joinq::test {
namespace {

using testing::HasSubstr;

class CliPutTest : public CliTest {
 protected:
  Ran Put(std::vector<std::string> more) {
    more.insert(more.begin(), {"put", "q", "x", "-u", broker_.url()});
    return Run(more);
  }
  v1::PutGroup LastGroup() {
    v1::PutGroup last;
    for (const auto& request : broker_.requests(broker_.streams() - 1)) {
      if (request.groups_size() > 0) last = request.groups(0);
    }
    return last;
  }
  void AnswerExisting() {
    broker_.set_on_request([](int, const v1::ProduceRequest& request, FakeBroker::Stream* out) {
      v1::ProduceResponse response;
      for (const auto& task : TasksOf(request)) {
        auto* ack = response.add_acks();
        ack->set_first_tag(task.tag());
        ack->set_first_task_id(7);
        ack->set_count(1);
        ack->set_existing(true);
        if (task.payload() != "watched") continue;
        auto* result = response.add_results();
        result->set_tag(task.tag());
        result->set_task_id(7);
        result->set_outcome(v1::OUTCOME_SUCCEEDED);
        result->set_payload("old result");
      }
      return response.acks_size() == 0 || out->Write(response);
    });
  }

  FakeBroker broker_;
};

TEST_F(CliPutTest, OptionsReachTheBroker) {
  const auto put =
      Put({"--priority", "-5", "--ttl", "1.5", "--result-ttl", "60", "--max-attempts", "3", "--max-crashes",
           "4", "--retry-delay", "2", "-H", "traceparent=00-aa=", "--header", "b: c:d", "--header", "e="});
  EXPECT_EQ(put.status, 0) << put.err;
  const auto group = LastGroup();
  EXPECT_EQ(group.options().priority(), -5);
  EXPECT_EQ(group.options().ttl_ms(), 1500u);
  EXPECT_EQ(group.options().result_ttl_ms(), 60'000u);
  EXPECT_EQ(group.options().max_attempts(), 3u);
  EXPECT_EQ(group.options().max_crashes(), 4u);
  EXPECT_EQ(group.options().retry_delay_ms(), 2000u);
  ASSERT_EQ(group.tasks(0).headers_size(), 3);
  EXPECT_EQ(group.tasks(0).headers(0).name(), "traceparent");
  EXPECT_EQ(group.tasks(0).headers(0).value(), "00-aa=");
  EXPECT_EQ(group.tasks(0).headers(1).name(), "b");
  EXPECT_EQ(group.tasks(0).headers(1).value(), "c:d");
  EXPECT_EQ(group.tasks(0).headers(2).value(), "");
}

TEST_F(CliPutTest, HowItIsToBeRunReachesTheBroker) {
  const auto put = Put(
      {"--handler", "h", "--time-limit", "9", "--soft-time-limit", "8.5", "--deadline", "60", "--process"});
  EXPECT_EQ(put.status, 0) << put.err;
  const auto options = LastGroup().options();
  EXPECT_EQ(options.time_limit_ms(), 9000u);
  EXPECT_EQ(options.soft_time_limit_ms(), 8500u);
  EXPECT_EQ(options.deadline_ms(), 60'000u);
  EXPECT_TRUE(options.fresh_process());
}

TEST_F(CliPutTest, HowItIsToBeRunMustMakeSense) {
  ExpectError(Put({"--time-limit", "-1"}), 2, "--time-limit");
  ExpectError(Put({"--time-limit", "5", "--soft-time-limit", "5"}), 2,
              "--soft-time-limit: must be less than --time-limit");
  ExpectError(Put({"--deadline", "5", "--ttl", "5"}), 2, "--deadline");
  ExpectError(Put({"--process"}), 2, "--process: is for tasks with a handler; give --handler");
  ExpectError(Put({"--daemon"}), 2, "--daemon");
  ExpectError(Run({"submit", "h", "x", "--daemon", "-u", broker_.url()}), 2, "give --wait");
  EXPECT_EQ(broker_.streams(), 0);
}

TEST_F(CliPutTest, AnEtaIsUnixSecondsOrIso8601) {
  const std::vector<std::pair<std::string, uint64_t>> etas = {
      {"1700000000", 1'700'000'000'000},
      {"1700000000.25", 1'700'000'000'250},
      {"2023-11-14T22:13:20Z", 1'700'000'000'000},
      {"2023-11-14 22:13:20.5z", 1'700'000'000'500},
      {"2023-11-14T23:13:20.123456+01:00", 1'700'000'000'123},
      {"2023-11-14T16:43:20-0530", 1'700'000'000'000},
      {"2023-11-14T22:13Z", 1'699'999'980'000},
      {"2023-11-14T22:13:20", 1'700'000'000'000},  // local: without TZ it is UTC
      {"2023-11-14", 1'699'920'000'000},
      {"2024-02-29T00:00:00Z", 1'709'164'800'000},
  };
  for (const auto& [text, ms] : etas) {
    const auto put = Put({"--eta", text});
    EXPECT_EQ(put.status, 0) << put.err;
    EXPECT_EQ(LastGroup().options().eta_unix_ms(), ms) << text;
  }
  for (const char* bad : {"soon", "2999-01-01", "1969-01-01", "nan", "inf", "-5", "1e99", "2023-13-01",
                          "2023-02-30", "2023-02-29T00:00Z", "2023-11-14T25:00", "2023-11-14T22:13:20+99:00",
                          "2023-11-14T22:13:20Z trailing", "12:30", "2023-1-1", "9300000000"}) {
    ExpectError(Put({"--eta", bad}), 2, "--eta: must be a time like");
  }
  ExpectError(Put({"--eta", "1700000000", "--delay", "1"}), 2, "--delay");
  ExpectError(Put({"--eta", "1700000000", "--delay", "1"}), 2, "--eta");
  ExpectError(Put({"--eta", "2200-01-01"}), 2, "eta: must be at most 24 days from now");
}

TEST_F(CliPutTest, ScopesOfAUniqueKey) {
  EXPECT_EQ(Put({"--unique-key", "k"}).status, 0);
  EXPECT_EQ(LastGroup().tasks(0).unique_key(), "k");
  EXPECT_EQ(LastGroup().options().unique_scope(), v1::UNIQUE_SCOPE_UNFINISHED);
  EXPECT_EQ(Put({"--unique-key", "k", "--unique-scope", "waiting"}).status, 0);
  EXPECT_EQ(LastGroup().options().unique_scope(), v1::UNIQUE_SCOPE_WAITING);
  EXPECT_EQ(Put({"--unique-key", "k", "--unique-scope", "1.5"}).status, 0);
  EXPECT_EQ(LastGroup().options().unique_scope(), v1::UNIQUE_SCOPE_WINDOW);
  EXPECT_EQ(LastGroup().options().unique_ms(), 1500u);
  for (const char* bad : {"never", "0", "-1", "nan", "Waiting", "1s"}) {
    ExpectError(Put({"--unique-key", "k", "--unique-scope", bad}), 2,
                "--unique-scope: must be unfinished, waiting or a number of seconds");
  }
  ExpectError(Put({"--unique-scope", "waiting"}), 2, "--unique-key");
  ExpectError(Put({"--unique-key", std::string(201, 'k')}), 2, "unique_key: has 201 bytes");
}

TEST_F(CliPutTest, AnExistingTaskIsNamedWithANote) {
  const auto fresh = Put({"--request-id", "r", "--json"});
  EXPECT_EQ(fresh.out, "{\"id\":1001,\"existing\":false,\"durability\":\"memory\"}\n");
  EXPECT_EQ(fresh.err, "");
  EXPECT_EQ(LastGroup().tasks(0).request_id(), "r");
  AnswerExisting();
  const auto existing = Put({"--unique-key", "k"});
  EXPECT_EQ(existing.status, 0);
  EXPECT_EQ(existing.out, "7\n");
  EXPECT_EQ(existing.err, "joinq: task 7 is there already; nothing was put\n");
  EXPECT_THAT(Put({"--request-id", "r", "--json"}).out, HasSubstr("\"existing\":true"));
}

TEST_F(CliPutTest, AKeyNamesOneTask) {
  ExpectError(Put({"y", "--unique-key", "k"}), 2, "--unique-key: names one task");
  ExpectError(Run({"put", "q", "-", "--request-id", "r", "-u", broker_.url()}, "a\nb\n"), 2,
              "--request-id: names one task");
  EXPECT_EQ(broker_.streams(), 0);
}

TEST_F(CliPutTest, NumbersOutOfTheirLimits) {
  for (const char* bad : {"1001", "-1001", "1.5", "x", ""}) {
    ExpectError(Put({"--priority", bad}), 2, "--priority: must be a whole number from -1000 to 1000");
  }
  for (const char* option : {"--ttl", "--result-ttl", "--retry-delay", "--delay"}) {
    ExpectError(Put({option, "-1"}), 2, option);
    ExpectError(Put({option, "nan"}), 2, option);
  }
  ExpectError(Put({"--header", "novalue"}), 2, "\"novalue\" is not NAME=VALUE");
  ExpectError(Put({"--header", "=v"}), 2, "is not NAME=VALUE");
  EXPECT_EQ(broker_.streams(), 0);
}

TEST_F(CliPutTest, SubmitTakesThemAll) {
  const std::string url = broker_.url();
  auto submit = Run({"submit", "h", "x", "-u", url, "--priority", "4", "--ttl", "2", "--eta", "1700000000"});
  EXPECT_EQ(submit.out, "1001\n") << submit.err;
  EXPECT_EQ(LastGroup().options().priority(), 4);
  EXPECT_EQ(LastGroup().options().ttl_ms(), 2000u);
  EXPECT_EQ(LastGroup().options().eta_unix_ms(), 1'700'000'000'000u);
  submit = Run({"submit", "h", "x", "-u", url, "--unique-key", "k", "--json"});
  EXPECT_EQ(submit.out, "{\"id\":1001,\"existing\":false,\"durability\":\"memory\"}\n") << submit.err;
  EXPECT_EQ(LastGroup().handler(), "h");
  EXPECT_EQ(LastGroup().options().result_ttl_ms(), 600'000u) << "as without a key";
  AnswerExisting();
  submit = Run({"submit", "h", "x", "-u", url, "--unique-key", "k"});
  EXPECT_EQ(submit.out, "7\n");
  EXPECT_THAT(submit.err, HasSubstr("task 7 is there already"));
  submit = Run({"submit", "h", "watched", "-u", url, "--request-id", "r", "--wait"});
  EXPECT_EQ(submit.out, "old result\n") << submit.err;
  EXPECT_EQ(LastGroup().tasks(0).request_id(), "r");
}

TEST_F(CliPutTest, MapTakesThoseThatFitManyTasks) {
  const auto map = Run({"map", "h", "-u", broker_.url(), "--priority", "4", "--header", "a=b"}, "1\n2\n");
  EXPECT_EQ(map.out, "1\n2\n") << map.err;
  EXPECT_EQ(LastGroup().options().priority(), 4);
  EXPECT_EQ(LastGroup().tasks(0).headers(0).value(), "b");
  ExpectError(Run({"map", "h", "-u", broker_.url(), "--unique-key", "k"}, "1\n"), 2, "--unique-key");
}

}  // namespace
}  // namespace joinq::test
