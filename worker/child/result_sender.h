// A child's end of the channel: results on their way to the daemon.
#pragma once

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <mutex>
#include <string>

#include "worker/child/frames.h"
#include "worker/process/status_page.h"

namespace joinq {

// Gathers result frames in the status page and sends them. Not thread-safe: who shares it
// holds mutex() for each call.
class ResultSender {
 public:
  ResultSender(int channel, StatusPage& page) : channel_(channel), page_(page) {}

  std::mutex& mutex() { return mutex_; }
  size_t gathered() const { return length_; }
  uint64_t first_ns() const { return first_ns_; }

  // False if the daemon is gone.
  bool Add(ResultFrame& frame, uint64_t now_ns) {
    const size_t size = PrepareResult(frame);
    if (length_ + size > kOutboxBytes && !Flush()) return false;
    if (size > kOutboxBytes) return SendLarge(frame, size);
    if (length_ == 0) first_ns_ = now_ns;
    char* out = page_.outbox_bytes + length_;
    const size_t head = EncodeResultHead(frame, out);
    if (!frame.payload.empty()) std::memcpy(out + head, frame.payload.data(), frame.payload.size());
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
  uint64_t start_ = 0;  // stream offset of the first gathered byte
  size_t length_ = 0;
  uint64_t first_ns_ = 0;
};

}  // namespace joinq
