#include "worker/ready_file.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"
#include "worker/process/unique_fd.h"

namespace joinq {

absl::Status ReadyFile::Clear() {
  if (path_.empty()) return absl::OkStatus();
  const auto folder = std::filesystem::path(path_).parent_path();
  if ((unlink(path_.c_str()) == 0 || errno == ENOENT) && access(folder.c_str(), W_OK | X_OK) == 0)
    return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--ready-file: cannot make ", path_, ": ", strerror(errno)));
}

void ReadyFile::Set(bool exists) {
  if (path_.empty() || exists == exists_) return;
  exists_ = exists;
  const bool done =
      exists ? UniqueFd(open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644)).valid()
             : unlink(path_.c_str()) == 0 || errno == ENOENT;
  if (!done)
    spdlog::error("--ready-file: cannot {} {}: {}", exists ? "make" : "remove", path_, strerror(errno));
}

}  // namespace joinq
