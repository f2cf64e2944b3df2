#include "client/src/async_state.h"

#include <array>
#include <condition_variable>
#include <mutex>

#include "client/src/throwing.h"

namespace joinq::internal {
namespace {

// Where threads sleep until a state changes; states share places by address.
struct ParkingPlace {
  std::mutex mutex;  // so that a change between the look and the sleep is not missed
  std::condition_variable changed;
};

ParkingPlace& PlaceOf(const void* state) {
  static std::array<ParkingPlace, 16> lot;
  return lot[(reinterpret_cast<uintptr_t>(state) >> 7) % lot.size()];
}

}  // namespace

bool AsyncState::WaitFor(uint32_t flags, Clock::time_point deadline) {
  if (Has(flags)) return true;
  ParkingPlace& place = PlaceOf(this);
  std::unique_lock lock(place.mutex);
  state_.fetch_or(kWaited, std::memory_order_acq_rel);
  auto reached = [&] { return Has(flags); };
  if (deadline != deadline.max()) return place.changed.wait_until(lock, deadline, reached);
  place.changed.wait(lock, reached);
  return true;
}

void AsyncState::Set(uint32_t flags) {
  const bool waited = state_.fetch_or(flags, std::memory_order_acq_rel) & kWaited;
  if (flags & kEnded) outstanding_->Remove(1);
  if (!waited) return;
  ParkingPlace& place = PlaceOf(this);
  { std::lock_guard lock(place.mutex); }
  place.changed.notify_all();
}

void AsyncState::OnAck(uint64_t, uint64_t task_id, bool existing) {
  task_id_ = task_id;
  Set(existing ? kHasId | kExisting : kHasId);
}

void AsyncState::OnRefused(uint64_t, const absl::Status& status) {
  error_ = status;
  Set(kEnded);
}

void AsyncState::OnResult(uint64_t, v1::ProducedResult& result) {
  // After kHasId others may read task_id_ meanwhile; it is the same.
  if (!Has(kHasId)) task_id_ = result.task_id();
  FillOutcome(result, &outcome_);
  Set(kHasId | kEnded);
}

void AsyncState::OnLost(uint64_t, uint64_t, const absl::Status& status) {
  error_ = status;
  Set(kEnded);
}

}  // namespace joinq::internal
