// The tasks of a producer that are not over: not acknowledged, or their outcome
// awaited. Tags ascend, so they lie in a ring indexed by tag; the few that outlive
// the ring (a put parked on a full queue, a long task) move to a hash map.
// Not thread-safe: the producer's lock guards it.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "client/src/put_spec.h"

namespace joinq::internal {

struct OutMessage;

struct PendingPut {
  enum class State : uint8_t {
    kGone,      // over; the slot is free
    kUnacked,   // sent or to be sent
    kAwaiting,  // acknowledged, the outcome is awaited
  };
  std::shared_ptr<ResultSink> sink;
  uint64_t cookie = 0;
  uint64_t task_id = 0;           // once acknowledged
  OutMessage* message = nullptr;  // while unacknowledged
  uint32_t bytes = 0;             // held of the window while unacknowledged
  bool watch = false;
  State state = State::kGone;
};

class PendingPuts {
 public:
  PendingPuts() : ring_(kRingMin) {}

  // Adds the next tag, from 1 on. The reference holds until the next Add.
  uint64_t Add(PendingPut put);
  // Null if the tag is over or never was.
  PendingPut* Find(uint64_t tag);
  // Ends a task. The pointer from Find must not be used any more.
  void Erase(uint64_t tag);
  // The task stays for its outcome, but is unacknowledged no more.
  void Acked(uint64_t tag);

  // Every tag below is acknowledged, refused or given up. Never decreases.
  uint64_t AckedBelow();
  uint64_t next_tag() const { return base_ + size_; }
  size_t live() const { return live_; }

  // Visits every live task in the order of tags; `visit` must not add or erase.
  template <typename Visit>
  void ForEach(Visit visit) {
    std::set<uint64_t> early;
    for (const auto& [tag, put] : stragglers_) early.insert(tag);
    for (uint64_t tag : early) visit(tag, stragglers_.find(tag)->second);
    for (uint64_t tag = base_; tag < base_ + size_; ++tag) {
      if (At(tag).state != PendingPut::State::kGone) visit(tag, At(tag));
    }
  }
  // Drops all; tags go on from where they were.
  void Clear();

 private:
  static constexpr size_t kRingMin = 1024;
  static constexpr size_t kRingMax = 65'536;

  PendingPut& At(uint64_t tag) { return ring_[tag & (ring_.size() - 1)]; }
  void PopGone();

  std::vector<PendingPut> ring_;  // a power of two
  uint64_t base_ = 1;             // the oldest tag in the ring
  uint64_t size_ = 0;             // tags in the ring, gone ones included
  uint64_t acked_below_ = 1;      // of the tags in the ring; may lag
  size_t live_ = 0;
  absl::flat_hash_map<uint64_t, PendingPut> stragglers_;
  std::set<uint64_t> unacked_stragglers_;
};

}  // namespace joinq::internal
