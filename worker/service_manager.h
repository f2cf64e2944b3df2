// What systemd, or whoever speaks its protocol, is told: sd_notify(3) without its library.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "worker/process/unique_fd.h"

namespace joinq {

// Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID once. Not thread-safe. Every call does
// nothing if nobody wants to know; a message that cannot be sent at once is lost.
class ServiceManager {
 public:
  ServiceManager();

  void Ready();                          // it serves, or has been reloaded
  void Reloading();                      // Ready follows
  void Stopping();                       // once
  void KeepAlive();                      // to be called more often than the watchdog's time
  void Status(const std::string& line);  // for people; repeated words are not sent

  // The time without a KeepAlive after which the worker is killed; 0: there is no watchdog.
  std::chrono::microseconds watchdog() const { return watchdog_; }
  bool listens() const { return socket_.valid(); }

 private:
  void Send(std::string_view message);

  std::string address_;  // as in sockaddr_un: an abstract one begins with a NUL
  UniqueFd socket_;
  std::chrono::microseconds watchdog_{0};
  std::string status_;
  bool stopping_ = false;
};

}  // namespace joinq
