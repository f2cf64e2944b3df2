#include "client/src/task_stream_state.h"

#include <algorithm>

#include "client/src/throwing.h"
#include "common/names.h"

namespace joinq::internal {

// ---------------------------------------------------------------- collector

void OutcomeCollector::OnRefused(uint64_t cookie, const absl::Status& status) {
  if (absl::IsUnavailable(status)) staged_lost_ = status;
  staged_.push_back(FailedOutcome(cookie, 0, FailureKind::not_put, status));
}

void OutcomeCollector::OnResult(uint64_t cookie, v1::ProducedResult& result) {
  Outcome& outcome = staged_.emplace_back();
  outcome.index = cookie;
  FillOutcome(result, &outcome);
}

void OutcomeCollector::OnLost(uint64_t cookie, uint64_t task_id, const absl::Status& status) {
  staged_lost_ = status;
  staged_.push_back(FailedOutcome(cookie, task_id, FailureKind::forgotten, status));
}

void OutcomeCollector::OnBatchEnd() {
  const size_t count = staged_.size();
  {
    std::lock_guard lock(mutex_);
    if (!staged_lost_.ok()) lost_ = staged_lost_;
    if (outcomes_.empty()) {
      outcomes_.swap(staged_);
    } else {
      std::move(staged_.begin(), staged_.end(), std::back_inserter(outcomes_));
    }
    any_.store(true, std::memory_order_release);
  }
  ready_.notify_one();
  staged_.clear();
  outstanding_->Remove(count);
}

void OutcomeCollector::Add(Outcome outcome) {
  {
    std::lock_guard lock(mutex_);
    outcomes_.push_back(std::move(outcome));
    any_.store(true, std::memory_order_release);
  }
  ready_.notify_one();
  outstanding_->Remove(1);
}

void OutcomeCollector::Take(std::vector<Outcome>* out, bool wait) {
  out->clear();
  std::unique_lock lock(mutex_);
  if (wait) ready_.wait(lock, [this] { return !outcomes_.empty() || woken_; });
  outcomes_.swap(*out);
  woken_ = false;
  any_.store(false, std::memory_order_relaxed);
}

absl::Status OutcomeCollector::lost() const {
  std::lock_guard lock(mutex_);
  return lost_;
}

void OutcomeCollector::Wake() {
  {
    std::lock_guard lock(mutex_);
    woken_ = true;
  }
  ready_.notify_one();
}

// ---------------------------------------------------------------- stream

TaskStreamState::TaskStreamState(std::shared_ptr<Connection> connection, std::shared_ptr<const PutSpec> raw,
                                 std::shared_ptr<const PutSpec> packed,
                                 std::shared_ptr<Outstanding> outstanding, uint32_t window, bool ordered)
    : connection_(std::move(connection)),
      raw_spec_(std::move(raw)),
      packed_spec_(std::move(packed)),
      outstanding_(outstanding),
      collector_(std::make_shared<OutcomeCollector>(std::move(outstanding))),
      window_(std::max(1u, window)),
      ordered_(ordered),
      waiting_(ordered ? window_ : 0) {}

bool TaskStreamState::HasRoom() const {
  return submitted_.load(std::memory_order_relaxed) - yielded_.load(std::memory_order_acquire) < window_;
}

void TaskStreamState::Submit(std::string_view payload, std::string_view content_type, bool more) {
  if (closed_.load(std::memory_order_acquire))
    throw Closed("the task stream is closed: it takes no more submits");
  if (!HasRoom()) {
    Flush();
    std::unique_lock lock(room_mutex_);
    room_wanted_.store(true);
    room_.wait(lock, [this] { return HasRoom() || closed_.load(); });
    room_wanted_.store(false);
    if (closed_.load()) throw Closed("the task stream is closed: it takes no more submits");
  }
  const uint64_t index = submitted_.load(std::memory_order_relaxed);
  outstanding_->Add(1);
  // Before the task is sent, so that its outcome always finds it counted.
  submitted_.store(index + 1, std::memory_order_release);
  const auto& spec = content_type.empty() ? raw_spec_ : packed_spec_;
  auto tag = connection_->producer().Submit(spec, payload, collector_, index, more);
  if (!tag.ok()) collector_->Add(FailedOutcome(index, 0, FailureKind::not_put, tag.status()));
}

void TaskStreamState::Flush() {
  connection_->producer().Flush();
}

void TaskStreamState::Close() {
  Flush();
  closed_.store(true);
  collector_->Wake();
  std::lock_guard lock(room_mutex_);
  room_.notify_all();
}

void TaskStreamState::Sort() {
  for (Outcome& outcome : batch_) {
    auto& place = waiting_[outcome.index % window_];
    place = std::move(outcome);
  }
  batch_.clear();
}

bool TaskStreamState::PopReady(std::optional<Outcome>* out) {
  if (ordered_) {
    auto& place = waiting_[yielded_.load(std::memory_order_relaxed) % window_];
    if (!place) return false;
    if (out == nullptr) return true;
    *out = std::move(place);
    place.reset();
  } else {
    if (position_ == batch_.size()) return false;
    if (out == nullptr) return true;
    *out = std::move(batch_[position_++]);
  }
  yielded_.fetch_add(1);
  if (room_wanted_.load()) {
    std::lock_guard lock(room_mutex_);
    room_.notify_one();
  }
  return true;
}

bool TaskStreamState::HasOutcome() {
  if (PopReady(nullptr)) return true;
  if (!collector_->has_any()) return false;
  collector_->Take(&batch_, false);
  position_ = 0;
  if (ordered_) Sort();
  return PopReady(nullptr);
}

std::optional<Outcome> TaskStreamState::Next() {
  std::optional<Outcome> out;
  while (true) {
    if (PopReady(&out)) {
      if (!out->succeeded && (out->kind == FailureKind::not_put || out->kind == FailureKind::forgotten)) {
        ThrowIfError(Verb::kWait, "results", collector_->lost());
      }
      return out;
    }
    const bool closed = closed_.load(std::memory_order_acquire);
    if (closed && yielded_.load(std::memory_order_relaxed) == submitted()) return std::nullopt;
    collector_->Take(&batch_, true);
    position_ = 0;
    if (ordered_) Sort();
  }
}

}  // namespace joinq::internal
