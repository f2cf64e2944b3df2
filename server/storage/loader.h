// The reading thread: looks rows up for an owner that must not wait for a disk.
//
// Load is the owner thread's. Requests are served in the order in which they were
// made, while commits go on. Each `done` is called once, on the reading thread; it
// should only hand the rows to the owner.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "server/storage/store.h"

namespace joinq::storage {

struct LoadedRows {
  // The first row that could not be read; its value is missing, the others' are there.
  absl::Status status;
  std::vector<std::string> keys;                   // as they were asked for
  std::vector<std::optional<std::string>> values;  // one a key; none: there is no such row
};

class Loader {
 public:
  using Done = std::function<void(LoadedRows)>;

  // At most `requests_max` requests wait, the one being read included.
  Loader(Store* store, Partition partition, size_t requests_max);
  // Finishes the request under way. Those that still wait are dropped: their `done` is not called.
  ~Loader();

  // False if too many wait: nothing was taken, `keys` is as it was; ask again after a `done`.
  bool Load(std::vector<std::string>* keys, Done done);

 private:
  struct Request {
    std::vector<std::string> keys;
    Done done;
  };
  void Run();

  Store* const store_;
  const Partition partition_;
  const size_t requests_max_;

  // The owner hands over requests, the reading thread takes them.
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Request> requests_;  // guarded by mutex_; the first one is being read
  bool stopping_ = false;         // guarded by mutex_
  std::thread thread_;            // last: it uses all of the above
};

}  // namespace joinq::storage
