#include "worker/process/fd_message.h"

#include <sys/socket.h>

#include <algorithm>
#include <cstring>

namespace joinq {

ssize_t SendWithFds(int socket, const void* data, size_t size, std::span<const int> fds, int flags) {
  iovec part{const_cast<void*>(data), size};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char rights[CMSG_SPACE(kMessageFdsMax * sizeof(int))] = {};
  if (!fds.empty()) {
    message.msg_control = rights;
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
  }
  return sendmsg(socket, &message, MSG_NOSIGNAL | flags);
}

ssize_t ReceiveWithFds(int socket, void* data, size_t size, std::array<UniqueFd, kMessageFdsMax>& fds,
                       int flags, bool* lost) {
  alignas(cmsghdr) char rights[CMSG_SPACE(kMessageFdsMax * sizeof(int))];
  iovec part{data, size};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = rights;
  message.msg_controllen = sizeof rights;
  const ssize_t got = recvmsg(socket, &message, flags | MSG_CMSG_CLOEXEC);
  if (got < 0) return got;
  if (lost != nullptr) *lost = (message.msg_flags & MSG_CTRUNC) != 0;
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header == nullptr || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) return got;
  const size_t count = std::min(kMessageFdsMax, (header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
  for (size_t i = 0; i < count; ++i) {
    int fd;
    std::memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
    fds[i].Reset(fd);
  }
  return got;
}

}  // namespace joinq
