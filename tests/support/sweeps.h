// Purge, delete and their like within a round: for those small enough to end within the call.
#pragma once

#include <gtest/gtest.h>

#include <string_view>

#include "absl/status/statusor.h"
#include "server/core/broker.h"

namespace joinq::testing {

inline constexpr core::CallerId kSweeper{0x5eed};

// Takes the sweeper's reply out of the effects: how many tasks it was.
inline absl::StatusOr<uint64_t> TakeSweepReply(core::Broker& broker) {
  auto& replies = broker.effects().replies;
  for (auto it = replies.begin(); it != replies.end(); ++it) {
    if (it->to != kSweeper) continue;
    const absl::Status status = it->status;
    const uint64_t count = it->count;
    replies.erase(it);
    if (!status.ok()) return status;
    return count;
  }
  return absl::InternalError("not answered yet");
}

inline absl::StatusOr<uint64_t> Purge(core::Broker& broker, std::string_view queue) {
  broker.PurgeQueue(kSweeper, queue);
  return TakeSweepReply(broker);
}
inline absl::StatusOr<uint64_t> PurgeDead(core::Broker& broker, std::string_view queue) {
  broker.PurgeDead(kSweeper, queue);
  return TakeSweepReply(broker);
}
inline absl::StatusOr<uint64_t> RetryDead(core::Broker& broker, std::string_view queue, uint64_t limit = 0) {
  broker.RetryDead(kSweeper, queue, limit);
  return TakeSweepReply(broker);
}
inline absl::Status Delete(core::Broker& broker, std::string_view queue, bool force = false) {
  broker.DeleteQueue(kSweeper, queue, force);
  return TakeSweepReply(broker).status();
}

}  // namespace joinq::testing
