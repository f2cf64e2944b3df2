// Which journal entries are still needed, and by what.
//
// Every commit appends one entry to the journal. An object (task or queue) whose
// row does not yet hold all that the journal says of it is dirty since the oldest
// such entry. When the journal has outgrown its bound, the survivors of the
// oldest entry are written as rows and the entry is dropped: a young generation,
// where most tasks live and die, and an old one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "server/core/types.h"

namespace joinq::core {

class JournalLedger {
 public:
  struct Entry {
    uint64_t number = 0;
    size_t bytes = 0;
    std::vector<TaskId> tasks;    // that became dirty in it
    std::vector<QueueId> queues;  // likewise
    size_t relocated = 0;         // how many of `tasks` were looked at
  };

  // The first entry written will have this number. At least 1.
  explicit JournalLedger(uint64_t first_entry) : current_(first_entry) { open_.number = first_entry; }

  // The number that the changes under way will be committed as.
  uint64_t current() const { return current_; }
  // Marks an object dirty; `dirty_since` is the object's own field.
  void Touch(TaskId task, uint64_t* dirty_since) {
    if (*dirty_since == 0) {
      *dirty_since = current_;
      open_.tasks.push_back(task);
    }
  }
  void Touch(QueueId queue, uint64_t* dirty_since) {
    if (*dirty_since == 0) {
      *dirty_since = current_;
      open_.queues.push_back(queue);
    }
  }
  // The round ends with `bytes` of journal; 0 bytes write no entry.
  void Close(size_t bytes) {
    if (bytes == 0) return;
    bytes_ += bytes;
    open_.bytes = bytes;
    closed_.push_back(std::move(open_));
    open_ = Entry{};
    open_.number = ++current_;
  }
  // After a restart: an entry that was read back.
  void Restored(Entry entry) {
    bytes_ += entry.bytes;
    current_ = std::max(current_, entry.number + 1);
    open_.number = current_;
    closed_.push_back(std::move(entry));
  }
  Entry* oldest() { return closed_.empty() ? nullptr : &closed_.front(); }
  void DropOldest() {
    bytes_ -= closed_.front().bytes;
    closed_.pop_front();
  }
  size_t bytes() const { return bytes_; }
  size_t entries() const { return closed_.size(); }

 private:
  uint64_t current_;
  Entry open_;
  std::deque<Entry> closed_;
  size_t bytes_ = 0;
};

}  // namespace joinq::core
