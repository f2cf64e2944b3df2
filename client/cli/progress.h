// A progress bar on stderr when that is a terminal; nothing otherwise.
#pragma once

#include <chrono>
#include <cstdint>

namespace joinq::cli {

class Progress {
 public:
  Progress();
  // At most ten times a second.
  void Show(uint64_t done, uint64_t total, uint64_t failed);
  void Clear();

 private:
  using Clock = std::chrono::steady_clock;
  const bool shown_;
  const Clock::time_point began_ = Clock::now();
  Clock::time_point next_ = began_;
};

}  // namespace joinq::cli
