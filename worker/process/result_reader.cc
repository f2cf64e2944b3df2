#include "worker/process/result_reader.h"

#include "absl/strings/str_cat.h"

namespace joinq {

void ResultReader::Add(UniqueFd fd) {
  if (fds_.size() < kResultMemories) fds_.push_back(std::move(fd));
}

absl::StatusOr<std::string_view> ResultReader::Read(uint32_t id, size_t bytes, bool fresh) {
  UniqueFd fd;
  if (fresh) {
    if (fds_.empty()) return absl::InvalidArgumentError("its descriptor did not come");
    fd = std::move(fds_.front());
    fds_.pop_front();
    if (!fd.valid()) return absl::ResourceExhaustedError("the worker has too many open files");
  }
  if (id >= kResultMemories) return absl::InvalidArgumentError(absl::StrCat("there is no memory ", id));
  SharedMemory& memory = memories_[id];
  if (fresh) {
    auto adopted = SharedMemory::Adopt(fd.get(), kResultMemoryBytes);
    if (!adopted.ok()) return adopted.status();
    memory = *std::move(adopted);
  }
  if (!memory.valid()) return absl::InvalidArgumentError(absl::StrCat("memory ", id, " is not known"));
  if (bytes > memory.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("it has ", bytes, " bytes, its memory only ", memory.size()));
  }
  return std::string_view(memory.data(), bytes);
}

}  // namespace joinq
