// A file that exists while the worker takes tasks, for health checks.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace joinq {

// Not thread-safe. Does nothing if the path is "".
class ReadyFile {
 public:
  explicit ReadyFile(std::string path) : path_(std::move(path)) {}
  ~ReadyFile() { Set(false); }
  ReadyFile(const ReadyFile&) = delete;
  ReadyFile& operator=(const ReadyFile&) = delete;

  // Removes what a worker left that was killed. An error if the file could not be made here.
  absl::Status Clear();
  // Makes or removes it; a failure is logged.
  void Set(bool exists);

 private:
  const std::string path_;
  bool exists_ = false;
};

}  // namespace joinq
