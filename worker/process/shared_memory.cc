#include "worker/process/shared_memory.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cerrno>

#include "absl/strings/str_cat.h"

namespace joinq {
namespace {

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;

absl::Status NoMemory(const char* what, int error) {
  const absl::Status status = absl::ErrnoToStatus(error, what);
  return absl::ResourceExhaustedError(status.message());
}

}  // namespace

absl::StatusOr<SharedMemory> SharedMemory::Create(size_t bytes, UniqueFd& fd) {
  fd.Reset(memfd_create("joinq-payload", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return NoMemory("memfd_create", errno);
  if (ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) return NoMemory("ftruncate", errno);
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (data == MAP_FAILED) return NoMemory("mmap", errno);
  SharedMemory memory(data, bytes);
  madvise(data, bytes, MADV_DONTFORK);
  if (fcntl(fd.get(), F_ADD_SEALS, kSeals) != 0) return absl::ErrnoToStatus(errno, "F_ADD_SEALS");
  return memory;
}

absl::StatusOr<SharedMemory> SharedMemory::Adopt(int fd, size_t bytes_max) {
  // Huge pages may run out when they are read; other files may block.
  struct statfs system {};
  if (fstatfs(fd, &system) != 0 || system.f_type != TMPFS_MAGIC)
    return absl::InvalidArgumentError("the descriptor is not of shared memory");
  const int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0)
    return absl::InvalidArgumentError("the shared memory is not sealed against shrinking");
  struct stat info {};
  if (fstat(fd, &info) != 0) return absl::ErrnoToStatus(errno, "fstat");
  const auto bytes = static_cast<size_t>(info.st_size);
  if (bytes == 0 || bytes > bytes_max) {
    return absl::InvalidArgumentError(
        absl::StrCat("the shared memory has ", bytes, " bytes; 1 to ", bytes_max, " are allowed"));
  }
  void* data = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0);
  if (data == MAP_FAILED) return NoMemory("mmap", errno);
  return SharedMemory(data, bytes);
}

SharedMemory::~SharedMemory() {
  if (data_ != nullptr) munmap(data_, size_);
}

absl::Status SharedMemory::Reserve(size_t bytes) {
  if (bytes > size_) return absl::ResourceExhaustedError("more than the shared memory has");
  int result;
  do {
    result = madvise(data_, bytes, MADV_POPULATE_WRITE);
  } while (result != 0 && errno == EINTR);
  // EINVAL: a kernel before 5.14, which finds the memory as it is written.
  if (result != 0 && errno != EINVAL) return NoMemory("no memory to share", errno);
  return absl::OkStatus();
}

}  // namespace joinq
