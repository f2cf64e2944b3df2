// A queue full of tasks that kill their child beside one of good tasks, both served by one
// worker with two children.
//
// Five poison tasks a second (JOINQ_POISON_A_SECOND) with max_crashes 3 trickle into their
// queue, so fifteen times a second a child is lost and replaced; each task ends dead. A loss
// costs its place some 2.5 ms, more where processes wait for a CPU, so ten a second pass on a
// quiet machine, fifty do not (0.8), and a flood of them leaves little (0.1). The good
// queue is never empty. Windows with and without poison take turns, so that what else the
// machine does meets both; what counts is the median of each pair's ratio, of nine pairs, or
// of up to sixty on a machine so busy that nine say nothing.
#include <gtest/gtest.h>
#include <joinq/client.h>

#include <algorithm>
#include <atomic>
#include <iostream>
#include <thread>

#include "tests/support/programs.h"
#include "tests/support/witness.h"

namespace joinq::testing {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kPatience = 30s;
constexpr auto kWindow = 400ms;
constexpr int kPairs = 9;
// So many at most, while the median is below the bound.
constexpr int kPairsMax = 60;

int PoisonASecond() {
  const char* text = std::getenv("JOINQ_POISON_A_SECOND");
  return text == nullptr ? 5 : std::max(1, std::atoi(text));
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Good tasks of `us` microseconds each, always more than the worker can take.
class GoodLoad {
 public:
  GoodLoad(const std::string& url, int us)
      : client_(url),
        pool_(client_, "good", {.window = us == 0 ? 4000u : 100u}),
        stream_(pool_.stream("nap", false)) {
    thread_ = std::thread([this, us] { Run(us); });
  }
  ~GoodLoad() {
    submitting_ = false;
    thread_.join();
    EXPECT_EQ(failed_, 0u);
  }
  uint64_t ended() const { return ended_; }

 private:
  void Run(int us) {
    for (;;) {
      while (submitting_ && stream_.has_room()) stream_.submit(PackArgs(us), kMsgpackType, true);
      stream_.flush();
      if (!submitting_) stream_.close();
      const auto outcome = stream_.next();
      if (!outcome) return;
      failed_ += !outcome->succeeded;
      ++ended_;
    }
  }

  Client client_;
  Pool pool_;
  TaskStream stream_;
  std::atomic<bool> submitting_{true};
  std::atomic<uint64_t> ended_{0}, failed_{0};
  std::thread thread_;
};

class Poison : public ::testing::TestWithParam<int> {
 protected:
  // Lets time pass, which is what is measured with.
  static void Pass(Clock::duration time) { std::this_thread::sleep_for(time); }

  double GoodASecond(const GoodLoad& load, const std::function<void()>& meanwhile) {
    const uint64_t before = load.ended();
    const auto begin = Clock::now();
    meanwhile();
    return static_cast<double>(load.ended() - before) /
           std::chrono::duration<double>(Clock::now() - begin).count();
  }

  TempDirectory directory_;
  WitnessFiles files_{directory_.path()};
  BrokerProcess broker_{{}, /*memory=*/true};
  Program worker_ = StartWorker(
      broker_.url(), "good,bad",
      {"--module", BuildDirectory() + "/tests/witness_module.so", "--log-level", "off", "--name", "one"});
};

TEST_P(Poison, EndsDeadAndTheOtherQueueKeepsNineTenthsOfItsThroughput) {
  GoodLoad good(broker_.url(), GetParam());
  Client client(broker_.url());
  Pool bad(client, "bad", {.max_crashes = 3});
  ASSERT_TRUE(Eventually([&] { return good.ended() > 300; }));  // it knows how long they take
  std::vector<double> with, without, ratios;
  std::vector<AsyncResult<void>> poison;
  const auto pause = std::chrono::duration_cast<Clock::duration>(1s) / PoisonASecond();
  for (int i = 0; i < kPairs || (i < kPairsMax && Median(ratios) < 0.9); ++i) {
    without.push_back(GoodASecond(good, [] { Pass(kWindow); }));
    with.push_back(GoodASecond(good, [&] {
      for (const auto end = Clock::now() + kWindow; Clock::now() < end;) {
        poison.push_back(bad.apply_async<void>("segfault", poison.size()));
        Pass(pause);
      }
    }));
    ratios.push_back(with.back() / without.back());
    for (const auto& task : poison) ASSERT_EQ(task.outcome(kPatience).kind, FailureKind::crash);
  }
  std::cout << "[ seen     ] good tasks a second: " << Median(without) << " alone, " << Median(with)
            << " beside " << PoisonASecond() << " poison tasks a second: " << Median(ratios)
            << " of it; of each pair:";
  for (double ratio : ratios) std::cout << " " << ratio;
  const QueueStats stats = client.queue_info("bad").stats;
  std::cout << "; " << poison.size() << " poison tasks, " << stats.dead << " dead, " << 3 * poison.size()
            << " children lost\n";
  EXPECT_GE(Median(ratios), 0.9);
  EXPECT_TRUE(Eventually([&] { return client.workers().at(0).child_deaths_total == 3 * poison.size(); }))
      << client.workers().at(0).child_deaths_total << " children lost";
  EXPECT_EQ(stats.dead, poison.size());
  EXPECT_EQ(stats.dead_kept, poison.size());
  EXPECT_EQ(stats.unfinished, 0u);
  EXPECT_TRUE(client.workers().at(0).trouble.empty()) << client.workers().at(0).trouble;
}

INSTANTIATE_TEST_SUITE_P(GoodTasksOf, Poison, ::testing::Values(0, 2000),
                         [](const auto& info) { return std::to_string(info.param) + "us"; });

}  // namespace
}  // namespace joinq::testing
