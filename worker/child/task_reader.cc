#include "worker/child/task_reader.h"

#include <algorithm>
#include <array>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "worker/process/fd_message.h"
#include "worker/process/payload_store.h"

namespace joinq {

TaskReader::Got TaskReader::Receive(int flags) {
  MakeRoom();
  std::array<UniqueFd, kMessageFdsMax> fds;
  bool lost = false;
  ssize_t got;
  do {
    got = ReceiveWithFds(channel_, buffer_.data() + end_, buffer_.size() - end_, fds, flags, &lost);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return errno == EAGAIN ? Got::kNothing : Got::kBroken;
  if (got == 0) return Got::kEnd;
  end_ += static_cast<size_t>(got);
  if (fds[0].valid() || lost) fds_.push_back(std::move(fds[0]));
  return Got::kSome;
}

void TaskReader::MakeRoom() {
  // What is left is the beginning of a frame; make sure that all of it fits.
  std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
  end_ -= begin_;
  begin_ = 0;
  const size_t claimed = ClaimedLength(std::string_view(buffer_.data(), end_));
  if (claimed > buffer_.size() || (end_ == 0 && buffer_.size() > kReadBytes)) {
    buffer_.resize(std::max(claimed, kReadBytes));
    buffer_.shrink_to_fit();
  }
}

Parse TaskReader::Next(TaskFrame& frame) {
  std::string_view in(buffer_.data() + begin_, end_ - begin_);
  const Parse parse = TakeTask(in, frame);
  begin_ = end_ - in.size();
  fd_.Reset();
  if (parse == Parse::kFrame && frame.header.type == FrameType::kLargeTask) {
    if (fds_.empty()) return Parse::kMalformed;
    fd_ = std::move(fds_.front());
    fds_.pop_front();
  }
  return parse;
}

absl::StatusOr<TaskPayload> TaskReader::Payload(const TaskFrame& frame) {
  if (frame.header.type != FrameType::kLargeTask) return TaskPayload{frame.payload, nullptr};
  const PayloadPlace place = frame.place;
  const auto kept =
      std::find_if(kept_.begin(), kept_.end(), [&](const Kept& each) { return each.id == place.memory; });
  if (kept != kept_.end()) {
    std::rotate(kept, kept + 1, kept_.end());
    return View(kept_.back(), place);
  }
  if (!fd_.valid()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("its payload of ", place.bytes, " bytes could not be received: too many open files"));
  }
  if (kept_.size() >= kKeptMax) kept_.erase(kept_.begin());
  auto memory = SharedMemory::Adopt(fd_.get(), PayloadStore::kPayloadBytesMax);
  if (absl::IsResourceExhausted(memory.status())) {
    kept_.clear();
    memory = SharedMemory::Adopt(fd_.get(), PayloadStore::kPayloadBytesMax);
  }
  if (!memory.ok()) {
    return absl::Status(memory.status().code(),
                        absl::StrCat("its payload of ", place.bytes,
                                     " bytes could not be mapped: ", memory.status().message()));
  }
  kept_.push_back({place.memory, std::make_shared<const SharedMemory>(*std::move(memory))});
  return View(kept_.back(), place);
}

absl::StatusOr<TaskPayload> TaskReader::View(const Kept& kept, PayloadPlace place) const {
  if (place.bytes > kept.memory->size()) return absl::InternalError("its payload is larger than its memory");
  return TaskPayload{{kept.memory->data(), place.bytes}, kept.memory};
}

}  // namespace joinq
