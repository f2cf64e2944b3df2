// Parked calls: puts that wait for room, gets that wait for a task, joins that
// wait for 0, callers that wait for a result for the end of cancelled work
// or for what a task wrote. A parked call is an entry
// here, not a thread. Each entry ends exactly once: answered, timed out or cancelled.
#pragma once

#include <list>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/inlined_vector.h"
#include "absl/container/node_hash_map.h"
#include "server/core/operations.h"
#include "server/core/shared_bytes.h"
#include "server/core/types.h"

namespace joinq::core {

class Queue;
struct Producer;

enum class WaiterKind : uint8_t { kPut, kGet, kJoin, kResult, kCancel, kLog };

struct WeightedQueue {
  Queue* queue = nullptr;
  uint32_t weight = 1;
};

struct Waiter {
  uint64_t id = 0;
  WaiterKind kind = WaiterKind::kJoin;
  CallerId caller = kNobody;
  Queue* queue = nullptr;  // null for those about a task; the first one of a kGet
  GetSpec get;
  std::vector<WeightedQueue> queues;  // kGet
  PutSpec put;
  std::vector<NewTask> tasks;    // kPut
  uint64_t bytes = 0;            // of their payloads
  Producer* producer = nullptr;  // kPut from a producer's stream
  TaskId task{0};                // kResult, kCancel, kLog
  bool forget = false;           // kResult
  uint64_t watch_tag = 0;        // kResult of a producer's stream: answered as a result with this tag
};

// Ids of waiters in the order in which they came. Must not move while any is in it.
using WaiterList = std::list<uint64_t>;

// Holds the parked calls; finds them by id and by caller.
class WaiterIndex {
 public:
  // Appends to the lists and registers; returns the entry's id.
  uint64_t Park(std::span<WaiterList* const> lists, Waiter waiter);
  uint64_t Park(WaiterList* list, Waiter waiter) { return Park({&list, 1}, std::move(waiter)); }
  // Removes the entry, from all its lists, and hands it over. Must exist.
  Waiter Take(uint64_t id);
  bool Has(uint64_t id) const { return by_id_.contains(id); }
  const Waiter& Get(uint64_t id) const { return by_id_.at(id).waiter; }
  // Ids of the calls that this caller has parked, oldest first.
  std::vector<uint64_t> Of(CallerId caller) const;
  std::vector<uint64_t> All() const;
  struct Load {
    size_t calls = 0;
    uint64_t bytes = 0;  // of payloads that wait to be put
  };
  Load LoadOf(CallerId caller) const;
  size_t size() const { return by_id_.size(); }
  uint64_t bytes() const { return bytes_; }

 private:
  struct Place {
    WaiterList* list;
    WaiterList::iterator position;
  };
  struct Entry {
    Waiter waiter;
    absl::InlinedVector<Place, 1> places;
  };
  absl::node_hash_map<uint64_t, Entry> by_id_;
  absl::btree_set<std::pair<CallerId, uint64_t>> by_caller_;
  absl::flat_hash_map<CallerId, Load> loads_;
  uint64_t bytes_ = 0;
  uint64_t next_id_ = 1;
};

}  // namespace joinq::core
