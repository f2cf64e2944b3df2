// A store that forgets everything with the process: for --memory and, with its
// state shared between instances, for tests that reopen.
#pragma once

#include <map>
#include <memory>
#include <mutex>

#include "server/storage/store.h"

namespace joinq::storage {

class MemoryStore : public Store {
 public:
  // What a disk would hold. The mutex lets an old owner and a new one race, as
  // two processes would.
  struct Disk {
    std::mutex mutex;
    uint64_t epoch = 0;
    uint64_t next_entry = 1;
    uint64_t last_seq = 0;
    std::map<std::string, std::string, std::less<>> rows;
    std::map<uint64_t, std::string> entries;
  };
  explicit MemoryStore(std::shared_ptr<Disk> disk = std::make_shared<Disk>()) : disk_(std::move(disk)) {}

  absl::StatusOr<Acquired> Acquire(Partition partition, std::string_view owner) override;
  CommitResult Commit(Partition partition, uint64_t epoch, uint64_t seq, const Batch& batch) override;
  absl::Status ScanRows(Partition partition, const RowVisitor& visit) override;
  absl::Status ScanEntries(Partition partition, uint64_t from, const EntryVisitor& visit) override;
  absl::Status ReadRows(Partition partition, std::span<const std::string> keys,
                        const FoundVisitor& visit) override;
  absl::StatusOr<uint64_t> Backup(const std::string& directory) override;
  StoreLimits limits() const override { return {64u << 20}; }
  std::string_view durability() const override { return "memory"; }

 private:
  std::shared_ptr<Disk> disk_;
};

}  // namespace joinq::storage
