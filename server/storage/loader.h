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
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/storage/store.h"

namespace joinq::storage {

struct LoadedRows {
  std::vector<std::string> keys;  // as they were asked for
  // One a key. NOT_FOUND: there is no such row; DATA_LOSS: it is damaged; anything else:
  // it could not be read this time.
  std::vector<absl::StatusOr<std::string>> values;
};

// Whether reading again may bring what could not be read.
inline bool MayComeBack(const absl::Status& status) {
  return !absl::IsNotFound(status) && !absl::IsDataLoss(status);
}

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
  LoadedRows Read(std::vector<std::string> keys);

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
