// Memory of two processes: one writes it, the other can only read it. A memfd of fixed
// size, sealed so that nobody can resize it and whoever gets its descriptor cannot
// write to it; the writer writes through the mapping it had before the seals, as often as
// it likes. That is why it is much faster than a memfd for each message, whose pages the
// kernel would have to find, clear and free each time.
//
// Not inherited by exec; by fork only what is read.
#pragma once

#include <cstddef>
#include <utility>

#include "absl/status/statusor.h"
#include "worker/process/unique_fd.h"

namespace joinq {

// A mapping. Movable; unmaps on destruction. It needs no descriptor to live.
class SharedMemory {
 public:
  SharedMemory() = default;
  // A fresh one to write, `fd` to be sent to who reads it. It takes addresses at once,
  // memory as it is written.
  static absl::StatusOr<SharedMemory> Create(size_t bytes, UniqueFd& fd);
  // Another process's, to read. INVALID_ARGUMENT, with the reason, if it is not what
  // Create makes (reading it might block or kill) or is larger than `bytes_max`.
  // RESOURCE_EXHAUSTED if there is no room for it.
  static absl::StatusOr<SharedMemory> Adopt(int fd, size_t bytes_max);

  SharedMemory(SharedMemory&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  SharedMemory& operator=(SharedMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~SharedMemory();

  // To be written by who created it only.
  char* data() const { return data_; }
  size_t size() const { return size_; }
  bool valid() const { return data_ != nullptr; }

  // The writer's: makes sure that there is memory behind the first `bytes`, so that writing
  // them cannot fail.
  absl::Status Reserve(size_t bytes);

 private:
  SharedMemory(void* data, size_t size) : data_(static_cast<char*>(data)), size_(size) {}

  char* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace joinq
