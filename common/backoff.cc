#include "common/backoff.h"

#include <algorithm>

namespace joinq {

std::chrono::milliseconds ExponentialDelay(std::chrono::milliseconds first, std::chrono::milliseconds max,
                                           uint32_t n) {
  if (first.count() <= 0) return std::chrono::milliseconds(0);
  if (n >= 32 || first.count() > (max.count() >> n)) return max;
  return std::chrono::milliseconds(first.count() << n);
}

Backoff::Backoff(Millis first, Millis max, uint64_t seed) : first_(first), max_(max), random_(seed) {}

Backoff::Millis Backoff::Next() {
  const int64_t whole = std::max<int64_t>(1, ExponentialDelay(first_, max_, tries_++).count());
  std::uniform_int_distribution<int64_t> draw(whole - whole / 2, whole);
  return Millis(draw(random_));
}

}  // namespace joinq
