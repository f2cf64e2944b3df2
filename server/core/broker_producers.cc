// Producers: who they are, which of their puts are known, and for how long.
#include "absl/strings/str_cat.h"
#include "common/names.h"
#include "server/core/broker.h"

namespace joinq::core {

absl::Status Broker::AttachProducer(CallerId stream, uint64_t producer_id, std::string_view name) {
  if (producer_id == 0) return InvalidField("hello.producer_id", "must not be 0");
  if (name.size() > kNameBytesMax)
    return InvalidField("hello.name",
                        absl::StrCat("has ", name.size(), " bytes; at most ", kNameBytesMax, " are allowed"));
  auto& slot = producers_[producer_id];
  if (slot == nullptr) {
    slot = std::make_unique<Producer>();
    slot->id = producer_id;
  }
  Producer* producer = slot.get();
  producer->name = std::string(name);
  if (producer->stream != kNobody) {
    // The older stream is dead, only nobody has noticed; what it parked will be sent again.
    const CallerId old = producer->stream;
    CallerGone(old);
  }
  detached_producers_.erase({producer->ends, producer->id});
  producer->stream = stream;
  producer->ends = kNever;
  producers_by_stream_[stream] = producer;
  return absl::OkStatus();
}

// It may come back on another stream, for a while.
void Broker::Detach(Producer* producer) {
  producer->ends = now_ + limits_.producer_grace;
  timers_.Add(producer->ends, TimerKind::kProducer, producer->id);
  detached_producers_.emplace(producer->ends, producer->id);
  while (detached_producers_.size() > limits_.producers_detached_max)
    ForgetProducer(producers_.find(detached_producers_.begin()->second)->second.get());
}

void Broker::ProducerAcked(CallerId stream, uint64_t acked_below) {
  auto speaker = producers_by_stream_.find(stream);
  if (speaker != producers_by_stream_.end()) speaker->second->Trim(acked_below);
}

void Broker::DropProducerRef(Task* task) {
  if (!task->watched()) return;
  Producer* producer = task->ties->producer;
  task->ties->producer = nullptr;
  if (--producer->refs == 0 && producer->forgotten) forgotten_producers_.erase(producer);
}

void Broker::ForgetProducer(Producer* producer) {
  auto it = producers_.find(producer->id);
  detached_producers_.erase({producer->ends, producer->id});
  producer->forgotten = true;
  producer->tags.clear();
  if (producer->has_row) sink_->DeleteProducerRow(producer->id);
  if (producer->refs > 0) forgotten_producers_.emplace(producer, std::move(it->second));
  producers_.erase(it);
}

void Broker::CheckProducerTimer(uint64_t producer_id) {
  auto it = producers_.find(producer_id);
  if (it == producers_.end() || it->second->stream != kNobody || it->second->ends > now_) return;
  ForgetProducer(it->second.get());
}

}  // namespace joinq::core
