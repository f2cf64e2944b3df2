// When each child is to be looked at next, for it may be stuck or past its time
// by then. One timer serves all: nothing is looked at while no time is near.
// Pure; times are nanoseconds of any steady clock.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace joinq {

class WatchTimes {
 public:
  static constexpr uint64_t kNever = UINT64_MAX;

  explicit WatchTimes(uint32_t children) : at_(children, kNever) {}

  void AddChild() { at_.push_back(kNever); }
  // Looks at `child` at that time, or earlier if that was wanted already. True: next() moved.
  bool Want(uint32_t child, uint64_t at) {
    at_[child] = std::min(at_[child], at);
    if (at >= next_) return false;
    next_ = at;
    return true;
  }
  bool Pending(uint32_t child) const { return at_[child] != kNever; }
  // The earliest time anything is wanted; never later than it is.
  uint64_t next() const { return next_; }

  // Calls look(child) -> time of its next look, for each whose time has come.
  template <typename Look>
  void RunDue(uint64_t now, Look look) {
    next_ = kNever;
    for (uint32_t child = 0; child < at_.size(); ++child) {
      if (at_[child] <= now) {
        at_[child] = kNever;
        // It may want a look itself.
        at_[child] = std::min(at_[child], static_cast<uint64_t>(look(child)));
      }
      next_ = std::min(next_, at_[child]);
    }
  }

 private:
  std::vector<uint64_t> at_;
  uint64_t next_ = kNever;
};

}  // namespace joinq
