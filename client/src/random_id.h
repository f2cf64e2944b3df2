// Names that clients choose for themselves.
#pragma once

#include <cstdint>
#include <random>

namespace joinq::internal {

// Never 0.
inline uint64_t RandomId() {
  std::random_device device;
  const uint64_t id = (uint64_t{device()} << 32) | device();
  return id == 0 ? 1 : id;
}

}  // namespace joinq::internal
