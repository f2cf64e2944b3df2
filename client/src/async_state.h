// Behind AsyncTask: one task's id and outcome, and whoever waits for them.
//
// Small, since programs hold many: a word of state that is a futex of sorts, with
// waiters parked at a shared place (ParkingLot) instead of a condition variable each.
#pragma once

#include <joinq/pool.h>

#include <atomic>
#include <chrono>
#include <memory>

#include "client/src/outstanding.h"
#include "client/src/put_spec.h"

namespace joinq::internal {

class AsyncState : public ResultSink {
 public:
  using Clock = std::chrono::steady_clock;
  explicit AsyncState(std::shared_ptr<Outstanding> outstanding)
      : ResultSink(true), outstanding_(std::move(outstanding)) {}

  // Set once each, in this order; kHasId may be skipped.
  static constexpr uint32_t kHasId = 1;
  static constexpr uint32_t kEnded = 2;
  static constexpr uint32_t kWaited = 4;
  static constexpr uint32_t kExisting = 8;  // with kHasId: nothing was put

  bool Has(uint32_t flags) const { return state_.load(std::memory_order_acquire) & flags; }
  // False at `deadline`.
  bool WaitFor(uint32_t flags, Clock::time_point deadline);
  // After kHasId or kEnded.
  uint64_t task_id() const { return task_id_; }
  // After kEnded. If `error` is not OK, it was refused or lost and there is no outcome.
  const Outcome& outcome() const { return outcome_; }
  const absl::Status& error() const { return error_; }

  void OnAck(uint64_t cookie, uint64_t task_id, bool existing) override;
  void OnRefused(uint64_t cookie, const absl::Status& status) override;
  void OnResult(uint64_t cookie, v1::ProducedResult& result) override;
  void OnLost(uint64_t cookie, uint64_t task_id, const absl::Status& status) override;
  void OnBatchEnd() override {}

 private:
  void Set(uint32_t flags);

  std::atomic<uint32_t> state_{0};
  const std::shared_ptr<Outstanding> outstanding_;
  uint64_t task_id_ = 0;
  Outcome outcome_;
  absl::Status error_;
};

}  // namespace joinq::internal
