#include "worker/output/output_store.h"

namespace joinq {

void OutputStore::Append(uint64_t task_id, uint64_t delivery, std::string_view text) {
  if (text.empty()) return;
  auto [at, fresh] = index_.try_emplace(task_id);
  if (fresh) {
    entries_.emplace_front();
    entries_.front().task_id = task_id;
    at->second = entries_.begin();
    bytes_ += kEntryBytes;
  } else if (at->second != entries_.begin()) {
    entries_.splice(entries_.begin(), entries_, at->second);
  }
  Entry& entry = entries_.front();
  bytes_ -= entry.text.size();
  if (entry.delivery != delivery) {
    entry.text.clear();
    entry.written = 0;
    entry.delivery = delivery;
  }
  entry.written += text.size();
  if (text.size() >= task_bytes_) {
    entry.text.assign(text.substr(text.size() - task_bytes_));
  } else {
    entry.text.append(text);
    if (entry.text.size() >= 2 * task_bytes_) entry.text.erase(0, entry.text.size() - task_bytes_);
  }
  bytes_ += entry.text.size();
  while (bytes_ > total_bytes_ && entries_.size() > 1) {
    const Entry& oldest = entries_.back();
    bytes_ -= oldest.text.size() + kEntryBytes;
    index_.erase(oldest.task_id);
    entries_.pop_back();
  }
}

std::optional<OutputStore::Output> OutputStore::Find(uint64_t task_id) const {
  const auto at = index_.find(task_id);
  if (at == index_.end()) return std::nullopt;
  const Entry& entry = *at->second;
  std::string_view end = entry.text;
  if (end.size() > task_bytes_) end.remove_prefix(end.size() - task_bytes_);
  return Output{entry.delivery, entry.written, end};
}

}  // namespace joinq
