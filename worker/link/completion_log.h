// Completions on their way to the broker: gathered into messages, numbered when
// first sent, kept until the broker says that they are durable, and sent again
// after a reconnect. Message objects are reused. Not thread-safe.
//
//   Add -> [filling] -> [unsent] -> Send -> [sent] -> Acked
//                           ^------ Broken ----'
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "joinq/v1/worker.pb.h"

namespace joinq {

class CompletionLog {
 public:
  // A message is closed before it would pass these; a lone larger completion still fits.
  static constexpr size_t kMessageBytes = 1 << 20;
  static constexpr int kMessageCompletions = 8192;

  // A cleared completion of about `bytes` to fill in at once.
  v1::Completion* Add(size_t bytes);

  bool has_unsent() const { return !unsent_.empty(); }
  // The next message to send, numbered, with no field set but its completions
  // and number. The caller may add other fields and must send it at once.
  // Valid until the next non-const call. Requires has_unsent().
  v1::WorkRequest* Send();

  // Every message up to `seq` is durable.
  void Acked(uint64_t seq);
  // The stream broke: what was sent but not acknowledged is to be sent again, first.
  void Broken();
  // On a new stream, before the first Send: the broker has seen messages up to
  // `seq` already (they are not sent again, but are kept until acknowledged).
  void Seen(uint64_t seq);

  // Completions not yet acknowledged.
  size_t pending() const { return pending_; }
  void ForEachPending(const std::function<void(const v1::Completion&)>& visit) const;

 private:
  struct Message {
    v1::WorkRequest request;
    size_t bytes = 0;
  };
  std::unique_ptr<Message> Fresh();
  void Recycle(std::unique_ptr<Message> message);

  std::deque<std::unique_ptr<Message>> unsent_;  // the last one is being filled if it has no number
  std::deque<std::unique_ptr<Message>> sent_;
  std::vector<std::unique_ptr<Message>> free_;
  uint64_t last_seq_ = 0;
  size_t pending_ = 0;
};

}  // namespace joinq
