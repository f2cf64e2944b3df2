// A child's memory for large results, which the daemon reads. Each is used again once
// the daemon has taken the result that was in it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "worker/child/frames.h"
#include "worker/process/result_reader.h"
#include "worker/process/shared_memory.h"

namespace joinq {

class ResultMemory {
 public:
  // Puts the result into one that is free: `taken` is how many of them the daemon has taken.
  // Nothing if none is free, it is too large or there is no memory: then it goes in the frame.
  // `fresh` is to be sent along if it is valid.
  std::optional<PayloadPlace> Put(std::string_view payload, uint64_t taken, UniqueFd& fresh);
  // The descriptor could not be sent: the memory is not known to the daemon.
  void Undo(PayloadPlace place);

 private:
  struct Part {
    SharedMemory memory;
    size_t reserved = 0;
    uint64_t number = 0;  // of the newest result in it, from 1 on
  };
  std::array<Part, kResultMemories> parts_;  // the memory's id is its index
  uint64_t count_ = 0;
};

}  // namespace joinq
