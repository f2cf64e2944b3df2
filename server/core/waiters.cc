#include "server/core/waiters.h"

#include <algorithm>
#include <cassert>

namespace joinq::core {

namespace {

uint64_t BytesOf(const Waiter& waiter) {
  uint64_t bytes = 0;
  for (const NewTask& task : waiter.tasks) bytes += sizeof(NewTask) + task.payload.footprint();
  return bytes;
}

}  // namespace

uint64_t WaiterIndex::Park(std::span<WaiterList* const> lists, Waiter waiter) {
  const uint64_t id = waiter.id = next_id_++;
  const CallerId caller = waiter.caller;
  Load& load = loads_[caller];
  ++load.calls;
  const uint64_t bytes = BytesOf(waiter);
  load.bytes += bytes;
  bytes_ += bytes;
  Entry& entry = by_id_[id];
  entry.waiter = std::move(waiter);
  for (WaiterList* list : lists) {
    list->push_back(id);
    entry.places.push_back({list, std::prev(list->end())});
  }
  by_caller_.emplace(caller, id);
  return id;
}

Waiter WaiterIndex::Take(uint64_t id) {
  auto it = by_id_.find(id);
  assert(it != by_id_.end());
  Waiter waiter = std::move(it->second.waiter);
  for (const Place& place : it->second.places) place.list->erase(place.position);
  by_id_.erase(it);
  by_caller_.erase({waiter.caller, id});
  const uint64_t bytes = BytesOf(waiter);
  bytes_ -= bytes;
  auto load = loads_.find(waiter.caller);
  load->second.bytes -= bytes;
  if (--load->second.calls == 0) loads_.erase(load);
  return waiter;
}

std::vector<uint64_t> WaiterIndex::Of(CallerId caller) const {
  std::vector<uint64_t> ids;
  for (auto it = by_caller_.lower_bound({caller, 0}); it != by_caller_.end() && it->first == caller; ++it) {
    ids.push_back(it->second);
  }
  return ids;
}

std::vector<uint64_t> WaiterIndex::All() const {
  std::vector<uint64_t> ids;
  ids.reserve(by_id_.size());
  for (const auto& [id, place] : by_id_) ids.push_back(id);
  std::sort(ids.begin(), ids.end());
  return ids;
}

WaiterIndex::Load WaiterIndex::LoadOf(CallerId caller) const {
  auto it = loads_.find(caller);
  return it == loads_.end() ? Load{} : it->second;
}

}  // namespace joinq::core
