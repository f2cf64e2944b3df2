// Where tasks live: small records in aligned chunks, named by 32-bit handles, so
// that ten million of them fit a gigabyte; lists that link them; a table by id.
#pragma once

#include <algorithm>
#include <array>
#include <cassert>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "server/core/task.h"

namespace joinq::core {

// Fixed-size records in chunks of 256 KiB, cut from slabs of 4 MiB (an allocator
// that has to align each chunk would waste as much again). A chunk knows its number,
// so a record's handle follows from its address. Empty slabs are given back.
class TaskPool {
 public:
  TaskPool() = default;
  TaskPool(const TaskPool&) = delete;
  TaskPool& operator=(const TaskPool&) = delete;
  ~TaskPool() {
    for (const Slab& slab : slabs_) std::free(slab.memory);  // the tasks were destroyed by the table
  }

  Task* New() {
    if (open_.empty()) AddChunk();
    Chunk* chunk = chunks_[open_.back()];
    uint32_t index = chunk->free;
    if (index != 0) {
      std::memcpy(&chunk->free, static_cast<const void*>(chunk->at(index)), sizeof(uint32_t));
    } else {
      index = ++chunk->touched;
    }
    if (++chunk->used == kTasksPerChunk) open_.pop_back();
    return new (chunk->at(index)) Task();
  }
  void Delete(Task* task) {
    Chunk* chunk = ChunkOf(task);
    const uint32_t index = IndexOf(chunk, task);
    task->~Task();
    std::memcpy(static_cast<void*>(task), &chunk->free, sizeof(uint32_t));
    chunk->free = index;
    if (chunk->used-- == kTasksPerChunk) {
      open_.push_back(chunk->number);
    } else if (chunk->used == 0 && open_.size() > 1) {
      std::erase(open_, chunk->number);
      vacant_.push_back(chunk->number);
      chunks_[chunk->number] = nullptr;
      GiveBack(reinterpret_cast<char*>(chunk));
    }
  }
  Task* At(TaskHandle handle) const { return chunks_[handle >> kIndexBits]->at(handle & kIndexMask); }
  static TaskHandle HandleOf(const Task* task) {
    const Chunk* chunk = ChunkOf(const_cast<Task*>(task));
    return chunk->number << kIndexBits | IndexOf(chunk, task);
  }

 private:
  static constexpr size_t kChunkBytes = 256 << 10;
  static constexpr uint32_t kIndexBits = 12;
  static constexpr uint32_t kIndexMask = (1u << kIndexBits) - 1;
  struct Chunk {
    uint32_t number;
    uint32_t used;
    uint32_t touched;  // records that were ever used
    uint32_t free;     // head of the list of records used before; index from 1, 0: none
    Task* at(uint32_t index) { return reinterpret_cast<Task*>(this) + index; }
  };
  static_assert(sizeof(Chunk) <= sizeof(Task));  // the head stands in the place of record 0
  static constexpr uint32_t kTasksPerChunk = kChunkBytes / sizeof(Task) - 1;
  static_assert(kTasksPerChunk <= kIndexMask);

  static Chunk* ChunkOf(Task* task) {
    return reinterpret_cast<Chunk*>(reinterpret_cast<uintptr_t>(task) & ~(kChunkBytes - 1));
  }
  static uint32_t IndexOf(const Chunk* chunk, const Task* task) {
    return static_cast<uint32_t>(task - reinterpret_cast<const Task*>(chunk));
  }
  struct Slab {
    char* memory = nullptr;
    uint32_t idle = 0;  // chunks that are not in use
    bool Holds(const char* chunk) const { return chunk >= memory && chunk < memory + kSlabBytes; }
  };
  static constexpr uint32_t kChunksPerSlab = 16;
  static constexpr size_t kSlabBytes = kChunksPerSlab * kChunkBytes;

  Slab& SlabOf(const char* chunk) {
    return *std::find_if(slabs_.begin(), slabs_.end(), [&](const Slab& slab) { return slab.Holds(chunk); });
  }
  char* TakeChunk() {
    if (idle_.empty()) {
      auto* memory = static_cast<char*>(std::aligned_alloc(kChunkBytes, kSlabBytes));
      if (memory == nullptr) throw std::bad_alloc();
      slabs_.push_back({memory, kChunksPerSlab});
      for (uint32_t i = kChunksPerSlab; i-- > 0;) idle_.push_back(memory + i * kChunkBytes);
    }
    char* chunk = idle_.back();
    idle_.pop_back();
    --SlabOf(chunk).idle;
    return chunk;
  }
  void GiveBack(char* chunk) {
    idle_.push_back(chunk);
    Slab& slab = SlabOf(chunk);
    if (++slab.idle < kChunksPerSlab) return;
    std::erase_if(idle_, [&](const char* each) { return slab.Holds(each); });
    std::free(slab.memory);
    slab = slabs_.back();
    slabs_.pop_back();
  }
  void AddChunk() {
    char* memory = TakeChunk();
    uint32_t number = static_cast<uint32_t>(chunks_.size());
    if (vacant_.empty()) {
      chunks_.push_back(nullptr);
    } else {
      number = vacant_.back();
      vacant_.pop_back();
    }
    chunks_[number] = new (memory) Chunk{number, 0, 0, 0};
    open_.push_back(number);
  }

