// The broker is killed and stopped at random times under load. What its clients were
// told must stay true.
#include <gtest/gtest.h>
#include <signal.h>

#include "tests/fault/load.h"
#include "tests/support/programs.h"

namespace joinq::testing {
namespace {

constexpr uint64_t kPayloadsOfALoad = 1'000'000'000;

// Kills the broker, sometimes again while it starts, and starts it. How often it was killed.
int KillBroker(BrokerProcess& broker, Random& random, const std::vector<Recorder*>& recorders) {
  int kills = 0;
  Disturbance disturbance{"kill -9 of the broker", Now(), 0, true};
  broker.Kill();
  ++kills;
  while (Below(random, 4) == 0) {  // while it opens its store, restores, or just serves
    broker.Launch();
    Pass(Millis(Below(random, 60)));
    broker.Kill();
    ++kills;
    for (Recorder* recorder : recorders) recorder->Disturbed({"kill -9 of a broker that starts", Now(), 0});
  }
  disturbance.until = Now();
  broker.Start();
  for (Recorder* recorder : recorders) recorder->Disturbed(disturbance);
  return kills;
}

// The kills with a queue of volume and one that is empty again and again, so that joins
// return, each with a history of its own.
Counts KillUnderLoad(BrokerProcess& broker, Random& random, uint64_t first, int kills) {
  Recorder recorder, small_recorder;
  const std::string name = "volume-" + std::to_string(first), small_name = "joins-" + std::to_string(first);
  Load load(broker.url(), name, {.joiners = 0}, first, random(), &recorder);
  Load small(broker.url(), small_name,
             {.consumers = 1, .batch = 5, .padding = 10, .join_each_batch = true, .mischief_percent = 0},
             first, random(), &small_recorder);
  const auto floor = static_cast<uint64_t>(kills);
  // Goes on, within bounds, until enough was put for the kills to prove something.
  const auto enough = [&] { return load.acknowledged() >= 3500 * floor; };
  for (int killed = 0; killed < kills || (!enough() && killed < 3 * kills);) {
    load.Await(Below(random, 12'000), 3s);
    Pass(Millis(Below(random, 20)));
    killed += KillBroker(broker, random, {&recorder, &small_recorder});
    if (::testing::Test::HasFatalFailure()) return {};
  }
  EXPECT_TRUE(load.Await(1000, 30s)) << "puts do not go on after the last kill";
  // At most 5 of them to a join.
  EXPECT_TRUE(small.Await(300, 30s)) << "puts do not go on after the last kill";
  Counts counts =
      Judge(load.Finish(), {.acknowledged = 3500 * floor, .deliveries = 3500 * floor, .disturbances = floor});
  Counts joins =
      Judge(small.Finish(), {.acknowledged = 100, .deliveries = 100, .disturbances = floor, .joins = 50});
  for (const std::string& queue : {name, small_name}) Client(broker.url()).delete_queue(queue, true);
  joins.disturbances = 0;  // the same ones
  return counts += joins;
}

TEST(BrokerFault, KillsLoseNothingAcknowledged) {
  BrokerProcess broker({"--log-level", "warn"});
  const Counts counts = Rounds([&](uint64_t number, Random& random) {
    Counts sum;
    for (uint64_t part = 0; part < 3; ++part)
      sum += KillUnderLoad(broker, random, (3 * number + part) * kPayloadsOfALoad, 10);
    return sum;
  });
  EXPECT_GE(counts.disturbances, 20u);
  EXPECT_GE(counts.acknowledged, 100'000u);
}

// Longer than a lease or shorter, ended by going on or by kill -9: what clients sent in the
// meantime is still in the sockets.
TEST(BrokerFault, StopsLoseNothingAcknowledged) {
  BrokerProcess broker({"--log-level", "warn"});
  Rounds([&](uint64_t number, Random& random) {
    constexpr int kStops = 6;
    constexpr uint64_t kEnough = 5000;
    Recorder recorder;
    const std::string name = "stops-" + std::to_string(number);
    Load load(broker.url(), name, {}, number * kPayloadsOfALoad, random(), &recorder);
    // Goes on, within bounds, until enough was put.
    for (int stops = 0; stops < kStops || (load.acknowledged() < kEnough && stops < 3 * kStops); ++stops) {
      load.Await(Below(random, 6000), 3s);
      broker.program().Signal(SIGSTOP);
      Pass(stops % 3 == 0 ? 1200ms + Millis(Below(random, 800)) : Millis(Below(random, 400)));
      if (stops % 3 == 2) {
        KillBroker(broker, random, {&recorder});
        if (::testing::Test::HasFatalFailure()) return Counts{};
      } else {
        const Instant at = Now();
        broker.program().Signal(SIGCONT);
        recorder.Disturbed({"SIGSTOP of the broker", at, at});
      }
      EXPECT_TRUE(load.Await(100, 30s)) << "puts do not go on after a stop";
    }
    const Counts counts =
        Judge(load.Finish(), {.acknowledged = kEnough, .deliveries = kEnough, .disturbances = kStops});
    Client(broker.url()).delete_queue(name, true);
    return counts;
  });
}

// What the client library promises of done: "safe to repeat".
TEST(BrokerFault, ADoneMayBeRepeatedAfterARestart) {
  BrokerProcess broker;
  Client client(broker.url());
  const auto queue = client.joinable_queue("q");
  queue.put("x");
  const Task task = queue.get(10s);
  task.done();
  task.done();
  broker.Crash();
  EXPECT_NO_THROW(task.done());
}

}  // namespace
}  // namespace joinq::testing
