// kill -9 of a child, and of the broker under load: nothing is lost, everything ends, join
// returns. Each test says how much it saw and fails below a floor, since a test that saw
// little proves little. Many kills of children, zygotes and workers: kill_test.cc.
#include <gtest/gtest.h>

#include <atomic>
#include <iostream>
#include <random>
#include <set>
#include <thread>

#include "joinq/client.h"
#include "tests/support/programs.h"

namespace joinq::testing {
namespace {

// Submits `tasks` additions and checks every sum, while `disturb` is called again and
// again from another thread until the last result is in.
void AddUnderFire(const std::string& url, int tasks, const std::function<void()>& disturb,
                  int disturbances_min) {
  Client client(url);
  Pool pool(client, "q", {.max_crashes = 1000});
  std::atomic<bool> finished{false};
  std::atomic<int> disturbances{0};
  std::thread other([&] {
    while (!finished) {
      disturb();
      ++disturbances;
    }
  });
  std::vector<int> inputs(tasks);
  for (int i = 0; i < tasks; ++i) inputs[i] = i;
  int seen = 0, rounds = 0;
  // Whole maps until the other side was disturbed often enough.
  for (; rounds == 0 || (disturbances < disturbances_min && rounds < 200); ++rounds) {
    auto stream = pool.stream("add", true);
    for (int next = 0, ended = 0; ended < tasks;) {
      while (next < tasks && stream.has_room()) {
        stream.submit(PackArgs(next, 1), kMsgpackType, true);
        if (++next == tasks) stream.close();
      }
      stream.flush();
      auto outcome = stream.next();
      ASSERT_TRUE(outcome.has_value());
      ASSERT_TRUE(outcome->succeeded) << outcome->message;
      ASSERT_EQ(outcome->as<int>(), ended + 1);
      ++ended;
      ++seen;
    }
  }
  finished = true;
  other.join();
  std::cout << "[ seen     ] " << seen << " results, " << disturbances << " kills\n";
  EXPECT_GE(disturbances, disturbances_min);
  client.open_joinable_queue("q").join(30s);
  EXPECT_EQ(client.queue_info("q").stats.unfinished, 0u);
}

TEST(Death, OfAChildHasItsTaskRedeliveredWithinASecond) {
  BrokerProcess broker;
  Program worker = StartWorker(broker.url(), "q", {"--exec", "slow=sleep 1000"});
  Client client(broker.url());
  Pool pool(client, "q");
  auto task = pool.apply_raw("slow", "");
  auto queue = client.open_queue("q");
  ASSERT_TRUE(Eventually([&] { return PoolChildren(worker.pid()).size() == 2; })) << "sleep does not run";
  // The child is the parent of the program.
  pid_t child = 0;
  for (pid_t pid : PoolChildren(worker.pid())) {
    if (!Descendants(pid).empty()) child = pid;
  }
  ASSERT_NE(child, 0);
  const auto before = std::chrono::steady_clock::now();
  ::kill(child, SIGKILL);
  ASSERT_TRUE(Eventually([&] { return client.queue_info("q").stats.redelivered_total == 1; }, 5s));
  EXPECT_LT(std::chrono::steady_clock::now() - before, 1s);
}

TEST(Death, ATaskThatAlwaysKillsItsChildEndsDeadAndOtherQueuesGoOn) {
  BrokerProcess broker;
  Program worker =
      StartWorker(broker.url(), "q,other", {"--exec", "poison=sh -c 'echo last words >&2; kill -9 $PPID'"});
  Client client(broker.url());
  Pool bad(client, "q"), good(client, "other");
  auto poison = bad.apply_raw("poison", "");
  for (int i = 0; i < 200; ++i) EXPECT_EQ((good.apply<int>("add", i, 1)), i + 1);
  try {
    poison.get(20s);
    FAIL() << "it succeeded";
  } catch (const TaskFailed& failed) {
    EXPECT_NE(std::string(failed.what()).find("SIGKILL"), std::string::npos) << failed.what();
  }
  const auto stats = client.queue_info("q").stats;
  EXPECT_EQ(stats.dead, 1u);
  EXPECT_EQ(stats.dead_kept, 1u);
  EXPECT_EQ(stats.unfinished, 0u);
  EXPECT_EQ((good.apply<int>("add", 1, 1)), 2);
}

TEST(Death, OfTheBrokerUnderLoadLosesNothingAcknowledged) {
  BrokerProcess broker;
  Program worker = StartWorker(broker.url(), "q");
  std::mt19937 random(11);
  AddUnderFire(
      broker.url(), 20'000,
      [&] {
        Eventually([&] { return false; }, std::chrono::milliseconds(100 + random() % 200));
        broker.Crash();
      },
      5);
}

TEST(Death, OfTheBrokerKeepsEveryAcknowledgedPutOnceAndInOrder) {
  BrokerProcess broker;
  Client client(broker.url());
  auto queue = client.joinable_queue("q");
  std::atomic<bool> finished{false};
  std::thread killer([&] {
    for (int kills = 0; kills < 5; ++kills) {
      const uint64_t before = kills * 800;
      Eventually([&] { return finished || client.queue_info("q").stats.put_total > before; });
      broker.Crash();
    }
  });
  std::vector<uint64_t> acknowledged;
  for (int i = 0; i < 4000; i += 10) {
    std::vector<std::string> batch;
    for (int n = i; n < i + 10; ++n) batch.push_back(std::to_string(n));
    for (uint64_t id : queue.put_batch(batch)) acknowledged.push_back(id);
  }
  finished = true;
  killer.join();
  ASSERT_EQ(acknowledged.size(), 4000u);
  EXPECT_EQ(std::set<uint64_t>(acknowledged.begin(), acknowledged.end()).size(), 4000u);
  EXPECT_EQ(queue.qsize(), 4000u) << "lost or doubled";
  for (int i = 0; i < 4000; i += 100) {
    auto tasks = queue.get_batch(100, 10s);
    for (size_t n = 0; n < tasks.size(); ++n) {
      EXPECT_EQ(tasks[n].payload(), std::to_string(i + n));
      tasks[n].done();
    }
  }
  queue.join(10s);
}

}  // namespace
}  // namespace joinq::testing
