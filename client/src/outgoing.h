// The producer's messages on their way out: tasks are appended to the last one,
// messages are kept until every task in them is acknowledged, and what is left of
// them can be packed anew for another stream. Message objects are reused.
// Not thread-safe: the producer's lock guards it.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string_view>
#include <vector>

#include "client/src/put_spec.h"

namespace joinq::internal {

// One ProduceRequest. Shared because a write may still read it when the last
// acknowledgement of its tasks, or a giving up, lets go of it.
struct OutMessage {
  v1::ProduceRequest request;
  uint64_t number = 0;
  uint32_t tasks = 0;
  uint32_t unacked = 0;
  uint64_t bytes = 0;
  const PutSpec* last_spec = nullptr;  // of the last group; kept alive by `specs`
  std::vector<std::shared_ptr<const PutSpec>> specs;
};

class Outgoing {
 public:
  static constexpr uint32_t kTasksMax = 1024;      // in one message
  static constexpr uint64_t kBytesMax = 2u << 20;  // in one message, unless one payload is larger
  static constexpr uint64_t kRetainedBytesMax = 128u << 20;

  // Adds a task to the newest message not yet sent; the message it went to.
  OutMessage* Append(uint64_t tag, const std::shared_ptr<const PutSpec>& spec, std::string_view payload);
  // The oldest message not yet sent, or null; it counts as sent from now on.
  std::shared_ptr<OutMessage> TakeNext();
  // A message for control fields alone; not kept.
  std::shared_ptr<OutMessage> TakeEmpty();
  bool has_unsent() const { return !unsent_.empty(); }
  // Tasks in the message that would be sent next.
  uint32_t next_tasks() const { return unsent_.empty() ? 0 : unsent_.front()->tasks; }
  // One task of `message` was acknowledged, refused or withdrawn.
  void Settle(OutMessage* message);

  // Lost stream: packs every unsettled task anew, in the order of tags, all unsent.
  // `keep(tag)` says whether a task is still unsettled; `moved(tag, message)` tells its new place.
  using Keep = std::function<bool(uint64_t tag)>;
  using Moved = std::function<void(uint64_t tag, OutMessage* message)>;
  void Rebuild(const Keep& keep, const Moved& moved);
  // When mostly settled messages hold much memory: Rebuild for the sent ones, which stay sent.
  bool needs_compaction() const { return retained_bytes_ > kRetainedBytesMax; }
  void Compact(const Keep& keep, const Moved& moved);
  void Clear();

 private:
  std::shared_ptr<OutMessage> NewMessage();
  void Recycle(std::shared_ptr<OutMessage> message);
  void CopyUnsettled(const OutMessage& from, const Keep& keep, const Moved& moved);

  uint64_t next_number_ = 1;
  uint64_t retained_bytes_ = 0;
  std::deque<std::shared_ptr<OutMessage>> unsent_;
  std::map<uint64_t, std::shared_ptr<OutMessage>> sent_;  // with tasks not settled, by number
  std::vector<std::shared_ptr<OutMessage>> free_;
};

}  // namespace joinq::internal
