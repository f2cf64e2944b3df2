// What handlers of a test note of their runs where their own death loses nothing, and what
// the test reads of it. The files lie in the directory that WITNESS_DIRECTORY names.
//
//   runs    a record for each begin and each end of a run, each a single append
//   locks   byte n is locked by the process that runs task n; the kernel lets go of it when
//           that process ends, so a lock that is held means that the task runs now
//   begun   how many runs have begun on each member of a fleet, shared memory
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

namespace joinq::testing {

inline constexpr char kWitnessDirectory[] = "WITNESS_DIRECTORY";
inline constexpr char kWitnessMember[] = "WITNESS_MEMBER";  // the number of a worker
inline constexpr uint32_t kWitnessMembersMax = 4096;

// No record lies in two pages of the file: a SIGKILL can end a write between pages.
struct alignas(64) RunRecord {
  enum Kind : uint32_t {
    kBegin,
    kEnd,
    kOverlap,  // another process runs the task: `other`
  };
  Kind kind = kBegin;
  uint32_t member = 0;
  uint64_t number = 0;  // the test's own of the task
  uint64_t task = 0;
  uint64_t epoch = 0, sequence = 0;
  int64_t at_ns = 0;  // of the monotonic clock
  int32_t pid = 0, other = 0;
};

static_assert(sizeof(RunRecord) == 64);

inline int64_t MonotonicNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

// The handlers' end. One in each process, made in it: the locks are the process's own.
class Witness {
 public:
  Witness();
  // At the start of a run; false if the task runs elsewhere, which is noted.
  bool Begin(RunRecord run);
  void End(RunRecord run);

 private:
  void Append(const RunRecord& record);
  int runs_, locks_;
  std::atomic<uint64_t>* begun_;
};

// The test's end: makes the files in `directory`, and sets WITNESS_DIRECTORY.
class WitnessFiles {
 public:
  explicit WitnessFiles(const std::string& directory);
  ~WitnessFiles();
  WitnessFiles(const WitnessFiles&) = delete;
  WitnessFiles& operator=(const WitnessFiles&) = delete;

  uint64_t begun(uint32_t member) const { return begun_[member]; }
  // All runs so far, or those that came since the last call.
  std::vector<RunRecord> Runs() const;
  std::vector<RunRecord> NewRuns();

 private:
  std::vector<RunRecord> Read(off_t from) const;
  int runs_;
  off_t read_ = 0;
  std::atomic<uint64_t>* begun_;
};

}  // namespace joinq::testing
