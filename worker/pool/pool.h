// Which child runs which task, how many tasks the worker asks for, and what a
// child's death means for the tasks it had. Pure policy: no system calls, no
// clock, not thread-safe. The daemon does what it says.
//
// A task in hand is named by a Ticket and is either waiting in the daemon or
// sent to a child. A child begins the frames sent to it in their order, as many at
// once as it has lanes, and answers them as they end; they are numbered from 1 for
// each life of a child, as in its status page.
//
// Adaptive prefetch. While the mean service time is unknown (fewer than 8
// answers) or at least 1 ms, a lane has one task at a time; from 1 ms on the
// worker holds as many more as hide the round trip to the broker, none from 90 ms
// on. Below 1 ms a child gets as many as last it about 5 ms, and the worker holds
// twice that, up to prefetch_max, or fewer when their payloads would pass 64 MiB.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "worker/limits.h"

namespace joinq {

struct PoolLimits {
  uint32_t children = 1;               // slots to begin with, and children to ask for tasks for
  uint32_t lanes = 1;                  // tasks that each of them runs at once
  uint32_t prefetch_max = 2048;        // tasks in hand plus asked for; never less than one a lane
  uint32_t child_frames_max = 128;     // sent to one child, not answered
  uint64_t child_bytes_max = 1 << 20;  // of these frames; one frame may be larger
  uint64_t bytes_max = 64 << 20;       // expected, of all tasks in hand
  uint32_t child_tasks_max = 0;        // in a child's life; 0: any number
};

class Pool {
 public:
  using Ticket = uint32_t;
  using Child = uint32_t;  // 0 .. children-1

  struct Task {
    uint64_t id = 0;
    uint64_t epoch = 0;
    uint64_t sequence = 0;
    std::string frame;                   // as it goes to a child
    std::shared_ptr<const void> memory;  // of a large payload, for the caller; freed with the task
    size_t memory_bytes = 0;             // the payload's
    uint16_t handler = 0;                // index, for the caller
    bool dropped = false;                // nobody wants its outcome any more
    bool apart = false;                  // runs in a child made for it
    TimeLimit limit;                     // for the caller, as is the next
    uint64_t deadline_ns = 0;
    enum class Place : uint8_t { kFree, kWaiting, kSent } place = Place::kFree;
    Child child = 0;      // if sent
    uint64_t number = 0;  // its frame's number there
    uint64_t counted_bytes = 0;
    size_t bytes() const { return frame.size() + memory_bytes; }
  };

  struct Assignment {
    Child child;
    Ticket ticket;
  };

  explicit Pool(PoolLimits limits);

  // --- tasks in
  // A delivery: uses up one of the credit, waits for Dispatch. The caller fills `frame` at once.
  Ticket Add(uint64_t id, uint64_t epoch, uint64_t sequence);
  // The task's frame, and its memory if it has any, are complete: counts their bytes.
  void Framed(Ticket ticket);
  // More bytes are in hand than any credit was meant for (tasks grew suddenly):
  // further deliveries are better given back.
  bool overfull() const { return bytes_in_hand_ > kOverfullFactor * limits_.bytes_max; }
  // It is not for the children of the pool, but waits for one of its own, see NextApart;
  // no credit is used up by it.
  void SetApart(Ticket ticket);
  // The next tasks to send, fewest first; they count as sent. Appends to `out`.
  void Dispatch(std::vector<Assignment>& out);
  // The task's outcome has been reported, or nobody wants it: forgets it.
  // It must not wait, nor be sent and unanswered.
  void Free(Ticket ticket);

  Task& task(Ticket ticket) { return tasks_[ticket]; }
  // Every task in hand, waiting or sent.
  std::vector<Ticket> InHand() const;
  std::optional<Ticket> Find(uint64_t id, uint64_t epoch, uint64_t sequence) const;

  // --- answers
  // The answer of `child` to frame `number`, which must be of `task_id`, and its oldest if it has
  // one lane. Gives the task if this answers it; nothing if the task went elsewhere meanwhile or
  // was skipped and waits again.
  // `expected` is false (and nothing happened) if the child owes no such answer.
  std::optional<Ticket> Answered(Child child, uint64_t number, uint64_t task_id, bool skipped,
                                 uint32_t service_us, bool& expected);

