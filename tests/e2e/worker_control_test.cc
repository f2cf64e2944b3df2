// Workers that are told what to do, from a client and from the command line.
#include <gtest/gtest.h>
#include <joinq/client.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tests/support/programs.h"

namespace joinq::testing {
namespace {

class WorkerControl : public ::testing::Test {
 protected:
  std::string StateOf(const std::string& name) {
    for (const WorkerInfo& worker : client_.workers()) {
      if (worker.name == name) return worker.state;
    }
    return "";
  }
  Finished Cli(std::vector<std::string> words) {
    words.insert(words.begin(), "joinq");
    words.insert(words.end(), {"--url", broker_.url()});
    return RunProgram(words);
  }
  // Puts tasks and waits for the results.
  void Run(int tasks) {
    Pool pool(client_, "q");
    std::vector<AsyncResult<int>> results;
    for (int i = 0; i < tasks; ++i) results.push_back(pool.apply_async<int>("add", i, 1));
    for (int i = 0; i < tasks; ++i) EXPECT_EQ(results[i].get(20s), i + 1);
  }

  BrokerProcess broker_;
  Client client_{broker_.url()};
  Program worker_ = StartWorker(broker_.url(), "q", {"--name", "one", "--exec", "slow=sleep 0.4"});
};

TEST_F(WorkerControl, APausedOneGetsNothingUntilItIsResumed) {
  Run(10);
  const Finished paused = Cli({"worker", "pause", "one"});
  EXPECT_EQ(paused.status, 0) << paused.errors;
  EXPECT_NE(paused.output.find("paused"), std::string::npos) << paused.output;
  EXPECT_EQ(StateOf("one"), "paused");
  Pool pool(client_, "q");
  auto result = pool.apply_async<int>("add", 1, 2);
  EXPECT_FALSE(result.wait(300ms));  // the time under test
  EXPECT_EQ(client_.queue_info("q").stats.ready, 1u);
  // It stays so when the broker is restarted: it is the worker's own state.
  broker_.Crash();
  EXPECT_TRUE(Eventually([&] { return StateOf("one") == "paused"; }));
  EXPECT_EQ(client_.queue_info("q").stats.leased, 0u);
  // Another one takes the work.
  Program other = StartWorker(broker_.url(), "q", {"--name", "two"});
  EXPECT_EQ(result.get(20s), 3);
  const auto told = client_.control_worker("one", WorkerAction::resume);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].state, "alive");
  client_.control_worker("two", WorkerAction::pause);
  Run(10);
}

TEST_F(WorkerControl, ADrainedOneFinishesWhatItRunsAndEnds) {
  Pool pool(client_, "q");
  const uint64_t slow = client_.open_queue("q").put("", kForever, {.handler = "slow", .result_ttl = 60s});
  EXPECT_TRUE(Eventually([&] {
    const auto workers = client_.workers();
    return workers.size() == 1 && workers[0].leases == 1;
  }));
  const Finished drained = Cli({"worker", "drain", "one"});
  EXPECT_EQ(drained.status, 0) << drained.errors;
  EXPECT_TRUE(client_.result(slow, 20s).succeeded);
  EXPECT_EQ(worker_.Wait(20s), 0);
  EXPECT_TRUE(Eventually([&] { return client_.workers().empty(); }));
}

TEST_F(WorkerControl, IsShownByNameAndById) {
  const Finished shown = Cli({"worker", "show", "one", "--json"});
  ASSERT_EQ(shown.status, 0) << shown.errors;
  const auto json = nlohmann::json::parse(shown.output);
  EXPECT_EQ(json["name"], "one");
  const Finished by_id = Cli({"worker", "show", std::to_string(json["id"].get<uint64_t>())});
  EXPECT_EQ(by_id.status, 0);
  EXPECT_NE(by_id.output.find("one"), std::string::npos);
}

TEST_F(WorkerControl, AnUnknownOneIsNamed) {
  for (const char* verb : {"show", "drain", "pause", "resume"}) {
    const Finished refused = Cli({"worker", verb, "nobody"});
    EXPECT_NE(refused.status, 0) << verb;
    EXPECT_NE(refused.errors.find("\"nobody\""), std::string::npos) << refused.errors;
  }
}

TEST_F(WorkerControl, ATaskThatLoopsIsTerminatedAndThatIsConfirmed) {
  Program looping =
      StartWorker(broker_.url(), "loops",
                  {"--name", "two", "--exec", "loop=sh -c 'echo begun >&2; while :; do :; done'"});
  const std::string id =
      std::to_string(client_.open_queue("loops").put("", kForever, {.handler = "loop", .result_ttl = 60s}));
  EXPECT_TRUE(Eventually([&] { return Cli({"task", "log", id}).output == "begun\n"; }));
  const Finished ended = Cli({"task", "terminate", id});
  EXPECT_EQ(ended.status, 0) << ended.errors;
  EXPECT_EQ(ended.output, "killed\n");
  // What it wrote is kept; asked again, its end is the same.
  EXPECT_EQ(Cli({"task", "log", id}).output, "begun\n");
  EXPECT_EQ(Cli({"task", "cancel", id, "--wait", "5"}).output, "killed\n");
}

TEST_F(WorkerControl, AnUnknownTaskHasNoLog) {
  const Finished refused = Cli({"task", "log", "4711"});
  EXPECT_EQ(refused.status, 1);
  EXPECT_NE(refused.errors.find("no connected worker has output of task 4711"), std::string::npos)
      << refused.errors;
}

}  // namespace
}  // namespace joinq::testing
