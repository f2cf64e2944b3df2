#include "worker/process/payload_store.h"

#include <sys/resource.h>

#include <algorithm>
#include <cstring>

namespace joinq {

PayloadMemoryPtr PayloadStore::Put(std::string_view payload) {
  if (payload.size() > kPayloadBytesMax || in_use_ >= in_use_max_) return nullptr;
  auto memory = Take();
  if (memory == nullptr) return nullptr;
  if (payload.size() > memory->reserved) {
    if (!memory->memory.Reserve(payload.size()).ok()) return nullptr;
    memory->reserved = payload.size();
  }
  std::memcpy(memory->memory.data(), payload.data(), payload.size());
  ++in_use_;
  return PayloadMemoryPtr(memory.release(), [this](PayloadMemory* each) { GiveBack(each); });
}

std::unique_ptr<PayloadMemory> PayloadStore::Take() {
  if (!idle_.empty()) {
    auto memory = std::move(idle_.back());
    idle_.pop_back();
    idle_bytes_ -= memory->reserved;
    return memory;
  }
  auto fresh = std::make_unique<PayloadMemory>();
  auto memory = SharedMemory::Create(kPayloadBytesMax, fresh->fd);
  if (!memory.ok()) return nullptr;
  fresh->memory = *std::move(memory);
  fresh->id = next_id_++;
  return fresh;
}

void PayloadStore::GiveBack(PayloadMemory* memory) {
  std::unique_ptr<PayloadMemory> owned(memory);
  --in_use_;
  if (idle_.size() >= kIdleMax || idle_bytes_ + owned->reserved > kIdleBytesMax) return;
  idle_bytes_ += owned->reserved;
  idle_.push_back(std::move(owned));
}

size_t PayloadsInUseMax() {
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) return 0;
  return std::min<rlim_t>(PayloadStore::kInUseMax, files.rlim_cur / 8);
}

}  // namespace joinq
