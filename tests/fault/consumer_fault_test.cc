// Consumers are processes that are killed, and stopped until the broker has taken from
// them what they held. It must come back, and what they still do with it must be refused.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <optional>

#include "tests/fault/load.h"
#include "tests/support/programs.h"

namespace joinq::testing {
namespace {

using Kind = Operation::Kind;
using Answer = Operation::Answer;

class ConsumerProcess {
 public:
  // `by` is what it holds tasks by: "session" or "lease".
  ConsumerProcess(const std::string& url, const std::string& queue, const std::string& log, uint64_t seed,
                  const std::string& by)
      : log_(log),
        program_({BuildDirectory() + "/tests/fault_consumer", url, queue, log, std::to_string(seed), by}) {}
  // What it holds by its own account; exact while it is stopped.
  std::vector<Operation> Held() const { return HeldAtTheEnd(ReadCallLog(log_)); }
  // Its call to finish this, if it has made it.
  std::optional<Operation> DoneOf(const Operation& delivery) const {
    for (const Operation& call : ReadCallLog(log_)) {
      if (call.kind == Kind::kDone && call.task == delivery.task && call.token == delivery.token) return call;
    }
    return std::nullopt;
  }
  void Kill() {
    program_.Signal(SIGKILL);
    program_.Wait();
  }
  bool Stop() { return program_.Stop(); }
  void Continue() { program_.Signal(SIGCONT); }

 private:
  std::string log_;
  Program program_;
};

// No longer its consumer's: given back, or somebody else's, or ended.
bool IsTaken(Client& client, const Operation& delivery) {
  try {
    const Lease lease = client.task_info(delivery.task).lease;
    return Token{lease.epoch, lease.sequence} != delivery.token;
  } catch (const NotFound&) {
    return true;
  }
}

// Stops it at a moment when it holds something, until none of that is its own any more.
// What it does with it when it goes on must be refused.
void StopUntilTaken(ConsumerProcess& victim, Client& client) {
  std::vector<Operation> held;
  ASSERT_TRUE(Eventually(
      [&] {
        if (!victim.Stop()) return false;
        held = victim.Held();
        if (held.empty()) victim.Continue();
        return !held.empty();
      },
      30s))
      << "it never holds anything";
  EXPECT_TRUE(Eventually([&] {
    return std::all_of(held.begin(), held.end(), [&](const Operation& o) { return IsTaken(client, o); });
  })) << "what a stopped consumer held stays with it";
  victim.Continue();
  // All of them in one call.
  std::optional<Operation> done;
  EXPECT_TRUE(Eventually(
      [&] {
        done = victim.DoneOf(held[0]);
        return done.has_value() && done->answer == Answer::kRefused;
      },
      30s))
      << "what it did too late was not refused: " << ToString(held[0]) << "; "
      << (done.has_value() ? ToString(*done) : "never tried");
}

TEST(ConsumerFault, KillsAndStopsPastTheLeaseLoseNothing) {
  constexpr uint64_t kConsumers = 4, kFaults = 8;
  // Sessions end as leases do: after a second of silence.
  BrokerProcess broker({"--log-level", "warn", "--worker-grace", "0.2", "--worker-timeout", "1"});
  Client client(broker.url());
  Rounds([&](uint64_t number, Random& random) {
    TempDirectory logs;
    std::vector<std::string> paths;
    const std::string queue = "consumers-" + std::to_string(number);
    Recorder recorder;
    Load load(broker.url(), queue, {.producers = 2, .consumers = 0, .padding = 100, .maxsize = 1000},
              number * 1'000'000'000, random(), &recorder);
    auto start = [&](uint64_t index) {
      paths.push_back(logs.path() + "/" + std::to_string(paths.size()));
      return ConsumerProcess(broker.url(), queue, paths.back(), random(),
                             index % 2 == 0 ? "session" : "lease");
    };
    std::vector<ConsumerProcess> consumers;
    for (uint64_t i = 0; i < kConsumers; ++i) consumers.push_back(start(i));
    for (uint64_t faults = 0; faults < kFaults; ++faults) {
      EXPECT_TRUE(load.Await(200 + Below(random, 2000), 30s)) << "puts do not go on";
      const bool kill = faults % 2 == 0;
      // Both kinds of consumers in turn.
      const uint64_t index = 2 * Below(random, kConsumers / 2) + faults / 2 % 2;
      recorder.Disturbed({kill ? "kill -9 of a consumer" : "SIGSTOP of a consumer", Now(), 0});
      if (kill) {
        consumers[index].Kill();
        consumers[index] = start(index);
      } else {
        StopUntilTaken(consumers[index], client);
        if (::testing::Test::HasFatalFailure()) return Counts{};
      }
    }
    History history = load.Finish();
    for (ConsumerProcess& consumer : consumers) consumer.Kill();
    for (const std::string& path : paths) {
      const auto read = ReadCallLog(path);
      history.operations.insert(history.operations.end(), read.begin(), read.end());
    }
    const Counts counts = Judge(history, {.acknowledged = 3000, .deliveries = 3000, .disturbances = kFaults});
    EXPECT_GT(counts.redelivered, 0u) << "no fault met a consumer that held something";
    EXPECT_GE(counts.stale, kFaults / 2) << "what a stopped consumer did too late was not refused";
    client.delete_queue(queue, true);
    return counts;
  });
}

}  // namespace
}  // namespace joinq::testing
