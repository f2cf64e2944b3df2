// How many children there should be. Pure policy.
//
// They are made when tasks wait that no child has room for, up to `most`, and kept.
// With autoscaling, those that were not needed for a whole window of time end, down
// to `least`; and at least that many there always are.
#pragma once

#include <algorithm>
#include <cstdint>

namespace joinq {

class PoolSize {
 public:
  // `most` at least 1, `least` from 1 to `most`.
  PoolSize(uint32_t least, uint32_t most, bool shrinks) : least_(least), most_(most), shrinks_(shrinks) {}

  uint32_t least() const { return std::min(least_, most_); }
  uint32_t most() const { return most_; }
  bool shrinks() const { return shrinks_; }
  // `least` comes down with it.
  void Resize(uint32_t most) { most_ = most; }

  // How many to start now. `alive` are all that exist, those that are `starting` included and
  // those that are `leaving`, which finish what they run and take up their place until then;
  // `unserved` tasks wait and no child has room for them.
  uint32_t ToStart(uint32_t alive, uint32_t starting, uint32_t leaving, uint64_t unserved) const {
    if (alive >= most_) return 0;
    const uint32_t staying = alive - std::min(alive, leaving);
    const uint64_t wanted = std::max<uint64_t>(staying - std::min(staying, starting) + unserved, least());
    const uint64_t more = wanted > staying ? wanted - staying : 0;
    return static_cast<uint32_t>(std::min<uint64_t>(more, most_ - alive));
  }
  // How many to let go now: those beyond `most`.
  uint32_t Beyond(uint32_t alive) const { return alive > most_ ? alive - most_ : 0; }
  // At the end of a window in which at most `busy_peak` were busy at once: how many to let go.
  uint32_t Unneeded(uint32_t alive, uint32_t busy_peak) const {
    if (!shrinks_) return 0;
    const uint32_t needed = std::max(least(), busy_peak);
    return alive > needed ? alive - needed : 0;
  }

 private:
  const uint32_t least_;
  uint32_t most_;
  const bool shrinks_;
};

}  // namespace joinq
