// A file with the process id, as long as the worker runs.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "worker/process/unique_fd.h"

namespace joinq {

class PidFile {
 public:
  explicit PidFile(std::string path) : path_(std::move(path)) {}
  // Removes it; or empties it, if that is no longer allowed since the worker has become another user.
  ~PidFile();
  PidFile(const PidFile&) = delete;
  PidFile& operator=(const PidFile&) = delete;

  // Does nothing if the path is "".
  absl::Status Write();

 private:
  const std::string path_;
  UniqueFd file_;
};

}  // namespace joinq
