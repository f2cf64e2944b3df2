#include "worker/process/child_channel.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "worker/process/fd_message.h"

namespace joinq {

absl::StatusOr<ChildChannel> ChildChannel::Adopt(SpawnedChild spawned) {
  auto page = SharedStatusPage::Map(spawned.status_page.get());
  if (!page.ok()) return page.status();
  return ChildChannel(std::move(spawned), *std::move(page));
}

ChildChannel::Sent ChildChannel::Send() {
  while (out_sent_ < out_.size()) {
    // A descriptor goes with the first byte of its frame, and the one before it not beyond that.
    int fd = -1;
    size_t end = out_.size();
    for (const auto& each : out_memories_) {
      if (each.at == out_sent_) {
        fd = each.memory->fd.get();
      } else {
        end = each.at;
        break;
      }
    }
    const ssize_t sent = SendWithFds(channel_.get(), out_.data() + out_sent_, end - out_sent_,
                                     std::span<const int>(&fd, fd >= 0 ? 1 : 0), MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno == EAGAIN) return Sent::kBlocked;
    // Too many descriptors are on their way, of all processes of this user, or no memory is there.
    if (sent < 0 && (errno == ETOOMANYREFS || errno == ENOBUFS || errno == ENOMEM)) return Sent::kLater;
    if (sent < 0) return Sent::kBroken;
    if (fd >= 0) out_memories_.pop_front();
    out_sent_ += static_cast<size_t>(sent);
  }
  DropUnsent();
  return Sent::kAll;
}

void ChildChannel::DropUnsent() {
  out_.clear();
  out_sent_ = 0;
  out_memories_.clear();
}

void ChildChannel::Kill() const {
  if (pidfd_.valid()) syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0);
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
  std::array<UniqueFd, kMessageFdsMax> fds;
  bool lost = false;
  ssize_t got;
  do {
    got = ReceiveWithFds(channel_.get(), scratch, size, fds, MSG_DONTWAIT, &lost);
  } while (got < 0 && errno == EINTR);
  end = got == 0 || (got < 0 && errno != EAGAIN);
  if (got <= 0) return false;
  if (fds[0].valid() || lost) results_.Add(std::move(fds[0]));
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
  if (large_read_ > 0) page_->large_taken.store(large_read_, std::memory_order_release);
}

}  // namespace joinq
