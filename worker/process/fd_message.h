#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <array>
#include <cstddef>
#include <span>

#include "worker/process/unique_fd.h"

namespace joinq {

// Messages that may carry descriptors (SCM_RIGHTS), at most so many each. What is read of a
// SOCK_STREAM socket at once has those of one message at most.
inline constexpr size_t kMessageFdsMax = 4;

// As sendmsg: `data`, with `fds` if there are any.
ssize_t SendWithFds(int socket, const void* data, size_t size, std::span<const int> fds, int flags);

// As recvmsg, without waiting unless `flags` are 0. Fills `fds` from the first one on; they are
// close-on-exec. `lost`: there were more than found room here, or in this process.
ssize_t ReceiveWithFds(int socket, void* data, size_t size, std::array<UniqueFd, kMessageFdsMax>& fds,
                       int flags = MSG_DONTWAIT, bool* lost = nullptr);

}  // namespace joinq
