// The shapes in use: one for each distinct combination of queue, handler, content
// type and policy. A shape without tasks stays for the next one, within a bound.
#pragma once

#include <memory>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "server/core/task.h"

namespace joinq::core {

class ShapeTable {
 public:
  // The shape, counted once more.
  Shape* Acquire(Queue* queue, const Name& handler, const Name& content_type, const TaskPolicy& policy) {
    // Most tasks are of the same kind as the one before.
    if (last_ != nullptr && last_->queue == queue && last_->handler == handler &&
        last_->content_type == content_type && last_->policy == policy) {
      if (last_->refs++ == 0) --idle_;
      return last_;
    }
    const Key key{queue, handler.address(), content_type.address(), policy};
    auto& slot = shapes_[key];
    if (slot == nullptr) {
      slot = std::make_unique<Shape>();
      slot->queue = queue;
      slot->handler = handler;
      slot->content_type = content_type;
      slot->policy = policy;
      ++idle_;
    }
    Shape* shape = slot.get();
    if (shape->refs++ == 0) --idle_;
    return last_ = shape;
  }
  void Release(Shape* shape) {
    if (--shape->refs == 0 && ++idle_ > kIdleMax) Sweep(nullptr);
  }
  // The queue goes, and with it all its shapes; none may be in use.
  void Forget(const Queue* queue) { Sweep(queue); }
  size_t size() const { return shapes_.size(); }

 private:
  static constexpr size_t kIdleMax = 4096;
  struct Key {
    const Queue* queue;
    const void* handler;
    const void* content_type;
    TaskPolicy policy;
    bool operator==(const Key&) const = default;
    template <typename H>
    friend H AbslHashValue(H h, const Key& k) {
      return H::combine(std::move(h), k.queue, k.handler, k.content_type, k.policy);
    }
  };
  // Drops the idle ones, of one queue or of all.
  void Sweep(const Queue* queue) {
    last_ = nullptr;
    absl::erase_if(shapes_, [&](const auto& entry) {
      if (entry.second->refs != 0 || (queue != nullptr && entry.first.queue != queue)) return false;
      --idle_;
      return true;
    });
  }
  absl::flat_hash_map<Key, std::unique_ptr<Shape>> shapes_;
  size_t idle_ = 0;
  Shape* last_ = nullptr;  // acquired
};

}  // namespace joinq::core
