// Keys that stand for tasks: request ids (a repeated put is one task) and unique
// keys (no second one while, or for so long). A key outlives its task where its
// time says so.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "server/core/types.h"

namespace joinq::core {

enum class KeySpace : uint8_t { kRequest = 1, kUnique = 2 };

struct KeyEntry {
  QueueId queue{0};
  KeySpace space = KeySpace::kRequest;
  std::string text;
  TaskId task{0};
  UniqueScope scope = UniqueScope::kWindow;  // request ids are kWindow
  Time until = kNever;                       // kWindow: when it is forgotten
  uint64_t number = 0;                       // names it in the timers
  uint64_t dirty_since = 0;                  // as in Task; only those with a time have rows
  bool has_row = false;
};

class KeyTable {
 public:
  KeyEntry* Find(QueueId queue, KeySpace space, std::string_view text) const {
    auto it = entries_.find(Ref{queue, space, text});
    return it == entries_.end() ? nullptr : it->second.get();
  }
  KeyEntry* Find(uint64_t number) const {
    auto it = by_number_.find(number);
    return it == by_number_.end() ? nullptr : it->second;
  }
  // There must be none yet.
  KeyEntry* Add(QueueId queue, KeySpace space, std::string_view text) {
    auto owned = std::make_unique<KeyEntry>();
    KeyEntry* entry = owned.get();
    entry->queue = queue;
    entry->space = space;
    entry->text = std::string(text);
    entry->number = next_number_++;
    by_number_.emplace(entry->number, entry);
    entries_.emplace(Ref{queue, space, entry->text}, std::move(owned));
    return entry;
  }
  void Remove(KeyEntry* entry) {
    by_number_.erase(entry->number);
    entries_.erase(Ref{entry->queue, entry->space, entry->text});
  }
  size_t size() const { return entries_.size(); }
  template <typename F>
  void ForEach(F&& visit) const {
    for (const auto& [number, entry] : by_number_) visit(entry);
  }

 private:
  struct Ref {
    QueueId queue;
    KeySpace space;
    std::string_view text;  // of the entry itself
    bool operator==(const Ref&) const = default;
    template <typename H>
    friend H AbslHashValue(H h, const Ref& r) {
      return H::combine(std::move(h), Raw(r.queue), static_cast<uint8_t>(r.space), r.text);
    }
  };
  absl::flat_hash_map<Ref, std::unique_ptr<KeyEntry>> entries_;
  absl::flat_hash_map<uint64_t, KeyEntry*> by_number_;
  uint64_t next_number_ = 1;
};

}  // namespace joinq::core
