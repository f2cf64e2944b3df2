// The page of memory that a child shares with the daemon: which tasks it runs
// since when, and the results it has gathered but not yet sent. The daemon
// reads it without a message and after the child's death.
//
// Task frames are numbered from 1 in the order they are sent to the child, which begins
// them in that order. A child runs one at a time, or several: each in a lane of its own.
// The child writes its part, the daemon only the recall range and what it asks of a
// task; all are atomics because two processes share them without a lock.
//
// Recall. The daemon takes back frames that have not begun: it stores
// recall_to, then recall_from, then reads `begun`. The child stores `begun`,
// then reads the range, all sequentially consistent. So a frame that the daemon
// read as not begun and that lies in the range will be skipped for certain (the
// child answers it with kSkipped); one that begins at that moment may still
// run, and its answer tells.
//
// Outbox. `outbox` packs the stream offset of outbox_bytes[0] (44 bits) and the
// number of valid bytes (20 bits). Valid bytes never change until they were
// sent, so a copy is good if the offset is the same after it.
#pragma once

#include <sys/mman.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "worker/process/unique_fd.h"

namespace joinq {

inline constexpr size_t kOutboxBytes = 64 << 10;
inline constexpr size_t kProgressBytes = 4096;

inline constexpr uint32_t kLanesMax = 64;
inline constexpr uint64_t kNobody = UINT64_MAX;

// What a child runs at one time in one place.
struct StatusLane {
  // Written by the child.
  alignas(64) std::atomic<uint64_t> number;  // of the frame that runs here; 0: none
  std::atomic<uint64_t> start_ns;            // CLOCK_MONOTONIC when it began
  // Written by the daemon.
  std::atomic<uint64_t> soft_number;    // the frame that is past its soft time limit
  std::atomic<uint64_t> cancel_number;  // the frame nobody wants the result of any more
  // The newest progress text of a task, written by the child: the version is odd meanwhile.
  std::atomic<uint64_t> progress_version;
  std::atomic<uint32_t> progress_told;  // a frame that says so is on its way; the daemon resets it
  std::atomic<uint32_t> progress_bytes;
  std::atomic<uint64_t> progress_number;  // of the frame it is of
};
static_assert(sizeof(StatusLane) == 64);

struct StatusPage {
  // Written by the child.
  alignas(64) std::atomic<uint64_t> begun;  // number of the newest frame begun (or skipped)
  std::atomic<uint64_t> begun_ns;           // when that was
  // The frame whose code runs just now, of those that are in lanes; 0: of none of them.
  // kNobody: of one that has ended. Only kept by a child that can have several at once.
  std::atomic<uint64_t> current;
  std::atomic<uint64_t> current_ns;  // since when
  std::atomic<uint64_t> outbox;
  std::array<char, 16> output_key;  // of the marks in its output; set before its first frame
  // Written by the daemon.
  alignas(64) std::atomic<uint64_t> recall_from;
  std::atomic<uint64_t> recall_to;    // exclusive
  std::atomic<uint64_t> large_taken;  // how many results were read that lay in shared memory
  alignas(64) char outbox_bytes[kOutboxBytes];
  StatusLane lanes[kLanesMax];  // a child with one task at a time uses the first
  // Of each lane; memory is taken for those that are written to.
  char progress[kLanesMax][kProgressBytes];
};
static_assert(std::atomic<uint64_t>::is_always_lock_free);

inline constexpr int kOutboxLengthBits = 20;
inline uint64_t PackOutbox(uint64_t start, uint64_t length) {
  return start << kOutboxLengthBits | length;
}
inline uint64_t OutboxStart(uint64_t packed) {
  return packed >> kOutboxLengthBits;
}
inline uint64_t OutboxLength(uint64_t packed) {
  return packed & ((1u << kOutboxLengthBits) - 1);
}

// Appends to `out` what the child has gathered beyond stream offset `consumed`.
// Returns false, and leaves `out` alone, if there is nothing such or it is just being sent.
inline bool PeekOutbox(const StatusPage& page, uint64_t consumed, std::string& out) {
  const uint64_t packed = page.outbox.load(std::memory_order_acquire);
  const uint64_t start = OutboxStart(packed);
  const uint64_t length = OutboxLength(packed);
  if (length > kOutboxBytes || consumed < start || consumed >= start + length) return false;
  const size_t old_size = out.size();
  out.append(page.outbox_bytes + (consumed - start), start + length - consumed);
  std::atomic_thread_fence(std::memory_order_acquire);
  if (OutboxStart(page.outbox.load(std::memory_order_relaxed)) == start) return true;
  out.resize(old_size);
  return false;
}

// The lane that runs the frame now, or null.
inline StatusLane* LaneOf(StatusPage& page, uint64_t number) {
  for (StatusLane& lane : page.lanes) {
    if (lane.number.load(std::memory_order_acquire) == number) return &lane;
  }
  return nullptr;
}

// The child's side: replaces the text (cut to kProgressBytes). True: the daemon is to be told.
inline bool WriteProgress(StatusPage& page, uint32_t index, uint64_t number, std::string_view text) {
  StatusLane& lane = page.lanes[index];
  text = text.substr(0, kProgressBytes);
  lane.progress_version.fetch_add(1, std::memory_order_acq_rel);
  std::atomic_thread_fence(std::memory_order_release);
  lane.progress_number.store(number, std::memory_order_relaxed);
  lane.progress_bytes.store(static_cast<uint32_t>(text.size()), std::memory_order_relaxed);
  std::memcpy(page.progress[index], text.data(), text.size());
  lane.progress_version.fetch_add(1, std::memory_order_release);
  return lane.progress_told.exchange(1, std::memory_order_seq_cst) == 0;
}

// The daemon's side. False if there is nothing new, or if it is just being written: then the
// child tells again.
inline bool ReadProgress(StatusPage& page, uint32_t index, uint64_t& number, std::string& text) {
  StatusLane& lane = page.lanes[index];
  if (lane.progress_told.exchange(0, std::memory_order_seq_cst) == 0) return false;
  const uint64_t version = lane.progress_version.load(std::memory_order_acquire);
  number = lane.progress_number.load(std::memory_order_relaxed);
  const size_t bytes = lane.progress_bytes.load(std::memory_order_relaxed);
  if (version % 2 != 0 || bytes > kProgressBytes) return false;
  text.assign(page.progress[index], bytes);
  std::atomic_thread_fence(std::memory_order_acquire);
  return lane.progress_version.load(std::memory_order_relaxed) == version;
}

// A mapping of a status page. Movable; unmaps on destruction.
class SharedStatusPage {
 public:
  // A fresh, zeroed one in anonymous memory that `fd` can be sent to share.
  static absl::StatusOr<SharedStatusPage> Create(UniqueFd& fd);
  static absl::StatusOr<SharedStatusPage> Map(int fd);

  StatusPage& operator*() const { return *page_; }
  StatusPage* operator->() const { return page_.get(); }

 private:
  struct Unmap {
    void operator()(StatusPage* page) const { munmap(page, sizeof *page); }
  };
  explicit SharedStatusPage(StatusPage* page) : page_(page) {}
  std::unique_ptr<StatusPage, Unmap> page_;
};

}  // namespace joinq
