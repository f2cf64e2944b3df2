// Parked calls: puts that wait for room, gets that wait for a task, joins that
// wait for 0, callers that wait for a result. A parked call is an entry here,
// not a thread. Each entry ends exactly once: answered, timed out or cancelled.
#pragma once

#include <list>
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "server/core/shared_bytes.h"
#include "server/core/types.h"

namespace joinq::core {

class Queue;
struct Producer;

// What tasks of one put share.
struct PutSpec {
  std::string queue;
  Name handler, content_type;
  TaskPolicy policy;
  uint32_t delay_ms = 0;
  bool watch = false;
  uint32_t timeout_ms = 0;  // waiting for room; 0: for ever
  bool no_wait = false;
};

struct NewTask {
  uint64_t tag = 0;
  Blob payload, headers;
};

struct GetSpec {
  uint32_t max_tasks = 1;
  uint32_t timeout_ms = 0;
  bool no_wait = false;
  uint32_t lease_ms = 0;
  bool ack = false;
};

enum class WaiterKind : uint8_t { kPut, kGet, kJoin, kResult };

struct Waiter {
  uint64_t id = 0;
  WaiterKind kind = WaiterKind::kJoin;
  CallerId caller = kNobody;
  Queue* queue = nullptr;  // null for kResult
  GetSpec get;
  PutSpec put;
  std::vector<NewTask> tasks;    // kPut
  Producer* producer = nullptr;  // kPut from a producer's stream
  TaskId task{0};                // kResult
  bool forget = false;           // kResult
};

using WaiterList = std::list<Waiter>;

// Finds parked calls by id and by caller. The entries themselves live in the
// lists of what they wait for.
class WaiterIndex {
 public:
  // Appends to `list` and registers; returns the entry's id.
  uint64_t Park(WaiterList* list, Waiter waiter);
  // Removes the entry and hands it over. Must exist.
  Waiter Take(uint64_t id);
  bool Has(uint64_t id) const { return by_id_.contains(id); }
  const Waiter& Get(uint64_t id) const { return *by_id_.at(id).position; }
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
  absl::flat_hash_map<uint64_t, Place> by_id_;
  absl::btree_set<std::pair<CallerId, uint64_t>> by_caller_;
  absl::flat_hash_map<CallerId, Load> loads_;
  uint64_t bytes_ = 0;
  uint64_t next_id_ = 1;
};

}  // namespace joinq::core
