// Cancelled leases: those whose work goes on, and how the latest others ended, so that
// a broker that asks again is told the same. Not thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <tuple>

#include "absl/container/flat_hash_map.h"
#include "joinq/v1/worker.pb.h"

namespace joinq {

class StoppedTasks {
 public:
  static constexpr size_t kEndedMax = 4096;
  using Key = std::tuple<uint64_t, uint64_t, uint64_t>;  // task, epoch, sequence

  // The broker wants to know. False if it asked for the same before.
  bool Ask(const Key& key, bool terminate) {
    auto [at, fresh] = asked_.try_emplace(key, terminate);
    const bool more = fresh || (terminate && !at->second);
    at->second |= terminate;
    return more;
  }
  // The work is over. Whether the broker had asked.
  bool End(const Key& key, v1::WorkEnd end) {
    if (ends_.insert_or_assign(key, end).second) order_.push_back(key);
    if (order_.size() > kEndedMax) {
      ends_.erase(order_.front());
      order_.pop_front();
    }
    return asked_.erase(key) > 0;
  }
  std::optional<v1::WorkEnd> Find(const Key& key) const {
    const auto at = ends_.find(key);
    return at == ends_.end() ? std::nullopt : std::optional(at->second);
  }

 private:
  absl::flat_hash_map<Key, bool> asked_;  // to terminate; bounded by the tasks in hand
  absl::flat_hash_map<Key, v1::WorkEnd> ends_;
  std::deque<Key> order_;  // of ends_
};

}  // namespace joinq
