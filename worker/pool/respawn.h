// When to start a child again, and when to say that it is hopeless. Pure policy.
//
// A child that did some work is replaced at once: whatever killed it was most
// likely its task. Deaths at start back off, 100 ms .. 10 s, and five in a row
// trip the breaker until some child does work. (A child that never got ready
// brings no credit, so a worker without a healthy child takes no tasks.)
#pragma once

#include <chrono>
#include <cstdint>

#include "common/backoff.h"

namespace joinq {

class RespawnPolicy {
 public:
  static constexpr uint32_t kTripAfter = 5;
  explicit RespawnPolicy(uint64_t seed)
      : backoff_(std::chrono::milliseconds(100), std::chrono::seconds(10), seed) {}

  void OnHealthy() {
    failures_ = 0;
    backoff_.Reset();
  }
  // A child died at start. The delay before the next one is started.
  std::chrono::milliseconds OnFailure() {
    ++failures_;
    return backoff_.Next();
  }
  bool tripped() const { return failures_ >= kTripAfter; }

 private:
  uint32_t failures_ = 0;
  Backoff backoff_;
};

}  // namespace joinq
