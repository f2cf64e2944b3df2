#include "server/rpc/backup_thread.h"

#include <pthread.h>

#include "server/storage/data_directory.h"
#include "spdlog/spdlog.h"

namespace joinq::rpc {

absl::Status BackupThread::Start(core::CallerId caller, const std::string& directory) {
  if (loop_->durable() && allowed_.empty()) {
    return absl::FailedPreconditionError(
        "this broker makes no backups: start joinqd with --backup-dir DIR, below which they may go");
  }
  if (running_) return absl::UnavailableError("another backup is under way; try again when it is done");
  running_ = true;
  spdlog::info("backup to {} begins", directory);
  thread_ = std::jthread([this, caller, directory] {
    pthread_setname_np(pthread_self(), "backup");
    const auto bytes = Run(directory);
    std::lock_guard lock(mutex_);
    if (!closed_) loop_->Post([this, caller, directory, bytes] { Finished(caller, directory, bytes); });
  });
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> BackupThread::Run(const std::string& directory) {
  if (loop_->durable()) {
    if (absl::Status outside = storage::CheckBelow(directory, allowed_); !outside.ok()) return outside;
  }
  return store_->Backup(directory);
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
