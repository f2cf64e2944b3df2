// Which journal entries are still needed, and by what.
//
// Every commit appends one entry to the journal. An object (task, queue, producer,
// key) whose row does not yet hold all that the journal says of it is dirty since
// the oldest such entry. When the journal has outgrown its bound, the survivors of
// the oldest entry are written as rows and the entry is dropped: a young generation,
// where most tasks live and die, and an old one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "server/core/keys.h"
#include "server/core/types.h"

namespace joinq::core {

class JournalLedger {
 public:
  struct KeyName {
    QueueId queue{0};
    KeySpace space = KeySpace::kRequest;
    std::string text;
  };
  // Consecutive ids, since that is how tasks are put.
  struct TaskRange {
    uint64_t first = 0;
    uint64_t count = 0;
  };
  struct Entry {
    uint64_t number = 0;
    size_t bytes = 0;
    std::vector<TaskRange> tasks;  // that became dirty in it
    std::vector<QueueId> queues;   // likewise
    std::vector<uint64_t> producers;
    std::vector<KeyName> keys;
    size_t range = 0;     // how far its tasks were looked at
    uint64_t offset = 0;  // within the range

    void Add(TaskId task) {
      if (!tasks.empty() && tasks.back().first + tasks.back().count == Raw(task)) {
        ++tasks.back().count;
      } else {
        tasks.push_back({Raw(task), 1});
      }
    }
    // The next task to look at; false at the end.
    bool Next(TaskId* task) {
      if (range == tasks.size()) return false;
      *task = TaskId(tasks[range].first + offset);
      if (++offset == tasks[range].count) {
        ++range;
        offset = 0;
      }
      return true;
    }
    bool done() const { return range == tasks.size(); }
  };

  // The first entry written will have this number. At least 1.
  explicit JournalLedger(uint64_t first_entry) : current_(first_entry) { open_.number = first_entry; }

  // The number that the changes under way will be committed as.
  uint64_t current() const { return current_; }
  // These mark an object dirty; `dirty_since` is its own field.
  void Touch(TaskId task, uint64_t* dirty_since) {
    if (Mark(dirty_since)) open_.Add(task);
  }
  void Touch(QueueId queue, uint64_t* dirty_since) {
    if (Mark(dirty_since)) open_.queues.push_back(queue);
  }
  void TouchProducer(uint64_t producer, uint64_t* dirty_since) {
    if (Mark(dirty_since)) open_.producers.push_back(producer);
  }
  void Touch(KeyEntry* key) {
    if (Mark(&key->dirty_since)) open_.keys.push_back({key->queue, key->space, key->text});
  }
  // The round ends with `bytes` of journal; 0 bytes write no entry.
  void Close(size_t bytes) {
    if (bytes == 0) return;
    bytes_ += bytes;
    open_.bytes = bytes;
    closed_.push_back(std::move(open_));  // which leaves its lists empty
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
  bool Mark(uint64_t* dirty_since) {
    if (*dirty_since != 0) return false;
    *dirty_since = current_;
    return true;
  }

  uint64_t current_;
  Entry open_;
  std::deque<Entry> closed_;
  size_t bytes_ = 0;
};

}  // namespace joinq::core
