#include "worker/process/child_channel.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace joinq {

absl::StatusOr<ChildChannel> ChildChannel::Adopt(SpawnedChild spawned) {
  auto page = SharedStatusPage::Map(spawned.status_page.get());
  if (!page.ok()) return page.status();
  return ChildChannel(std::move(spawned), *std::move(page));
}

ChildChannel::Sent ChildChannel::Send() {
  while (out_sent_ < out_.size()) {
    const ssize_t sent =
        send(channel_.get(), out_.data() + out_sent_, out_.size() - out_sent_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return errno == EAGAIN ? Sent::kBlocked : Sent::kBroken;
    out_sent_ += static_cast<size_t>(sent);
  }
  out_.clear();
  out_sent_ = 0;
  return Sent::kAll;
}

bool ChildChannel::WaitDead(int timeout_ms) const {
  pollfd polled{pidfd_.get(), POLLIN, 0};
  int result;
  do {
    result = poll(&polled, 1, timeout_ms);
  } while (result < 0 && errno == EINTR);
  return result > 0;
}

void ChildChannel::CloseWrites() {
  shutdown(channel_.get(), SHUT_WR);
}

bool ChildChannel::Receive(char* scratch, size_t size, bool& end) {
  ssize_t got;
  do {
    got = recv(channel_.get(), scratch, size, MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  end = got == 0 || (got < 0 && errno != EAGAIN);
  if (got <= 0) return false;
  const size_t known = std::min<uint64_t>(taken_ - received_, static_cast<uint64_t>(got));
  received_ += static_cast<uint64_t>(got);
  taken_ = std::max(taken_, received_);
  input_.append(scratch + known, static_cast<size_t>(got) - known);
  return true;
}

bool ChildChannel::Peek() {
  const size_t before = input_.size();
  if (!PeekOutbox(*page_, taken_, input_)) return false;
  taken_ += input_.size() - before;
  return true;
}

void ChildChannel::KeepInput(std::string_view rest) {
  input_.erase(0, input_.size() - rest.size());
}

}  // namespace joinq
