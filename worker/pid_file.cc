#include "worker/pid_file.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"

namespace joinq {

PidFile::~PidFile() {
  if (!file_.valid() || unlink(path_.c_str()) == 0) return;
  (void)!ftruncate(file_.get(), 0);
}

absl::Status PidFile::Write() {
  if (path_.empty()) return absl::OkStatus();
  const std::string text = absl::StrCat(getpid(), "\n");
  UniqueFd file(open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!file.valid() || write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    return absl::InvalidArgumentError(
        absl::StrCat("--pid-file: cannot write ", path_, ": ", strerror(errno)));
  }
  file_ = std::move(file);
  return absl::OkStatus();
}

}  // namespace joinq
