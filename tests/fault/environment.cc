#include "tests/fault/environment.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <thread>

namespace joinq::testing {
namespace {

// Tells the seed when something fails.
class SeedTeller : public ::testing::EmptyTestEventListener {
 public:
  void OnTestPartResult(const ::testing::TestPartResult& result) override {
    if (result.failed()) std::cout << "repeat with JOINQ_FAULT_SEED=" << Seed() << std::endl;
  }
};

// Before main, so that it needs no main of its own; GoogleTest deletes it.
[[maybe_unused]] const bool told = [] {
  ::testing::UnitTest::GetInstance()->listeners().Append(new SeedTeller);
  return true;
}();

double SecondsToGoOn() {
  const char* text = std::getenv("JOINQ_FAULT_SECONDS");
  return text == nullptr ? 0 : std::atof(text);
}

}  // namespace

uint64_t Seed() {
  static const uint64_t seed = [] {
    const char* text = std::getenv("JOINQ_FAULT_SEED");
    return text == nullptr ? std::random_device{}() : std::strtoull(text, nullptr, 10);
  }();
  return seed;
}

void Pass(std::chrono::milliseconds time) {
  std::this_thread::sleep_for(time);
}

Counts Rounds(const std::function<Counts(uint64_t, Random&)>& round) {
  const Instant begin = Now();
  Counts sum;
  uint64_t rounds = 0;
  do {
    Random random(Seed() + rounds);
    ++rounds;
    sum += round(rounds, random);
    std::cout << "[ round    ] " << rounds << " after " << Seconds(Now() - begin) << " s\n";
  } while (!::testing::Test::HasFailure() && Seconds(Now() - begin) < SecondsToGoOn());
  std::cout << "[ seen     ] seed " << Seed() << "; " << sum << std::endl;
  return sum;
}

Counts Judge(const History& history, const Floors& floors) {
  const Verdict verdict = Check(history, floors);
  EXPECT_TRUE(verdict.ok()) << verdict;
  return verdict.counts;
}

}  // namespace joinq::testing
