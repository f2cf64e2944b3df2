// Workers take tasks ahead only while these are tiny: a long one never keeps others from
// children that are free elsewhere.
#include <gtest/gtest.h>
#include <joinq/client.h>

#include <iostream>

#include "tests/support/programs.h"

namespace joinq::testing {
namespace {

class Prefetch : public ::testing::Test {
 protected:
  // `tasks` tiny ones, so that the workers take many ahead from now on.
  void Teach(int tasks) {
    std::vector<AsyncResult<int>> results;
    for (int i = 0; i < tasks; ++i) results.push_back(pool_.apply_async<int>("add", i, 1));
    for (auto& result : results) result.get(30s);
  }

  BrokerProcess broker_;
  Client client_{broker_.url()};
  Program one_ = StartWorker(broker_.url(), "q", {"--name", "one", "-c", "1", "--exec", "long=sleep 600"});
  Program two_ = StartWorker(broker_.url(), "q", {"--name", "two", "-c", "1", "--exec", "long=sleep 600"});
  Pool pool_{client_, "q"};
};

TEST_F(Prefetch, TinyTasksBehindALongOneRunElsewhere) {
  Teach(3000);
  std::vector<AsyncResult<int>> results;
  for (int i = 0; i < 500; ++i) results.push_back(pool_.apply_async<int>("add", i, 1));
  auto long_one = pool_.apply_async<std::string>("long");
  for (int i = 0; i < 2000; ++i) results.push_back(pool_.apply_async<int>("add", i, 1));
  const auto begin = std::chrono::steady_clock::now();
  for (auto& result : results) result.get(20s);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
  EXPECT_FALSE(long_one.ready());
}

// No matter how many tasks its child has been sent behind it.
TEST_F(Prefetch, TinyTasksBehindALongOneRunOnTheOtherChildOfItsWorker) {
  Program both = StartWorker(broker_.url(), "both", {"--name", "both", "--exec", "long=sleep 600"});
  Pool pool(client_, "both");
  auto run = [&](int tasks) {
    std::vector<AsyncResult<int>> results;
    for (int i = 0; i < tasks; ++i) results.push_back(pool.apply_async<int>("add", i, 1));
    return results;
  };
  for (auto& result : run(3000)) result.get(30s);
  client_.open_queue("both").pause();
  auto before = run(200);
  auto long_one = pool.apply_async<std::string>("long");
  long_one.id(20s);
  auto behind = run(500);
  behind.back().id(20s);
  const auto begin = std::chrono::steady_clock::now();
  client_.open_queue("both").resume();
  for (auto& result : before) result.get(20s);
  for (auto& result : behind) result.get(20s);
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
  std::cout << "[ seen     ] the last one ended after " << took.count() << " ms\n";
  EXPECT_LT(took, 2s);
  EXPECT_FALSE(long_one.ready());
}

}  // namespace
}  // namespace joinq::testing
