#include "client/src/outgoing.h"

#include <utility>

namespace joinq::internal {
namespace {

constexpr size_t kFreeMax = 32;
constexpr uint64_t kFreeBytesMax = 1u << 20;  // larger ones are not worth keeping
constexpr uint64_t kTaskOverheadBytes = 16;
constexpr uint64_t kGroupOverheadBytes = 64;

}  // namespace

OutMessage* Outgoing::Append(uint64_t tag, const std::shared_ptr<const PutSpec>& spec,
                             std::string_view payload) {
  uint64_t bytes = payload.size() + kTaskOverheadBytes + TaskBytes(*spec);
  OutMessage* message = unsent_.empty() ? nullptr : unsent_.back().get();
  if (message == nullptr || message->tasks >= kTasksMax || message->bytes + bytes > kBytesMax) {
    unsent_.push_back(NewMessage());
    message = unsent_.back().get();
  }
  v1::PutGroup* group;
  if (message->last_spec == spec.get() || (message->last_spec && *message->last_spec == *spec)) {
    group = message->request.mutable_groups(message->request.groups_size() - 1);
  } else {
    group = message->request.add_groups();
    FillGroup(*spec, group);
    message->specs.push_back(spec);
    message->last_spec = spec.get();
    bytes += kGroupOverheadBytes + spec->queue.size() + spec->handler.size() + spec->content_type.size();
  }
  v1::NewTask* task = group->add_tasks();
  task->set_tag(tag);
  task->set_payload(payload.data(), payload.size());
  FillTask(*spec, task);
  ++message->tasks;
  ++message->unacked;
  message->bytes += bytes;
  retained_bytes_ += bytes;
  return message;
}

std::shared_ptr<OutMessage> Outgoing::TakeNext() {
  if (unsent_.empty()) return nullptr;
  auto message = std::move(unsent_.front());
  unsent_.pop_front();
  if (message->unacked > 0) {
    sent_.emplace_hint(sent_.end(), message->number, message);
  } else {
    retained_bytes_ -= message->bytes;
  }
  return message;
}

std::shared_ptr<OutMessage> Outgoing::TakeEmpty() {
  return NewMessage();
}

void Outgoing::Settle(OutMessage* message) {
  if (--message->unacked > 0) return;
  auto found = sent_.find(message->number);
  if (found == sent_.end()) return;  // not sent yet: goes out as it is
  auto owned = std::move(found->second);
  sent_.erase(found);
  Recycle(std::move(owned));
}

std::shared_ptr<OutMessage> Outgoing::NewMessage() {
  std::shared_ptr<OutMessage> message;
  // A free one may still be read by the write that sent it.
  if (!free_.empty() && free_.front().use_count() == 1) {
    message = std::move(free_.front());
    free_.front() = std::move(free_.back());
    free_.pop_back();
    message->request.Clear();
    message->specs.clear();
    message->last_spec = nullptr;
    message->tasks = message->unacked = 0;
    message->bytes = 0;
  } else {
    message = std::make_shared<OutMessage>();
  }
  message->number = next_number_++;
  return message;
}

void Outgoing::Recycle(std::shared_ptr<OutMessage> message) {
  retained_bytes_ -= message->bytes;
  if (free_.size() < kFreeMax && message->bytes <= kFreeBytesMax) free_.push_back(std::move(message));
}

void Outgoing::CopyUnsettled(const OutMessage& from, const Keep& keep, const Moved& moved) {
  // specs[i] is the spec of groups(i).
  for (int g = 0; g < from.request.groups_size(); ++g) {
    for (const auto& task : from.request.groups(g).tasks()) {
      if (keep(task.tag())) moved(task.tag(), Append(task.tag(), from.specs[g], task.payload()));
    }
  }
}

void Outgoing::Rebuild(const Keep& keep, const Moved& moved) {
  auto sent = std::exchange(sent_, {});
  auto unsent = std::exchange(unsent_, {});
  retained_bytes_ = 0;
  for (const auto& [number, message] : sent) CopyUnsettled(*message, keep, moved);
  for (const auto& message : unsent) CopyUnsettled(*message, keep, moved);
}

void Outgoing::Compact(const Keep& keep, const Moved& moved) {
  auto unsent = std::exchange(unsent_, {});
  for (auto it = sent_.begin(); it != sent_.end();) {
    if (it->second->unacked * 2 > it->second->tasks) {
      ++it;
      continue;
    }
    auto old = std::move(it->second);
    it = sent_.erase(it);
    CopyUnsettled(*old, keep, moved);
    // The copies keep the place of the original, so that tags stay in order.
    uint64_t number = old->number;
    retained_bytes_ -= old->bytes;
    for (auto& copy : unsent_) {
      copy->number = number;
      it = std::next(sent_.emplace(number, std::move(copy)).first);
      ++number;  // a copy is never larger than its original, so there is one only
    }
    unsent_.clear();
  }
  unsent_ = std::move(unsent);
}

void Outgoing::Clear() {
  sent_.clear();
  unsent_.clear();
  retained_bytes_ = 0;
}

}  // namespace joinq::internal
