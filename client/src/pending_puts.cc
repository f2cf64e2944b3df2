#include "client/src/pending_puts.h"

#include <algorithm>

namespace joinq::internal {

using State = PendingPut::State;

uint64_t PendingPuts::Add(PendingPut put) {
  if (size_ == ring_.size()) {
    if (ring_.size() < kRingMax) {
      std::vector<PendingPut> larger(ring_.size() * 2);
      for (uint64_t tag = base_; tag < base_ + size_; ++tag)
        larger[tag & (larger.size() - 1)] = std::move(At(tag));
      ring_ = std::move(larger);
    } else {
      PendingPut& oldest = At(base_);
      if (oldest.state == State::kUnacked) unacked_stragglers_.insert(base_);
      stragglers_.emplace(base_, std::move(oldest));
      oldest = PendingPut();
      ++base_;
      --size_;
      PopGone();
    }
  }
  const uint64_t tag = base_ + size_++;
  At(tag) = std::move(put);
  ++live_;
  return tag;
}

PendingPut* PendingPuts::Find(uint64_t tag) {
  if (tag >= base_ + size_) return nullptr;
  if (tag >= base_) {
    PendingPut& put = At(tag);
    return put.state == State::kGone ? nullptr : &put;
  }
  auto found = stragglers_.find(tag);
  return found == stragglers_.end() ? nullptr : &found->second;
}

void PendingPuts::Erase(uint64_t tag) {
  --live_;
  if (tag < base_) {
    stragglers_.erase(tag);
    unacked_stragglers_.erase(tag);
    return;
  }
  PendingPut& put = At(tag);
  put.sink.reset();
  put.state = State::kGone;
  if (tag == base_) PopGone();
}

void PendingPuts::Acked(uint64_t tag) {
  if (tag < base_) unacked_stragglers_.erase(tag);
}

void PendingPuts::PopGone() {
  while (size_ > 0 && At(base_).state == State::kGone) {
    ++base_;
    --size_;
  }
}

uint64_t PendingPuts::AckedBelow() {
  acked_below_ = std::max(acked_below_, base_);
  while (acked_below_ < base_ + size_ && At(acked_below_).state != State::kUnacked) ++acked_below_;
  return unacked_stragglers_.empty() ? acked_below_ : *unacked_stragglers_.begin();
}

void PendingPuts::Clear() {
  base_ += size_;
  size_ = 0;
  live_ = 0;
  ring_.assign(kRingMin, PendingPut());
  stragglers_.clear();
  unacked_stragglers_.clear();
}

}  // namespace joinq::internal