  std::vector<Slab> slabs_;
  std::vector<char*> idle_;  // chunks of slabs that are not in use
  std::vector<Chunk*> chunks_;
  std::vector<uint32_t> open_;  // chunks with room
  std::vector<uint32_t> vacant_;
};

// Doubly linked through the tasks themselves; owns nothing; may be moved. A task
// is in one list at a time.
class TaskList {
 public:
  explicit TaskList(const TaskPool* pool) : pool_(pool) {}
  TaskList(TaskList&& other) noexcept
      : pool_(other.pool_), head_(std::exchange(other.head_, 0)), tail_(std::exchange(other.tail_, 0)) {}
  TaskList(const TaskList&) = delete;
  TaskList& operator=(const TaskList&) = delete;

  bool empty() const { return head_ == 0; }
  Task* front() const { return head_ == 0 ? nullptr : pool_->At(head_); }
  Task* back() const { return tail_ == 0 ? nullptr : pool_->At(tail_); }
  // The one after `task`, null at the end.
  Task* Next(const Task* task) const { return task->next == 0 ? nullptr : pool_->At(task->next); }
  void PushBack(Task* task) {
    const TaskHandle handle = TaskPool::HandleOf(task);
    task->prev = tail_;
    task->next = 0;
    (tail_ == 0 ? head_ : pool_->At(tail_)->next) = handle;
    tail_ = handle;
  }
  void PushFront(Task* task) {
    const TaskHandle handle = TaskPool::HandleOf(task);
    task->next = head_;
    task->prev = 0;
    (head_ == 0 ? tail_ : pool_->At(head_)->prev) = handle;
    head_ = handle;
  }
  void Remove(Task* task) {
    (task->prev == 0 ? head_ : pool_->At(task->prev)->next) = task->next;
    (task->next == 0 ? tail_ : pool_->At(task->next)->prev) = task->prev;
    task->prev = task->next = 0;
  }

 private:
  const TaskPool* pool_;
  TaskHandle head_ = 0, tail_ = 0;
};

// Tasks by id; owns them. Ids are dense, so a page of handles beats a hash: a
// look-up is a few loads; a page is freed with its last task.
class TaskTable {
 public:
  TaskTable() = default;
  ~TaskTable() {
    ForEach([this](Task* task) { pool_.Delete(task); });
  }
  const TaskPool* pool() const { return &pool_; }

  Task* Find(TaskId id) const {
    const Page* page = FindPage(Raw(id) / kPageSlots);
    if (page == nullptr) return nullptr;
    const TaskHandle handle = page->slots[Raw(id) % kPageSlots];
    return handle == 0 ? nullptr : pool_.At(handle);
  }
  // A new task with this id, of which there must be none.
  Task* Insert(TaskId id) {
    const uint64_t number = Raw(id) / kPageSlots;
    Page* page = FindPage(number);
    if (page == nullptr) {
      auto& slot = pages_[number];
      slot = std::make_unique<Page>();
      page = slot.get();
      last_number_ = number;
      last_page_ = page;
    }
    TaskHandle& slot = page->slots[Raw(id) % kPageSlots];
    assert(slot == 0);
    Task* task = pool_.New();
    task->id = id;
    slot = TaskPool::HandleOf(task);
    ++page->used;
    ++size_;
    return task;
  }
  void Erase(Task* task) {
    const uint64_t number = Raw(task->id) / kPageSlots;
    Page* page = FindPage(number);
    assert(page != nullptr);
    page->slots[Raw(task->id) % kPageSlots] = 0;
    pool_.Delete(task);
    --size_;
    if (--page->used == 0) {
      pages_.erase(number);
      last_page_ = nullptr;
    }
  }
  size_t size() const { return size_; }
  // In no order; `visit` must not insert or erase.
  template <typename F>
  void ForEach(F&& visit) const {
    for (const auto& [number, page] : pages_) {
      for (TaskHandle handle : page->slots) {
        if (handle != 0) visit(pool_.At(handle));
      }
    }
  }
  // In the order of ids (descending: from the newest), those beyond `after`, until
  // `visit` returns false.
  template <typename F>
  void Walk(uint64_t after, bool descending, F&& visit) const {
    std::vector<uint64_t> numbers;
    for (const auto& [number, page] : pages_) {
      if (descending ? after == 0 || number <= after / kPageSlots : number >= after / kPageSlots)
        numbers.push_back(number);
    }
    std::sort(numbers.begin(), numbers.end());
    if (descending) std::reverse(numbers.begin(), numbers.end());
    for (uint64_t number : numbers) {
      const Page* page = pages_.at(number).get();
      for (uint64_t n = 0; n < kPageSlots; ++n) {
        const uint64_t i = descending ? kPageSlots - 1 - n : n;
        const uint64_t id = number * kPageSlots + i;
        if (page->slots[i] == 0 || (descending ? after != 0 && id >= after : id <= after)) continue;
        if (!visit(pool_.At(page->slots[i]))) return;
      }
    }
  }

 private:
  static constexpr uint64_t kPageSlots = 1024;
  struct Page {
    std::array<TaskHandle, kPageSlots> slots{};
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
  TaskPool pool_;
  absl::flat_hash_map<uint64_t, std::unique_ptr<Page>> pages_;
  size_t size_ = 0;
  mutable uint64_t last_number_ = 0;
  mutable Page* last_page_ = nullptr;
};

}  // namespace joinq::core
