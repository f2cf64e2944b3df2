// For LD_PRELOAD: of all calls that sync to disk, the one that JOINQ_FAIL_FSYNC_AT counts
// fails with EIO, without syncing; those before and after it do what they should. It says
// so on standard error.
#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

namespace {

bool Fails(const char* call, int fd) {
  static const long at = [] {
    const char* text = std::getenv("JOINQ_FAIL_FSYNC_AT");
    return text == nullptr ? 0 : std::atol(text);
  }();
  static std::atomic<long> calls{0};
  if (++calls != at) return false;
  char link[64], path[512];
  std::snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
  const ssize_t length = ::readlink(link, path, sizeof(path) - 1);
  path[length < 0 ? 0 : length] = '\0';
  ::dprintf(2, "failing_fsync: call %ld fails: %s of %s\n", at, call, path);
  errno = EIO;
  return true;
}

template <typename Function>
Function Real(const char* name) {
  return reinterpret_cast<Function>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {

int fsync(int fd) {
  static const auto real = Real<int (*)(int)>("fsync");
  return Fails("fsync", fd) ? -1 : real(fd);
}

int fdatasync(int fd) {
  static const auto real = Real<int (*)(int)>("fdatasync");
  return Fails("fdatasync", fd) ? -1 : real(fd);
}

int sync_file_range(int fd, off64_t offset, off64_t bytes, unsigned int flags) {
  static const auto real = Real<int (*)(int, off64_t, off64_t, unsigned int)>("sync_file_range");
  if (flags == 0) return real(fd, offset, bytes, flags);  // syncs nothing: a question whether it is there
  return Fails("sync_file_range", fd) ? -1 : real(fd, offset, bytes, flags);
}

}  // extern "C"
