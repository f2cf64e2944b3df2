// The daemon's view of a child's large results. What the child sends is not trusted.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <string_view>

#include "absl/status/statusor.h"
#include "common/names.h"
#include "worker/process/shared_memory.h"
#include "worker/process/unique_fd.h"

namespace joinq {

// A child has so many at once, of that size.
inline constexpr size_t kResultMemories = 4;
inline constexpr size_t kResultMemoryBytes = kPayloadBytesMaxDefault;

class ResultReader {
 public:
  // A descriptor came. Invalid: one was lost. More than a child may have are closed.
  void Add(UniqueFd fd);
  // The first `bytes` of the child's memory `id`; of the oldest descriptor if that is `fresh`.
  // The child may change them at any time: to be copied once. An error says what is wrong with it.
  absl::StatusOr<std::string_view> Read(uint32_t id, size_t bytes, bool fresh);

 private:
  std::deque<UniqueFd> fds_;
  std::array<SharedMemory, kResultMemories> memories_;
};

}  // namespace joinq
