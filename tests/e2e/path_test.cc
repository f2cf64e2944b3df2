// The whole path: submit, queue, forked children, result, join.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "joinq/client.h"
#include "tests/support/programs.h"

namespace joinq::testing {
namespace {

TEST(Path, ATypedCallRunsInAChildAndItsResultComesBack) {
  BrokerProcess broker;
  Program worker = StartWorker(broker.url(), "q");
  Client client(broker.url());
  Pool pool(client, "q");
  EXPECT_EQ(pool.apply<int>("add", 20, 22), 42);
  auto pending = pool.apply_async<int>("add", 1, 2);
  EXPECT_EQ(pending.get(10s), 3);
  EXPECT_TRUE(pending.successful());
}

TEST(Path, TheChildrenShareTheWork) {
  BrokerProcess broker({}, /*memory=*/true);
  Program worker = StartWorker(broker.url(), "q");
  Client client(broker.url());
  Pool pool(client, "q");
  auto stream = pool.stream("demo.sha256", false);
  constexpr int kTasks = 2000;
  std::map<std::string, int> by_child;
  int submitted = 0;
  while (true) {
    while (submitted < kTasks && stream.has_room()) {
      stream.submit("/proc/self/status");
      if (++submitted == kTasks) stream.close();
    }
    auto outcome = stream.next();
    if (!outcome) break;
    ASSERT_TRUE(outcome->succeeded) << outcome->message;
    ++by_child[outcome->payload.substr(65)];
  }
  ASSERT_EQ(by_child.size(), 2u);
  const auto children = PoolChildren(worker.pid());
  for (auto& [pid, count] : by_child) {
    EXPECT_TRUE(std::count(children.begin(), children.end(), std::stoi(pid)))
        << pid << " is no child of the worker";
    EXPECT_GT(count, kTasks / 10);
  }
}

TEST(Path, MapKeepsTheOrderOfItsInputs) {
  BrokerProcess broker;
  Program worker = StartWorker(broker.url(), "q", {"--exec", "upper=tr a-z A-Z"});
  std::string input, expected;
  for (int i = 0; i < 200; ++i) {
    input += "line " + std::to_string(i) + "\n";
    expected += "LINE " + std::to_string(i) + "\n";
  }
  const Finished map = RunProgram({"joinq", "-u", broker.url(), "map", "upper", "-Q", "q"}, input);
  EXPECT_EQ(map.status, 0) << map.errors;
  EXPECT_EQ(map.output, expected);
  EXPECT_EQ(RunProgram({"joinq", "-u", broker.url(), "join", "q", "--timeout", "10"}).status, 0);
}

TEST(Path, ProducersAndConsumersMeetAtABoundedQueue) {
  BrokerProcess broker;
  Client client(broker.url());
  auto queue = client.joinable_queue("dishes", {.maxsize = 3});
  std::thread cook([&] {
    for (int i = 0; i < 100; ++i) queue.put("dish " + std::to_string(i));
    queue.close();
  });
  int eaten = 0;
  for (joinq::Task task : queue) {
    EXPECT_EQ(task.payload(), "dish " + std::to_string(eaten++));
    EXPECT_LE(queue.qsize(), 3u);
    task.done();
  }
  cook.join();
  EXPECT_EQ(eaten, 100);
  queue.join(10s);
}

TEST(Path, AUnixSocketServesAsWell) {
  TempDirectory directory;
  const std::string socket = "unix:" + directory.path() + "/broker";
  BrokerProcess broker({"--listen", socket}, /*memory=*/true);
  Program worker = StartWorker(socket, "q");
  Client client(socket);
  EXPECT_EQ(Pool(client, "q").apply<int>("add", 2, 3), 5);
}

}  // namespace
}  // namespace joinq::testing
