#include "server/rpc/backup_thread.h"

#include <pthread.h>

#include "spdlog/spdlog.h"

namespace joinq::rpc {

absl::Status BackupThread::Start(core::CallerId caller, const std::string& directory) {
  if (running_) return absl::UnavailableError("another backup is under way; try again when it is done");
  running_ = true;
  spdlog::info("backup to {} begins", directory);
  thread_ = std::jthread([this, caller, directory] {
    pthread_setname_np(pthread_self(), "backup");
    const auto bytes = store_->Backup(directory);
    std::lock_guard lock(mutex_);
    if (!closed_) loop_->Post([this, caller, directory, bytes] { Finished(caller, directory, bytes); });
  });
  return absl::OkStatus();
}

void BackupThread::Finished(core::CallerId caller, const std::string& directory,
                            const absl::StatusOr<uint64_t>& bytes) {
  running_ = false;
  core::Reply reply;
  reply.to = caller;
  reply.status = bytes.status();
  if (bytes.ok()) {
    reply.count = *bytes;
    spdlog::info("backup to {} is done: {} MiB", directory, *bytes >> 20);
  } else {
    spdlog::warn("backup to {} failed: {}", directory, std::string(bytes.status().message()));
  }
  loop_->broker().effects().replies.push_back(std::move(reply));
}

void BackupThread::Close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
}

}  // namespace joinq::rpc
