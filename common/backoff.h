// Exponential backoff with full jitter on the upper half: the n-th delay is
// drawn from [d/2, d] with d = min(first * 2^n, max). Not thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <random>

namespace joinq {

class Backoff {
 public:
  using Millis = std::chrono::milliseconds;
  Backoff(Millis first, Millis max, uint64_t seed = std::random_device{}());

  Millis Next();                // the delay before the next try
  void Reset() { tries_ = 0; }  // after a success
  uint32_t tries() const { return tries_; }

 private:
  Millis first_;
  Millis max_;
  uint32_t tries_ = 0;
  std::mt19937_64 random_;
};

// The un-jittered n-th delay (n from 0), capped and safe from overflow.
std::chrono::milliseconds ExponentialDelay(std::chrono::milliseconds first, std::chrono::milliseconds max,
                                           uint32_t n);

}  // namespace joinq
