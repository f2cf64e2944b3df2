// Consumers are processes that are killed, and stopped for longer than their lease. What
// they held must come back, and what they still do with it must be refused.
#include <gtest/gtest.h>
#include <signal.h>

#include "tests/fault/load.h"
#include "tests/support/programs.h"

namespace joinq::testing {
namespace {

class ConsumerProcess {
 public:
  ConsumerProcess(const std::string& url, const std::string& queue, const std::string& log, uint64_t seed)
      : log_(log),
        program_({BuildDirectory() + "/tests/fault_consumer", url, queue, log, std::to_string(seed)}) {}
  Program& program() { return program_; }
  const std::string& log() const { return log_; }
  void Kill() {
    program_.Signal(SIGKILL);
    program_.Wait();
  }

 private:
  std::string log_;
  Program program_;
};

TEST(ConsumerFault, KillsAndStopsPastTheLeaseLoseNothing) {
  constexpr int kConsumers = 4, kFaults = 8;
  BrokerProcess broker({"--log-level", "warn"});
  Rounds([&](uint64_t number, Random& random) {
    TempDirectory logs;
    std::vector<std::string> paths;
    const std::string queue = "consumers-" + std::to_string(number);
    Recorder recorder;
    Load load(broker.url(), queue, {.producers = 2, .consumers = 0, .padding = 100, .maxsize = 1000},
              number * 1'000'000'000, random(), &recorder);
    auto start = [&] {
      paths.push_back(logs.path() + "/" + std::to_string(paths.size()));
      return ConsumerProcess(broker.url(), queue, paths.back(), random());
    };
    std::vector<ConsumerProcess> consumers;
    for (int i = 0; i < kConsumers; ++i) consumers.push_back(start());
    for (int faults = 0; faults < kFaults; ++faults) {
      EXPECT_TRUE(load.Await(200 + Below(random, 2000), 30s)) << "puts do not go on";
      auto& victim = consumers[Below(random, kConsumers)];
      recorder.Disturbed({faults % 2 == 0 ? "kill -9 of a consumer" : "SIGSTOP of a consumer", Now(), 0});
      if (faults % 2 == 0) {
        victim.Kill();
        victim = start();
      } else {
        victim.program().Signal(SIGSTOP);
        Pass(1200ms + Millis(Below(random, 500)));  // its lease is 1 s
        victim.program().Signal(SIGCONT);
      }
    }
    // What the last one to be stopped does late.
    EXPECT_TRUE(load.Await(1000, 30s)) << "puts do not go on";
    History history = load.Finish();
    for (ConsumerProcess& consumer : consumers) consumer.Kill();
    for (const std::string& path : paths) {
      const auto read = ReadCallLog(path);
      history.operations.insert(history.operations.end(), read.begin(), read.end());
    }
    const Counts counts = Judge(history, {.acknowledged = 3000, .deliveries = 3000, .disturbances = kFaults});
    EXPECT_GT(counts.redelivered, 0u) << "no fault met a consumer that held something";
    EXPECT_GT(counts.stale, 0u) << "no consumer was stopped while it held something";
    Client(broker.url()).delete_queue(queue, true);
    return counts;
  });
}

}  // namespace
}  // namespace joinq::testing
