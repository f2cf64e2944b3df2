#include "server/rpc/target.h"

#include <algorithm>

namespace joinq::rpc {

void TargetMap::Publish(core::Effects* effects,
                        const std::function<void(const core::Delivery&)>& undelivered) {
  // Targets do not come or go in here but for replies, which end their calls: they come last.
  last_target_ = nullptr;
  touched_.clear();
  for (const auto& ack : effects->put_acks) {
    if (Target* target = Find(ack.to)) target->PutAcked(ack);
  }
  for (const auto& refusal : effects->put_refusals) {
    if (Target* target = Find(refusal.to)) target->PutRefused(refusal);
  }
  for (const auto& ack : effects->completion_acks) {
    if (Target* target = Find(ack.to)) target->CompletionsAcked(ack);
  }
  for (const auto& action : effects->actions) {
    if (Target* target = Find(action.to)) target->Told(action);
  }
  for (const auto& ask : effects->log_asks) {
    if (Target* target = Find(ask.to)) target->AskedForLog(ask);
  }
  for (const auto& result : effects->results) {
    if (Target* target = Find(result.to)) target->Result(result);
  }
  for (const auto& delivery : effects->deliveries) {
    if (Target* target = Find(delivery.to)) target->Delivered(delivery);
    // A worker whose stream is gone keeps its leases for the grace period.
  }
  // After the deliveries: a task may have been handed out and cancelled in one round.
  for (const auto& cancel : effects->cancels) {
    if (Target* target = Find(cancel.to)) target->Cancelled(cancel);
  }
  std::sort(touched_.begin(), touched_.end());
  touched_.erase(std::unique(touched_.begin(), touched_.end()), touched_.end());
  for (core::CallerId caller : touched_) {
    if (auto it = targets_.find(caller); it != targets_.end()) it->second->Flush();
  }
  last_target_ = nullptr;
  for (auto& reply : effects->replies) {
    auto it = targets_.find(reply.to);
    if (it != targets_.end()) {
      it->second->Replied(std::move(reply));
    } else {
      for (const auto& delivery : reply.deliveries) undelivered(delivery);
    }
  }
  effects->Clear();
}

}  // namespace joinq::rpc
