// Where the core's effects go: one Target a caller, called on the core's thread.
#pragma once

#include "absl/container/flat_hash_map.h"
#include "server/core/effects.h"

namespace joinq::rpc {

class Target {
 public:
  virtual ~Target() = default;
  virtual void PutAcked(const core::PutAck&) {}
  virtual void PutRefused(const core::PutRefusal&) {}
  virtual void Delivered(const core::Delivery&) {}
  virtual void Result(const core::ResultNotice&) {}
  virtual void CompletionsAcked(const core::CompletionsAck&) {}
  virtual void Cancelled(const core::CancelNotice&) {}
  virtual void Told(const core::ActionNotice&) {}
  virtual void AskedForLog(const core::LogAsk&) {}
  virtual void Replied(core::Reply&&) {}
  // After the effects of a round: send what was gathered.
  virtual void Flush() {}
  // Time passes: end the call if its peer has not read for `stalled_ms`.
  virtual void CheckStalled(core::Time) {}
  // The broker stops: end the call with UNAVAILABLE.
  virtual void Close() {}
};

// Finds targets by caller; publishes effects to them.
class TargetMap {
 public:
  core::CallerId NewCaller() { return core::CallerId{next_++}; }
  void Add(core::CallerId caller, Target* target) { targets_[caller] = target; }
  bool Has(core::CallerId caller) const { return targets_.contains(caller); }
  void Remove(core::CallerId caller) { targets_.erase(caller); }
  // Effects for callers that are gone are returned to the core or dropped.
  void Publish(core::Effects* effects, const std::function<void(const core::Delivery&)>& undelivered);
  size_t size() const { return targets_.size(); }
  template <typename F>
  void ForEach(F&& visit) {
    std::vector<core::CallerId> callers;
    for (auto& [caller, target] : targets_) callers.push_back(caller);
    for (core::CallerId caller : callers) {
      if (auto it = targets_.find(caller); it != targets_.end()) visit(it->second);
    }
  }

 private:
  Target* Find(core::CallerId caller) {
    if (caller == last_ && last_target_ != nullptr) return last_target_;
    auto it = targets_.find(caller);
    last_ = caller;
    last_target_ = it == targets_.end() ? nullptr : it->second;
    if (last_target_ != nullptr && (touched_.empty() || touched_.back() != caller))
      touched_.push_back(caller);
    return last_target_;
  }
  absl::flat_hash_map<core::CallerId, Target*> targets_;
  std::vector<core::CallerId> touched_;
  core::CallerId last_ = core::kNobody;
  Target* last_target_ = nullptr;
  uint64_t next_ = 1;
};

}  // namespace joinq::rpc
