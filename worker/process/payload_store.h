// Large payloads of tasks in hand, in memory that children can map. Used again
// and again: what is not in use any more is kept up to a limit.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "worker/process/shared_memory.h"

namespace joinq {

// One payload. Not written again while anyone holds it.
struct PayloadMemory {
  uint32_t id = 0;  // never given twice by one store (until it has made 4 billion)
  UniqueFd fd;
  SharedMemory memory;
  size_t reserved = 0;  // bytes with memory behind them
};
using PayloadMemoryPtr = std::shared_ptr<const PayloadMemory>;

// Not thread-safe, nor are the last releases of what it gives; it must outlive these.
class PayloadStore {
 public:
  static constexpr size_t kPayloadBytesMax = 4 << 20;
  static constexpr size_t kInUseMax = 256;  // each is a descriptor
  static constexpr size_t kIdleMax = 64;
  static constexpr size_t kIdleBytesMax = 16 << 20;

  explicit PayloadStore(size_t in_use_max = kInUseMax) : in_use_max_(in_use_max) {}
  PayloadStore(const PayloadStore&) = delete;
  PayloadStore& operator=(const PayloadStore&) = delete;

  // The payload, copied; null if it is too large, too many are in use or there is no memory.
  PayloadMemoryPtr Put(std::string_view payload);

  size_t in_use() const { return in_use_; }
  size_t idle_bytes() const { return idle_bytes_; }

 private:
  std::unique_ptr<PayloadMemory> Take();
  void GiveBack(PayloadMemory* memory);

  const size_t in_use_max_;
  std::vector<std::unique_ptr<PayloadMemory>> idle_;  // the newest last
  size_t idle_bytes_ = 0;
  size_t in_use_ = 0;
  uint32_t next_id_ = 1;
};

// kInUseMax, or fewer if this process may have few descriptors.
size_t PayloadsInUseMax();

}  // namespace joinq
