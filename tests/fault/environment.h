// What all fault tests share: the seed, how long to go on, random times.
//
//   JOINQ_FAULT_SEED     the seed of a run to be repeated (its timing will still differ)
//   JOINQ_FAULT_SECONDS  each test goes on for so long, in rounds; without it, one round
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <random>
#include <string>

#include "tests/fault/checker.h"

namespace joinq::testing {

using Random = std::mt19937_64;

// Of this process; told with every failure.
uint64_t Seed();

// A number below `bound`, 0 if that is 0.
inline uint64_t Below(Random& random, uint64_t bound) {
  return bound == 0 ? 0 : random() % bound;
}

// Lets time pass where time itself is what is tested (between a stop and its end, before
// a kill); never to wait for something.
void Pass(std::chrono::milliseconds time);

// Calls `round` with its number and random numbers of its own, once or until
// JOINQ_FAULT_SECONDS are over or something failed; then prints and returns the sum of
// what the rounds counted.
Counts Rounds(const std::function<Counts(uint64_t, Random&)>& round);

// Checks a history, says what is wrong as a test failure, and returns the counts.
Counts Judge(const History& history, const Floors& floors);

}  // namespace joinq::testing
