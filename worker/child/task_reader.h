// A child's end of the channel: task frames as they come from the daemon.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/child/frames.h"
#include "worker/process/shared_memory.h"
#include "worker/process/unique_fd.h"

namespace joinq {

struct TaskPayload {
  std::string_view bytes;
  std::shared_ptr<const SharedMemory> memory;  // where they lie, if not in the frame
};

// Receive once, then Next until there is no whole frame, and again.
class TaskReader {
 public:
  explicit TaskReader(int channel) : channel_(channel), buffer_(kReadBytes, '\0') {}

  // Reads once: waits for something unless `flags` have MSG_DONTWAIT. What the frames of
  // Next have pointed to is gone then. kEnd: the daemon has closed the channel; kBroken: it is gone.
  enum class Got { kSome, kNothing, kEnd, kBroken };
  Got Receive(int flags);
  // The next frame of what was read.
  Parse Next(TaskFrame& frame);
  // The payload of the frame that Next gave last, good as long as the frame or its memory.
  // RESOURCE_EXHAUSTED if there was no memory or no descriptor for it; the task cannot run here then.
  absl::StatusOr<TaskPayload> Payload(const TaskFrame& frame);

 private:
  static constexpr size_t kReadBytes = 128 << 10;
  static constexpr size_t kKeptMax = 8;
  struct Kept {
    uint32_t id;
    std::shared_ptr<const SharedMemory> memory;
  };
  void MakeRoom();
  absl::StatusOr<TaskPayload> View(const Kept& kept, PayloadPlace place) const;

  const int channel_;
  std::string buffer_;
  size_t begin_ = 0, end_ = 0;  // of what was read and not taken
  std::deque<UniqueFd> fds_;    // of frames not taken yet; invalid where one was lost
  UniqueFd fd_;                 // of the frame taken last
  std::vector<Kept> kept_;      // the newest last: the daemon uses them again
};

}  // namespace joinq
