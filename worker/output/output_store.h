// What tasks wrote lately: the end of each one's output, the least recently
// written task forgotten first. Not thread-safe.
#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"

namespace joinq {

class OutputStore {
 public:
  static constexpr size_t kTaskBytes = 64 << 10;
  static constexpr size_t kTotalBytes = 16 << 20;
  explicit OutputStore(size_t task_bytes = kTaskBytes, size_t total_bytes = kTotalBytes)
      : task_bytes_(task_bytes), total_bytes_(total_bytes) {}

  // `delivery` tells the attempts of a task apart: a new one begins anew.
  void Append(uint64_t task_id, uint64_t delivery, std::string_view text);

  struct Output {
    uint64_t delivery = 0;
    uint64_t written = 0;  // bytes in all, most of which may be gone
    std::string_view end;  // the last task_bytes of them at most; valid until the next Append
  };
  std::optional<Output> Find(uint64_t task_id) const;

  size_t bytes() const { return bytes_; }

 private:
  // An entry is also worth this much, so that tiny ones are bounded, too.
  static constexpr size_t kEntryBytes = 256;
  struct Entry {
    uint64_t task_id = 0;
    uint64_t delivery = 0;
    uint64_t written = 0;
    std::string text;  // at most twice task_bytes_, so that cutting is rare
  };
  const size_t task_bytes_;
  const size_t total_bytes_;
  std::list<Entry> entries_;  // the newest first
  absl::flat_hash_map<uint64_t, std::list<Entry>::iterator> index_;
  size_t bytes_ = 0;
};

}  // namespace joinq
