#include "worker/service_manager.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"

namespace joinq {
namespace {

std::chrono::microseconds WatchdogTime() {
  const char* time = std::getenv("WATCHDOG_USEC");
  int64_t us = 0;
  if (time == nullptr || !absl::SimpleAtoi(time, &us) || us <= 0) return {};
  const char* whose = std::getenv("WATCHDOG_PID");
  pid_t pid = 0;
  if (whose != nullptr && (!absl::SimpleAtoi(whose, &pid) || pid != getpid())) return {};
  return std::chrono::microseconds(us);
}

}  // namespace

ServiceManager::ServiceManager() {
  const char* address = std::getenv("NOTIFY_SOCKET");
  if (address == nullptr || *address == '\0') return;
  address_ = address;
  if ((address_[0] != '/' && address_[0] != '@') || address_.size() >= sizeof(sockaddr_un::sun_path)) {
    spdlog::warn("NOTIFY_SOCKET: \"{}\" is no path and no abstract address; nobody is told", address_);
    return;
  }
  if (address_[0] == '@') address_[0] = '\0';
  socket_.Reset(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  watchdog_ = WatchdogTime();
}

void ServiceManager::Ready() {
  Send("READY=1");
}

void ServiceManager::Reloading() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  Send(absl::StrCat("RELOADING=1\nMONOTONIC_USEC=",
                    static_cast<int64_t>(now.tv_sec) * 1'000'000 + now.tv_nsec / 1000));
}

void ServiceManager::Stopping() {
  if (!std::exchange(stopping_, true)) Send("STOPPING=1");
}

void ServiceManager::KeepAlive() {
  Send("WATCHDOG=1");
}

void ServiceManager::Status(const std::string& line) {
  if (line == status_) return;
  status_ = line;
  Send("STATUS=" + line);
}

void ServiceManager::Send(std::string_view message) {
  if (!socket_.valid()) return;
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  std::memcpy(to.sun_path, address_.data(), address_.size());
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address_.size());
  sendto(socket_.get(), message.data(), message.size(), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&to),
         length);
}

}  // namespace joinq
