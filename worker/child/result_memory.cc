#include "worker/child/result_memory.h"

#include <cstring>

namespace joinq {

std::optional<PayloadPlace> ResultMemory::Put(std::string_view payload, uint64_t taken, UniqueFd& fresh) {
  if (payload.size() > kResultMemoryBytes) return std::nullopt;
  for (uint32_t id = 0; id < parts_.size(); ++id) {
    Part& part = parts_[id];
    if (part.number > taken) continue;
    if (!part.memory.valid()) {
      auto memory = SharedMemory::Create(kResultMemoryBytes, fresh);
      if (!memory.ok()) return std::nullopt;
      part.memory = *std::move(memory);
    }
    if (payload.size() > part.reserved) {
      if (!part.memory.Reserve(payload.size()).ok()) {
        if (fresh.valid()) part = {};
        fresh.Reset();
        return std::nullopt;
      }
      part.reserved = payload.size();
    }
    std::memcpy(part.memory.data(), payload.data(), payload.size());
    part.number = ++count_;
    return PayloadPlace{id, static_cast<uint32_t>(payload.size())};
  }
  return std::nullopt;
}

void ResultMemory::Undo(PayloadPlace place) {
  parts_[place.memory] = {};
  --count_;
}

}  // namespace joinq
