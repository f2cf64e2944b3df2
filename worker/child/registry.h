// The handlers this process knows, in the order of their registration; the
// order is the same in every process forked from this one, so an index names a
// handler on the wire between daemon and child.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "joinq/async_worker.h"
#include "joinq/worker.h"

namespace joinq {

// Not thread-safe: filled while the process starts, then only read.
class Registry {
 public:
  // The process's own, which RegisterHandler fills.
  static Registry& Global();

  // A bad or taken name is kept as error() and changes nothing.
  void Add(std::string_view name, Handler handler) { AddEntry(name, {std::move(handler), nullptr}); }
  void AddAsync(std::string_view name, AsyncHandler handler) {
    AddEntry(name, {nullptr, std::move(handler)});
  }
  void AddInitializer(std::function<void()> initialize) { initializers_.push_back(std::move(initialize)); }
  // What each child runs before its first task, in this order.
  const std::vector<std::function<void()>>& initializers() const { return initializers_; }
  // The first thing that went wrong in Add, or OK.
  const absl::Status& error() const { return error_; }

  size_t size() const { return entries_.size(); }
  const std::string& name(size_t index) const { return names_[index]; }
  // One of the two is there.
  const Handler& handler(size_t index) const { return entries_[index].handler; }
  const AsyncHandler& async_handler(size_t index) const { return entries_[index].async_handler; }
  bool has_async() const { return has_async_; }
  const std::vector<std::string>& names() const { return names_; }

 private:
  struct Entry {
    Handler handler;
    AsyncHandler async_handler;
  };
  void AddEntry(std::string_view name, Entry entry);

  std::vector<std::string> names_;
  std::vector<Entry> entries_;
  bool has_async_ = false;
  std::vector<std::function<void()>> initializers_;
  absl::flat_hash_map<std::string, size_t> index_;
  absl::Status error_;
};

// joinq.noop (bytes in, nothing out) and joinq.echo (payload and content type as they came).
void AddBuiltinHandlers(Registry& registry);

}  // namespace joinq
