#include "worker/process/status_page.h"

#include <cerrno>

namespace joinq {

absl::StatusOr<SharedStatusPage> SharedStatusPage::Create(UniqueFd& fd) {
  fd.Reset(memfd_create("joinq-status", MFD_CLOEXEC));
  if (!fd.valid()) return absl::ErrnoToStatus(errno, "memfd_create");
  if (ftruncate(fd.get(), sizeof(StatusPage)) != 0) return absl::ErrnoToStatus(errno, "ftruncate");
  return Map(fd.get());
}

absl::StatusOr<SharedStatusPage> SharedStatusPage::Map(int fd) {
  void* memory = mmap(nullptr, sizeof(StatusPage), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) return absl::ErrnoToStatus(errno, "mmap of a status page");
  // Zero bytes are the initial state, so nothing is constructed.
  return SharedStatusPage(static_cast<StatusPage*>(memory));
}

}  // namespace joinq
