// What handlers have left behind: processes that fell to the child when their parents
// died. Those that have ended stay zombies, as it cannot be told whether a library of a
// handler waits for them. A child with too many of these, or of those that live, had better
// be replaced.
#pragma once

#include <cstdint>

namespace joinq {

class Leftovers {
 public:
  static constexpr int kZombiesMax = 8;
  static constexpr int kAliveMax = 100;

  // To be asked between tasks; looks ten times a second at most, and is cheap while there are none.
  bool TooMany(uint64_t now_ns);

 private:
  uint64_t next_look_ns_ = 0;
};

}  // namespace joinq
