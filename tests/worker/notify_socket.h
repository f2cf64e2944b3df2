// A service manager's end of sd_notify(3), at an abstract address.
#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <chrono>
#include <cstddef>
#include <cstring>
#include <stdexcept>
#include <string>

#include "worker/process/unique_fd.h"

namespace joinq {

class NotifySocket {
 public:
  NotifySocket() : socket_(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    // The kernel chooses a free one.
    socklen_t length = sizeof(sa_family_t);
    if (bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), length) != 0)
      throw std::runtime_error("cannot bind a socket");
    length = sizeof address;
    getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&address), &length);
    name_.assign(address.sun_path + 1, length - offsetof(sockaddr_un, sun_path) - 1);
  }

  std::string Variable() const { return "NOTIFY_SOCKET=@" + name_; }

  // Reads on until a message that begins so; false if none comes.
  bool WaitFor(const std::string& beginning) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    for (;;) {
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
      pollfd polled{socket_.get(), POLLIN, 0};
      if (left.count() <= 0 || poll(&polled, 1, static_cast<int>(left.count())) <= 0) return false;
      char text[4096];
      const ssize_t got = recv(socket_.get(), text, sizeof text, 0);
      if (got < 0) return false;
      const std::string message(text, static_cast<size_t>(got));
      heard_ += message + "\n";
      if (message.starts_with(beginning)) return true;
    }
  }
  // Everything read so far, a message a line.
  const std::string& heard() const { return heard_; }

 private:
  UniqueFd socket_;
  std::string name_;
  std::string heard_;
};

}  // namespace joinq
