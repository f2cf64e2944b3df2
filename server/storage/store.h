// The port to durable storage. It asks an engine for one thing: to append a
// journal entry and change rows in one atomic, ordered step, by one owner at a
// time. Nothing of a particular engine shows through.
//
// Life: Acquire once, then scan, then commit. One thread at a time may use a
// store, and calls block; only ReadRows and Backup may also be called by other
// threads while that one commits.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace joinq::storage {

// A set of queues with one owner. A broker on one machine owns partition 0.
using Partition = uint32_t;

struct Acquired {
  uint64_t epoch = 0;       // greater than that of every earlier owner
  uint64_t next_entry = 1;  // the number for the next journal entry
};

struct Batch {
  uint64_t entry_number = 0;  // meaningless without an entry; else the last one plus 1
  std::string entry;          // empty: none
  struct RowPut {
    std::string key, value;
  };
  std::vector<RowPut> row_puts;
  std::vector<std::string> row_deletes;
  uint64_t drop_through = 0;  // entries up to this one go; 0: none
  // Whether the commit survives the death of the machine. False: only that of the
  // process, which is enough for what can be found out anew or told twice. Commits
  // are ordered: one that is synced makes all before it survive as well.
  bool sync = true;

  bool empty() const { return entry.empty() && row_puts.empty() && row_deletes.empty() && drop_through == 0; }
  size_t bytes() const;
  // As new, sync included; keeps the memory.
  void Clear();
};

enum class CommitOutcome {
  kDurable,  // it will be there after any crash, if the batch asked for sync; else after any but the
             // machine's
  kFenced,   // another owner has acquired the partition; nothing was written
  kUnknown,  // it may or may not be there; only the same commit may be repeated, or the process must end
};

struct CommitResult {
  CommitOutcome outcome = CommitOutcome::kDurable;
  std::string error;  // for people, unless durable
};

struct StoreLimits {
  size_t batch_bytes_max = 0;  // of one commit
};

class Store {
 public:
  virtual ~Store() = default;

  // Makes this process the owner. `owner` names it to people.
  virtual absl::StatusOr<Acquired> Acquire(Partition partition, std::string_view owner) = 0;
  // One atomic step. `seq` numbers the commits of an epoch from 1 without gaps.
  virtual CommitResult Commit(Partition partition, uint64_t epoch, uint64_t seq, const Batch& batch) = 0;

  using RowVisitor = std::function<absl::Status(std::string_view key, std::string_view value)>;
  using EntryVisitor = std::function<absl::Status(uint64_t number, std::string_view entry)>;
  // In the order of keys, of numbers; ends early with a visitor's error.
  virtual absl::Status ScanRows(Partition partition, const RowVisitor& visit) = 0;
  virtual absl::Status ScanEntries(Partition partition, uint64_t from, const EntryVisitor& visit) = 0;

  // Looks rows up: visits those that exist, in the order of `keys`; a value lives
  // until the visit returns, and a visitor must not call the store. A row that
  // cannot be read is passed over, and the first such error is returned in the
  // end: DATA_LOSS if the row is damaged, else it may be there the next time. What a Commit under way on
  // another thread writes may be seen or not.
  using FoundVisitor = std::function<void(size_t index, std::string_view value)>;
  virtual absl::Status ReadRows(Partition partition, std::span<const std::string> keys,
                                const FoundVisitor& visit) = 0;

  // Writes a copy of everything, as of some moment during the call and no earlier
  // than its begin, to where the broker's machine calls it `directory`: whole and
  // durable, or not there at all. What is opened there later does not hand out the
  // epochs that were given here meanwhile. Returns its bytes. FAILED_PRECONDITION:
  // it exists, its parent does not, or the store is not one to copy.
  virtual absl::StatusOr<uint64_t> Backup(const std::string& directory) = 0;

  virtual StoreLimits limits() const = 0;
  // What a durable commit survives: "fsync" or "memory".
  virtual std::string_view durability() const = 0;
};

}  // namespace joinq::storage
