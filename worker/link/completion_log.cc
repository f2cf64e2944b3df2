#include "worker/link/completion_log.h"

#include <cassert>

namespace joinq {
namespace {
constexpr size_t kFreeMessagesMax = 16;
constexpr size_t kRecycledBytesMax = 512 << 10;  // a message that grew larger is not worth keeping
constexpr size_t kCompletionBytes = 40;          // of its fixed fields, roughly
}  // namespace

std::unique_ptr<CompletionLog::Message> CompletionLog::Fresh() {
  if (free_.empty()) return std::make_unique<Message>();
  auto message = std::move(free_.back());
  free_.pop_back();
  return message;
}

void CompletionLog::Recycle(std::unique_ptr<Message> message) {
  pending_ -= static_cast<size_t>(message->request.completions_size());
  if (free_.size() >= kFreeMessagesMax || message->bytes > kRecycledBytesMax) return;
  message->request.Clear();
  message->bytes = 0;
  free_.push_back(std::move(message));
}

v1::Completion* CompletionLog::Add(size_t bytes) {
  bytes += kCompletionBytes;
  if (unsent_.empty() || unsent_.back()->request.completions_seq() != 0 ||
      unsent_.back()->bytes + bytes > kMessageBytes ||
      unsent_.back()->request.completions_size() >= kMessageCompletions) {
    unsent_.push_back(Fresh());
  }
  unsent_.back()->bytes += bytes;
  ++pending_;
  return unsent_.back()->request.add_completions();
}

v1::WorkRequest* CompletionLog::Send() {
  assert(!unsent_.empty());
  auto& request = unsent_.front()->request;
  if (request.completions_seq() == 0) request.set_completions_seq(++last_seq_);
  request.clear_credit();
  request.clear_status();
  request.clear_draining();
  request.clear_progress();
  request.clear_started();
  request.clear_stopped();
  request.clear_logs();
  sent_.push_back(std::move(unsent_.front()));
  unsent_.pop_front();
  return &request;
}

void CompletionLog::Acked(uint64_t seq) {
  while (!sent_.empty() && sent_.front()->request.completions_seq() <= seq) {
    Recycle(std::move(sent_.front()));
    sent_.pop_front();
  }
}

void CompletionLog::Broken() {
  while (!sent_.empty()) {
    unsent_.push_front(std::move(sent_.back()));
    sent_.pop_back();
  }
}

void CompletionLog::Seen(uint64_t seq) {
  while (!unsent_.empty() && unsent_.front()->request.completions_seq() != 0 &&
         unsent_.front()->request.completions_seq() <= seq) {
    sent_.push_back(std::move(unsent_.front()));
    unsent_.pop_front();
  }
}

void CompletionLog::ForEachPending(const std::function<void(const v1::Completion&)>& visit) const {
  for (const auto* messages : {&sent_, &unsent_}) {
    for (const auto& message : *messages) {
      for (const auto& completion : message->request.completions()) visit(completion);
    }
  }
}

}  // namespace joinq
