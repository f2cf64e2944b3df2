// Backups, one at a time, on a thread of their own: they read the whole store.
//
// Everything but the copying is the core thread's.
#pragma once

#include <mutex>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "server/rpc/core_loop.h"
#include "server/storage/store.h"

namespace joinq::rpc {

class BackupThread {
 public:
  // Backups go below `allowed`; if that is empty, there are none.
  BackupThread(CoreLoop* loop, storage::Store* store, std::string allowed)
      : loop_(loop), store_(store), allowed_(std::move(allowed)) {}
  // Waits for the backup under way.
  ~BackupThread() = default;

  // The caller's Reply comes when it is done; `count` is the bytes. UNAVAILABLE, and
  // no Reply, if another one is under way; FAILED_PRECONDITION if there are none here.
  absl::Status Start(core::CallerId caller, const std::string& directory);
  // Before the loop's queue shuts down: who still waits gets no answer.
  void Close();

 private:
  absl::StatusOr<uint64_t> Run(const std::string& directory);
  void Finished(core::CallerId caller, const std::string& directory, const absl::StatusOr<uint64_t>& bytes);

  CoreLoop* const loop_;
  storage::Store* const store_;
  const std::string allowed_;
  bool running_ = false;
  // The thread must not post to a loop that is gone.
  std::mutex mutex_;
  bool closed_ = false;  // guarded by mutex_
  std::jthread thread_;  // last: it uses all of the above
};

}  // namespace joinq::rpc
