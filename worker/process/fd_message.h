#pragma once

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <span>

#include "worker/process/unique_fd.h"

namespace joinq {

// Messages of SOCK_SEQPACKET sockets that may carry descriptors (SCM_RIGHTS), at most
// so many each.
inline constexpr size_t kMessageFdsMax = 4;

// As sendmsg: `data`, with `fds` if there are any.
ssize_t SendWithFds(int socket, const void* data, size_t size, std::span<const int> fds, int flags);

// As recvmsg, without waiting. Fills `fds` from the first one on; they are close-on-exec.
ssize_t ReceiveWithFds(int socket, void* data, size_t size, std::array<UniqueFd, kMessageFdsMax>& fds);

}  // namespace joinq
