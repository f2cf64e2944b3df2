// A disk that can lose what was not synced. It keeps a log of commits: those up to
// the last sync survive everything, the later ones only the death of the process. A
// crash of the machine drops a suffix of these, never one from the middle.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "server/storage/store.h"
#include "tests/sim/random.h"

namespace joinq::sim {

class SimDisk {
 public:
  void Apply(const storage::Batch& batch);
  // Everything so far survives a crash of the machine.
  void Sync();
  // The machine dies: some of the unsynced commits are gone, the newest first.
  void LoseTail(Random* random);

  // Commits in the log; after LoseTail, those that are left.
  uint64_t commits() const { return synced_commits_ + unsynced_.size(); }
  uint64_t dropped() const { return dropped_; }

  struct State {
    uint64_t epoch = 0;
    uint64_t next_entry = 1;
    std::map<std::string, std::string, std::less<>> rows;
    std::map<uint64_t, std::string> entries;
    void Apply(const storage::Batch& batch);
  };
  State& visible() { return visible_; }

 private:
  State synced_, visible_;
  std::vector<storage::Batch> unsynced_;
  uint64_t synced_commits_ = 0, dropped_ = 0;
};

class SimStore final : public storage::Store {
 public:
  explicit SimStore(SimDisk* disk, Random* random) : disk_(disk), random_(random) {}

  // The commit that is being written; a reader may see its rows or not.
  void set_under_way(const storage::Batch* batch) { under_way_ = batch; }

  absl::StatusOr<storage::Acquired> Acquire(storage::Partition partition, std::string_view owner) override;
  storage::CommitResult Commit(storage::Partition partition, uint64_t epoch, uint64_t seq,
                               const storage::Batch& batch) override;
  absl::Status ScanRows(storage::Partition partition, const RowVisitor& visit) override;
  absl::Status ScanEntries(storage::Partition partition, uint64_t from, const EntryVisitor& visit) override;
  absl::Status ReadRows(storage::Partition partition, std::span<const std::string> keys,
                        const FoundVisitor& visit) override;
  absl::StatusOr<uint64_t> Backup(const std::string& directory) override;
  storage::StoreLimits limits() const override { return {64u << 20}; }
  std::string_view durability() const override { return "fsync"; }

 private:
  SimDisk* const disk_;
  Random* const random_;
  const storage::Batch* under_way_ = nullptr;
  uint64_t last_seq_ = 0;
};

}  // namespace joinq::sim
