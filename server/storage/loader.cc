#include "server/storage/loader.h"

#include <pthread.h>

#include <utility>

namespace joinq::storage {

Loader::Loader(Store* store, Partition partition, size_t requests_max)
    : store_(store), partition_(partition), requests_max_(requests_max), thread_([this] { Run(); }) {
  pthread_setname_np(thread_.native_handle(), "loader");
}

Loader::~Loader() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

bool Loader::Load(std::vector<std::string>* keys, Done done) {
  {
    std::lock_guard lock(mutex_);
    if (requests_.size() >= requests_max_) return false;
    requests_.push_back({std::move(*keys), std::move(done)});
    keys->clear();
  }
  changed_.notify_all();
  return true;
}

// The store tells of one error a call: after one, each row that is missing is asked for
// by itself.
LoadedRows Loader::Read(std::vector<std::string> keys) {
  LoadedRows rows;
  rows.keys = std::move(keys);
  rows.values.assign(rows.keys.size(), absl::NotFoundError("there is no such row"));
  const absl::Status failed = store_->ReadRows(
      partition_, rows.keys,
      [&](size_t index, std::string_view value) { rows.values[index] = std::string(value); });
  if (failed.ok()) return rows;
  for (size_t i = 0; i < rows.keys.size(); ++i) {
    if (rows.values[i].ok()) continue;
    const absl::Status bad =
        store_->ReadRows(partition_, {&rows.keys[i], 1},
                         [&](size_t, std::string_view value) { rows.values[i] = std::string(value); });
    if (!bad.ok()) rows.values[i] = bad;
  }
  return rows;
}

void Loader::Run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || !requests_.empty(); });
    if (stopping_) return;
    Request& request = requests_.front();  // a deque: it stays where it is while others come
    lock.unlock();
    LoadedRows rows = Read(std::move(request.keys));
    Done done = std::move(request.done);
    lock.lock();
    requests_.pop_front();
    lock.unlock();
    done(std::move(rows));  // the owner may ask again from here on
    lock.lock();
  }
}

}  // namespace joinq::storage
