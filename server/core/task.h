// A task as the broker holds it, and the table that finds it by id.
//
// Life (see proto/joinq/v1/task.proto): put -> [delayed] -> ready -> leased ->
// ended; a failed attempt goes back to delayed, a release to ready. kTransitions
// below is the one table of what may follow what.
#pragma once

#include <array>
#include <bit>
#include <cassert>
#include <memory>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "server/core/shared_bytes.h"
#include "server/core/types.h"

namespace joinq::core {

class Queue;
struct Producer;
struct WorkerSession;

// kEnded covers the four outcomes; such a task lingers only while its result is kept.
enum class TaskState : uint8_t { kNew = 0, kDelayed = 1, kReady = 2, kLeased = 3, kEnded = 4 };

constexpr uint8_t StateBit(TaskState state) {
  return static_cast<uint8_t>(1u << static_cast<unsigned>(state));
}
// kTransitions[from] is the set of states that may follow.
inline constexpr std::array<uint8_t, 5> kTransitions = {
    /*new*/ uint8_t(StateBit(TaskState::kDelayed) | StateBit(TaskState::kReady)),
    /*delayed*/ uint8_t(StateBit(TaskState::kReady) | StateBit(TaskState::kEnded)),
    /*ready*/ uint8_t(StateBit(TaskState::kLeased) | StateBit(TaskState::kEnded)),
    /*leased*/
    uint8_t(StateBit(TaskState::kDelayed) | StateBit(TaskState::kReady) | StateBit(TaskState::kEnded)),
    /*ended*/ uint8_t(0),
};
constexpr bool MayFollow(TaskState from, TaskState to) {
  return (kTransitions[static_cast<size_t>(from)] & StateBit(to)) != 0;
}

// Position in one intrusive list at a time: the queue's ready list, the holder's
// leases, or the kept results of one second.
struct ListHook {
  ListHook* prev = nullptr;
  ListHook* next = nullptr;
  bool linked() const { return next != nullptr; }
};

struct Task : ListHook {
  TaskId id{0};
  Queue* queue = nullptr;
  Blob payload;  // the result's bytes once ended
  Blob headers;  // encoded name\0value\0 pairs
  Name handler;
  Name content_type;  // the result's once ended
  Time when{};  // delayed: due; ready: since; leased: end of the lease (kNever: the session's); ended: expiry
  uint64_t lease_sequence = 0;      // of the newest lease in this epoch; 0: never leased in it
  WorkerSession* holder = nullptr;  // leased: null for a direct consumer
  Producer* producer = nullptr;
  uint64_t tag = 0;
  uint64_t dirty_since = 0;  // oldest journal entry that holds what its row does not; 0: the row is current
  std::unique_ptr<TaskError> error;  // of the last attempt
  TaskPolicy policy;
  uint32_t deliveries = 0;
  uint16_t attempts = 0;  // failed ones
  uint16_t crashes = 0;
  TaskState state = TaskState::kNew;
  Outcome outcome = Outcome::kUnfinished;
  bool watched = false;  // its producer's stream wants the result
  bool has_row = false;

  void MoveTo(TaskState next_state) {
    assert(MayFollow(state, next_state));
    state = next_state;
  }
};

// Intrusive doubly linked list; owns nothing.
class TaskList {
 public:
  TaskList() { head_.prev = head_.next = &head_; }
  TaskList(const TaskList&) = delete;
  TaskList& operator=(const TaskList&) = delete;

  bool empty() const { return head_.next == &head_; }
  Task* front() { return empty() ? nullptr : static_cast<Task*>(head_.next); }
  const Task* front() const { return empty() ? nullptr : static_cast<const Task*>(head_.next); }
  // The one after `task`, null at the end.
  Task* Next(Task* task) { return task->next == &head_ ? nullptr : static_cast<Task*>(task->next); }
  void PushBack(Task* task) { Insert(task, &head_); }
  void PushFront(Task* task) { Insert(task, head_.next); }
  static void Remove(Task* task) {
    task->prev->next = task->next;
    task->next->prev = task->prev;
    task->prev = task->next = nullptr;
  }
  Task* PopFront() {
    Task* task = front();
    if (task != nullptr) Remove(task);
    return task;
  }

 private:
  static void Insert(Task* task, ListHook* before) {
    assert(!task->linked());
    task->next = before;
    task->prev = before->prev;
    before->prev->next = task;
    before->prev = task;
  }
  ListHook head_;
};

// Tasks by id. Ids are dense, so a page of slots beats a hash: a look-up is two
// loads; a page is freed with its last task. Owns the tasks.
class TaskTable {
 public:
  Task* Find(TaskId id) const {
    const Page* page = FindPage(Raw(id) / kPageSlots);
    return page == nullptr ? nullptr : page->slots[Raw(id) % kPageSlots].get();
  }
  Task* Insert(std::unique_ptr<Task> task) {
    const uint64_t number = Raw(task->id) / kPageSlots;
    Page* page = FindPage(number);
    if (page == nullptr) {
      auto& slot = pages_[number];
      slot = std::make_unique<Page>();
      page = slot.get();
      last_number_ = number;
      last_page_ = page;
    }
    auto& slot = page->slots[Raw(task->id) % kPageSlots];
    assert(slot == nullptr);
    slot = std::move(task);
    ++page->used;
    ++size_;
    return slot.get();
  }
  void Erase(TaskId id) {
    const uint64_t number = Raw(id) / kPageSlots;
    Page* page = FindPage(number);
    assert(page != nullptr);
    page->slots[Raw(id) % kPageSlots].reset();
    --size_;
    if (--page->used == 0) {
      pages_.erase(number);
      last_page_ = nullptr;
    }
  }
  size_t size() const { return size_; }
  template <typename F>
  void ForEach(F&& visit) {
    for (auto& [number, page] : pages_) {
      for (auto& slot : page->slots) {
        if (slot != nullptr) visit(slot.get());
      }
    }
  }

 private:
  static constexpr uint64_t kPageSlots = 1024;
  struct Page {
    std::array<std::unique_ptr<Task>, kPageSlots> slots;
    uint32_t used = 0;
  };
  Page* FindPage(uint64_t number) const {
    if (last_page_ != nullptr && last_number_ == number) return last_page_;
    auto it = pages_.find(number);
    if (it == pages_.end()) return nullptr;
    last_number_ = number;
    last_page_ = it->second.get();
    return last_page_;
  }
  absl::flat_hash_map<uint64_t, std::unique_ptr<Page>> pages_;
  size_t size_ = 0;
  mutable uint64_t last_number_ = 0;
  mutable Page* last_page_ = nullptr;
};

}  // namespace joinq::core
