#include "server/core/waiters.h"

#include <algorithm>
#include <cassert>

namespace joinq::core {

uint64_t WaiterIndex::Park(WaiterList* list, Waiter waiter) {
  waiter.id = next_id_++;
  const uint64_t id = waiter.id;
  const CallerId caller = waiter.caller;
  list->push_back(std::move(waiter));
  by_id_.emplace(id, Place{list, std::prev(list->end())});
  by_caller_.emplace(caller, id);
  ++counts_[caller];
  return id;
}

Waiter WaiterIndex::Take(uint64_t id) {
  auto it = by_id_.find(id);
  assert(it != by_id_.end());
  Waiter waiter = std::move(*it->second.position);
  it->second.list->erase(it->second.position);
  by_id_.erase(it);
  by_caller_.erase({waiter.caller, id});
  auto count = counts_.find(waiter.caller);
  if (--count->second == 0) counts_.erase(count);
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

size_t WaiterIndex::CountOf(CallerId caller) const {
  auto it = counts_.find(caller);
  return it == counts_.end() ? 0 : it->second;
}

}  // namespace joinq::core
