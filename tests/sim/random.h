// The one source of chance of a simulation: the same numbers from the same seed on
// every machine (the distributions of the standard library differ).
#pragma once

#include <cstdint>
#include <vector>

namespace joinq::sim {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15ull + 1) {}

  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  // From 0 to `n` - 1.
  uint64_t Below(uint64_t n) { return Next() % n; }
  // From `low` to `high`, both included.
  uint64_t From(uint64_t low, uint64_t high) { return low + Below(high - low + 1); }
  bool Percent(uint64_t p) { return Below(100) < p; }
  bool OneIn(uint64_t n) { return Below(n) == 0; }
  template <typename T>
  T Any(std::initializer_list<T> of) {
    return of.begin()[Below(of.size())];
  }
  template <typename T>
  const T& Any(const std::vector<T>& of) {
    return of[Below(of.size())];
  }

 private:
  uint64_t state_;
};

}  // namespace joinq::sim
