// A child's end of the channel: results on their way to the daemon.
#pragma once

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "worker/child/frames.h"
#include "worker/child/result_memory.h"
#include "worker/process/fd_message.h"
#include "worker/process/status_page.h"

namespace joinq {

// Gathers result frames in the status page and sends them. Not thread-safe: who shares it
// holds mutex() for each call.
class ResultSender {
 public:
  // Payloads over `bytes_in_frame` go in shared memory if there is some.
  ResultSender(int channel, StatusPage& page, size_t bytes_in_frame = kPayloadBytesInFrame)
      : channel_(channel), page_(page), bytes_in_frame_(bytes_in_frame) {}

  std::mutex& mutex() { return mutex_; }
  size_t gathered() const { return length_; }
  uint64_t first_ns() const { return first_ns_; }

  // False if the daemon is gone.
  bool Add(ResultFrame& frame, uint64_t now_ns) {
    if (frame.payload.size() > bytes_in_frame_) {
      if (const auto sent = SendByMemory(frame, now_ns)) return *sent;
    }
    const size_t size = PrepareResult(frame);
    if (length_ + size > kOutboxBytes && !Flush()) return false;
    if (size > kOutboxBytes) return SendLarge(frame, size);
    if (length_ == 0) first_ns_ = now_ns;
    char* out = page_.outbox_bytes + length_;
    const size_t head = EncodeResultHead(frame, out);
    if (head < size) std::memcpy(out + head, frame.payload.data(), frame.payload.size());
    length_ += size;
    page_.outbox.store(PackOutbox(start_, length_), std::memory_order_release);
    return true;
  }

  bool Flush() {
    if (length_ == 0) return true;
    if (!Send(page_.outbox_bytes, length_)) return false;
    Advance(length_);
    length_ = 0;
    return true;
  }

 private:
  bool SendLarge(const ResultFrame& frame, size_t size) {
    std::string head(size - frame.payload.size(), '\0');
    EncodeResultHead(frame, head.data());
    if (!Send(head.data(), head.size()) || !Send(frame.payload.data(), frame.payload.size())) return false;
    Advance(size);
    return true;
  }
  // Nothing: it must go in the frame.
  std::optional<bool> SendByMemory(ResultFrame& frame, uint64_t now_ns) {
    UniqueFd fresh;
    const auto place = memory_.Put(frame.payload, page_.large_taken.load(std::memory_order_acquire), fresh);
    if (!place) return std::nullopt;
    frame.place = *place;
    frame.header.large = 1;
    frame.header.fresh_memory = fresh.valid();
    const std::string_view payload = std::exchange(frame.payload, {});
    if (!fresh.valid()) return Add(frame, now_ns) && Flush();
    if (!Flush()) return false;
    std::string bytes(PrepareResult(frame), '\0');
    EncodeResultHead(frame, bytes.data());
    const int fd = fresh.get();
    ssize_t sent;
    do {
      sent = SendWithFds(channel_, bytes.data(), bytes.size(), {&fd, 1}, 0);
    } while (sent < 0 && (errno == EINTR || (errno == EAGAIN && WaitWritable())));
    if (sent < 0) {
      memory_.Undo(*place);
      frame.header.large = frame.header.fresh_memory = 0;
      frame.payload = payload;
      return std::nullopt;
    }
    if (!Send(bytes.data() + sent, bytes.size() - static_cast<size_t>(sent))) return false;
    Advance(bytes.size());
    return true;
  }
  void Advance(size_t bytes) {
    start_ += bytes;
    page_.outbox.store(PackOutbox(start_, 0), std::memory_order_release);
  }
  bool Send(const char* data, size_t size) {
    while (size > 0) {
      const ssize_t sent = send(channel_, data, size, MSG_NOSIGNAL);
      if (sent < 0 && (errno == EINTR || (errno == EAGAIN && WaitWritable()))) continue;
      if (sent < 0) return false;
      data += sent;
      size -= static_cast<size_t>(sent);
    }
    return true;
  }
  // The channel may be non-blocking.
  bool WaitWritable() const {
    pollfd polled{channel_, POLLOUT, 0};
    return poll(&polled, 1, -1) > 0 || errno == EINTR;
  }

  const int channel_;
  StatusPage& page_;
  std::mutex mutex_;
  const size_t bytes_in_frame_;
  ResultMemory memory_;
  uint64_t start_ = 0;  // stream offset of the first gathered byte
  size_t length_ = 0;
  uint64_t first_ns_ = 0;
};

}  // namespace joinq
