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

void Loader::Run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || !requests_.empty(); });
    if (stopping_) return;
    Request& request = requests_.front();  // a deque: it stays where it is while others come
    lock.unlock();
    LoadedRows rows;
    rows.values.resize(request.keys.size());
    rows.status = store_->ReadRows(partition_, request.keys, [&](size_t index, std::string_view value) {
      rows.values[index].emplace(value);
    });
    rows.keys = std::move(request.keys);
    Done done = std::move(request.done);
    lock.lock();
    requests_.pop_front();
    lock.unlock();
    done(std::move(rows));  // the owner may ask again from here on
    lock.lock();
  }
}

}  // namespace joinq::storage