  // --- lives of children
  // Makes room for one more; its number.
  Child AddSlot() {
    children_.emplace_back();
    return static_cast<Child>(children_.size() - 1);
  }
  void ChildReady(Child child);
  // `begun` is the child's last word in its status page, after its last answers
  // were taken. Those it ran then are returned, oldest first (the caller frees them); all
  // others it had wait again, at no cost.
  std::vector<Ticket> ChildDied(Child child, uint64_t begun);
  // The next task that waits for a child of its own; it counts as sent to `child`, which
  // was not ready and gets nothing else.
  std::optional<Ticket> NextApart(Child child);
  // No more frames for it; its end is near. Those it has stay.
  void Retire(Child child);
  // It has run all the tasks of its life, or is retired, and owes no answer that counts.
  bool Spent(Child child) const {
    const Slot& slot = children_[child];
    return (slot.retired || slot.tasks_left == 0) && slot.live == 0;
  }
  // The task of frame `number`, if it was sent and is neither answered nor recalled.
  std::optional<Ticket> Sent(Child child, uint64_t number) const;
  bool ready(Child child) const { return children_[child].ready; }
  bool retired(Child child) const { return children_[child].retired; }
  // Unanswered frames that are not recalled.
  uint32_t in_flight(Child child) const { return children_[child].live; }
  // Has unanswered frames beside those that are `running`, and is not known to be stalled: they, or
  // their answers, may be stuck.
  bool MayBeStuck(Child child, uint32_t running = 1) const {
    return children_[child].unanswered > running && !children_[child].stalled;
  }
  bool stalled(Child child) const { return children_[child].stalled; }

  // --- slow tasks
  // No more frames for it until it answers.
  void SetStalled(Child child) { children_[child].stalled = true; }
  // Frames [from, to) have not begun as far as `begun` tells.
  struct Range {
    uint64_t from = 0;
    uint64_t to = 0;
    bool empty() const { return from >= to; }
  };
  Range Recallable(Child child, uint64_t begun) const;
  // The range was recalled and the child's `begun` read after that: what lies
  // beyond it certainly never runs there and waits again, ahead of the others.
  void Recalled(Child child, Range range, uint64_t begun_after);

  // --- taking tasks back out
  // All waiting tasks; the caller reports and frees them.
  std::vector<Ticket> TakeWaiting();
  // The same because all children have been busy for long: nothing is asked for ahead
  // until one of them answers.
  std::vector<Ticket> HandBack();
  void RemoveWaiting(Ticket ticket);

  // --- credit
  // Tasks are asked for as if that many children were ready: the others are made when
  // there is something to do for them. No task is asked for while none is ready.
  void SetCapacity(uint32_t children) { capacity_ = children; }
  // Whether others can be made just now.
  void SetGrowing(bool growing) { growing_ = growing; }
  // How much more to ask the broker for; counts as asked. 0 while paused.
  uint32_t TakeCredit();
  // What was asked for and not delivered is void: the stream broke, or drain.
  void VoidCredit() { outstanding_ = 0; }
  void SetPaused(bool paused) { paused_ = paused; }
  uint32_t credit_target() const;
  uint32_t outstanding() const { return outstanding_; }

  size_t waiting() const { return waiting_.size(); }
  size_t waiting_apart() const { return waiting_apart_.size(); }
  size_t in_hand() const { return in_hand_; }
  // In hand and not yet with a child, or behind what that runs.
  size_t buffered() const { return in_hand_ - running_ - (apart_ - waiting_apart_.size()); }
  uint32_t ready_children() const { return ready_; }
  // Retired and not dead.
  uint32_t leaving_children() const { return leaving_; }
  uint32_t busy_children() const { return busy_; }
  // The most that had to be busy at once since the last call.
  uint32_t TakeBusyPeak() {
    return (std::exchange(running_peak_, running_) + limits_.lanes - 1) / limits_.lanes;
  }
  double mean_service_us() const { return mean_us_; }

 private:
  static constexpr uint64_t kOverfullFactor = 4;
  struct Entry {
    Ticket ticket;
    bool recalled;  // the ticket is no longer this child's
    bool answered;
    uint32_t bytes;
    uint64_t task_id;
  };
  struct Slot {
    std::deque<Entry> fifo;     // the first one is not answered
    uint64_t front_number = 1;  // of that
    uint32_t unanswered = 0;
    uint32_t live = 0;  // of these, not recalled
    uint64_t bytes = 0;
    bool ready = false;
    bool stalled = false;
    bool retired = false;
    bool apart = false;
    uint64_t tasks_left = UINT64_MAX;  // that may still be sent to it
  };

  uint32_t FramesPerChild() const;
  bool HasRoom(const Slot& slot, uint32_t frames) const;
  void RequeueFront(Ticket ticket);
  void MoreLive(Slot& slot);
  void LessLive(Slot& slot);

  const PoolLimits limits_;
  std::vector<Slot> children_;
  std::deque<Task> tasks_;  // by ticket; entries are reused, with their buffers
  std::vector<Ticket> free_;
  std::deque<Ticket> waiting_;
  std::deque<Ticket> waiting_apart_;
  size_t in_hand_ = 0;
  size_t apart_ = 0;  // of those in hand
  uint64_t bytes_in_hand_ = 0;
  uint32_t capacity_;
  uint32_t ready_ = 0;
  uint32_t leaving_ = 0;
  uint32_t busy_ = 0;     // children
  uint32_t running_ = 0;  // lanes, of those that are busy
  uint32_t running_peak_ = 0;
  uint32_t outstanding_ = 0;
  bool growing_ = true;
  bool paused_ = false;
  bool handed_back_ = false;
  uint32_t answers_ = 0;  // up to the 8 that make the mean known
  double mean_us_ = 0;
  double mean_bytes_ = 0;
};

}  // namespace joinq
