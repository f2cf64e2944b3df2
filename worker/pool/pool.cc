#include "worker/pool/pool.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace joinq {
namespace {

constexpr uint32_t kAnswersForMean = 8;
constexpr double kLongUs = 1000;               // from here on nothing is sent to a busy child
constexpr double kVeryLongUs = 90'000;         // and from here on nothing is asked for ahead
constexpr double kRoundTripUs = 2000;          // to the broker and back, over its disk
constexpr double kBufferedUs = 5000;           // how long the frames in a child should last it
constexpr double kServiceUsMin = 0.5;          // the clock cannot tell less
constexpr double kServiceUsCounted = 100'000;  // one long task must not hide many short ones for long
constexpr double kWeight = 1.0 / 8;
constexpr size_t kFrameCapacityKept = 4096;

}  // namespace

Pool::Pool(PoolLimits limits) : limits_(limits), children_(limits.children), capacity_(limits.children) {
  assert(limits.children > 0);
}

Pool::Ticket Pool::Add(uint64_t id, uint64_t epoch, uint64_t sequence) {
  Ticket ticket;
  if (free_.empty()) {
    ticket = static_cast<Ticket>(tasks_.size());
    tasks_.emplace_back();
  } else {
    ticket = free_.back();
    free_.pop_back();
  }
  Task& task = tasks_[ticket];
  task.id = id;
  task.epoch = epoch;
  task.sequence = sequence;
  task.dropped = false;
  task.apart = false;
  task.limit = {};
  task.deadline_ns = 0;
  task.place = Task::Place::kWaiting;
  waiting_.push_back(ticket);
  ++in_hand_;
  if (outstanding_ > 0) --outstanding_;
  return ticket;
}

void Pool::SetApart(Ticket ticket) {
  RemoveWaiting(ticket);
  tasks_[ticket].apart = true;
  waiting_apart_.push_back(ticket);
  ++apart_;
}

std::optional<Pool::Ticket> Pool::NextApart(Child child) {
  if (waiting_apart_.empty()) return std::nullopt;
  const Ticket ticket = waiting_apart_.front();
  waiting_apart_.pop_front();
  Task& task = tasks_[ticket];
  Slot& slot = children_[child];
  assert(!slot.ready && slot.fifo.empty());
  slot = Slot{};
  slot.apart = slot.retired = true;
  task.place = Task::Place::kSent;
  task.child = child;
  task.number = slot.front_number;
  slot.fifo.push_back({ticket, false, false, static_cast<uint32_t>(task.bytes()), task.id});
  slot.live = slot.unanswered = 1;
  return ticket;
}

void Pool::Framed(Ticket ticket) {
  Task& task = tasks_[ticket];
  bytes_in_hand_ += task.bytes() - task.counted_bytes;
  task.counted_bytes = task.bytes();
}

void Pool::Free(Ticket ticket) {
  Task& task = tasks_[ticket];
  bytes_in_hand_ -= task.counted_bytes;
  task.counted_bytes = 0;
  assert(task.place != Task::Place::kFree);
  task.place = Task::Place::kFree;
  if (task.frame.capacity() > kFrameCapacityKept) std::string().swap(task.frame);
  task.memory.reset();
  task.memory_bytes = 0;
  free_.push_back(ticket);
  --in_hand_;
  if (task.apart) --apart_;
}

uint32_t Pool::FramesPerChild() const {
  if (answers_ < kAnswersForMean || mean_us_ >= kLongUs) return limits_.lanes;
  const double frames = kBufferedUs / std::max(mean_us_, kServiceUsMin);
  return std::max(limits_.lanes, static_cast<uint32_t>(std::min<double>(frames, limits_.child_frames_max)));
}

bool Pool::HasRoom(const Slot& slot, uint32_t frames) const {
  return slot.ready && !slot.stalled && slot.tasks_left > 0 && slot.live < frames &&
         slot.fifo.size() < 2 * limits_.child_frames_max &&
         (slot.live == 0 || slot.bytes < limits_.child_bytes_max);
}

void Pool::Dispatch(std::vector<Assignment>& out) {
  const uint32_t frames = FramesPerChild();
  while (!waiting_.empty()) {
    // The child with the fewest gets a chunk, so that a burst is shared out evenly in few steps.
    const auto none = static_cast<Child>(children_.size());
    Child best = none;
    for (Child child = 0; child < none; ++child) {
      if (!HasRoom(children_[child], frames)) continue;
      if (best == none || children_[child].live < children_[best].live) best = child;
    }
    if (best == none) return;
    Slot& slot = children_[best];
    size_t chunk = std::max<size_t>(1, waiting_.size() / std::max(1u, ready_));
    for (; chunk > 0 && !waiting_.empty() && HasRoom(slot, frames); --chunk) {
      const Ticket ticket = waiting_.front();
      waiting_.pop_front();
      Task& task = tasks_[ticket];
      const auto bytes = static_cast<uint32_t>(task.bytes());
      mean_bytes_ += (bytes - mean_bytes_) / 64;
      task.place = Task::Place::kSent;
      task.child = best;
      task.number = slot.front_number + slot.fifo.size();
      slot.fifo.push_back({ticket, false, false, bytes, task.id});
      ++slot.unanswered;
      MoreLive(slot);
      --slot.tasks_left;
      slot.bytes += bytes;
      out.push_back({best, ticket});
    }
  }
}

std::optional<Pool::Ticket> Pool::Answered(Child child, uint64_t number, uint64_t task_id, bool skipped,
                                           uint32_t service_us, bool& expected) {
  Slot& slot = children_[child];
  // A task can be there twice, by two leases: the number tells which.
  const uint64_t index = number - slot.front_number;
  expected = index < slot.fifo.size() && (index == 0 || limits_.lanes > 1) &&
             slot.fifo[index].task_id == task_id && !slot.fifo[index].answered;
  if (!expected) return std::nullopt;
  const auto found = slot.fifo.begin() + static_cast<ptrdiff_t>(index);
  const Entry entry = *found;
  found->answered = true;
  --slot.unanswered;
  for (; !slot.fifo.empty() && slot.fifo.front().answered; slot.fifo.pop_front()) ++slot.front_number;
  slot.bytes -= entry.bytes;
  slot.stalled = false;
  if (skipped && !entry.recalled) ++slot.tasks_left;
  if (!skipped && !slot.apart) {
    const double us = std::min<double>(service_us, kServiceUsCounted);
    mean_us_ = answers_ == 0 ? us : mean_us_ + (us - mean_us_) * kWeight;
    if (answers_ < kAnswersForMean) ++answers_;
    handed_back_ = false;
  }
  if (entry.recalled) return std::nullopt;
  LessLive(slot);
  if (skipped) {
    RequeueFront(entry.ticket);
    return std::nullopt;
  }
  return entry.ticket;
}

void Pool::MoreLive(Slot& slot) {
  if (slot.live++ == 0) ++busy_;
  if (slot.live <= limits_.lanes) running_peak_ = std::max(running_peak_, ++running_);
}

void Pool::LessLive(Slot& slot) {
  --slot.live;
  if (slot.apart) return;
  if (slot.live == 0) --busy_;
  if (slot.live < limits_.lanes) --running_;
}

void Pool::RequeueFront(Ticket ticket) {
  Task& task = tasks_[ticket];
  task.place = Task::Place::kWaiting;
  (task.apart ? waiting_apart_ : waiting_).push_front(ticket);
}

void Pool::ChildReady(Child child) {
  Slot& slot = children_[child];
  assert(!slot.ready && slot.fifo.empty());
  if (slot.retired) --leaving_;
  slot = Slot{};
  slot.ready = true;
  if (limits_.child_tasks_max > 0) slot.tasks_left = limits_.child_tasks_max;
  ++ready_;
}

void Pool::Retire(Child child) {
  Slot& slot = children_[child];
  if (!slot.retired) ++leaving_;
  slot.retired = true;
  if (slot.ready) --ready_;
  slot.ready = false;
}

std::optional<Pool::Ticket> Pool::Sent(Child child, uint64_t number) const {
  const Slot& slot = children_[child];
  if (number < slot.front_number || number - slot.front_number >= slot.fifo.size()) return std::nullopt;
  const Entry& entry = slot.fifo[number - slot.front_number];
  if (entry.recalled || entry.answered) return std::nullopt;
  return entry.ticket;
}

std::vector<Pool::Ticket> Pool::ChildDied(Child child, uint64_t begun) {
  Slot& slot = children_[child];
  std::vector<Ticket> running, others;
  for (uint64_t number = slot.front_number; number < slot.front_number + slot.fifo.size(); ++number) {
    const Entry& entry = slot.fifo[number - slot.front_number];
    if (entry.recalled || entry.answered) continue;
    const bool ran = number <= begun && running.size() < limits_.lanes;
    (ran ? running : others).push_back(entry.ticket);
  }
  for (auto ticket = others.rbegin(); ticket != others.rend(); ++ticket) RequeueFront(*ticket);
  if (slot.ready) --ready_;
  if (slot.live > 0 && !slot.apart) {
    --busy_;
    running_ -= std::min(slot.live, limits_.lanes);
  }
  if (slot.retired && !slot.apart) --leaving_;
  slot = Slot{};
  return running;
}

Pool::Range Pool::Recallable(Child child, uint64_t begun) const {
  const Slot& slot = children_[child];
  return {std::max(begun + 1, slot.front_number), slot.front_number + slot.fifo.size()};
}

void Pool::Recalled(Child child, Range range, uint64_t begun_after) {
  Slot& slot = children_[child];
  const uint64_t first = std::max(range.from, begun_after + 1);
  for (uint64_t number = range.to; number-- > first;) {
    Entry& entry = slot.fifo[number - slot.front_number];
    if (entry.recalled || entry.answered) continue;
    entry.recalled = true;
    LessLive(slot);
    ++slot.tasks_left;
    RequeueFront(entry.ticket);
  }
}

std::vector<Pool::Ticket> Pool::TakeWaiting() {
  std::vector<Ticket> taken(waiting_.begin(), waiting_.end());
  taken.insert(taken.end(), waiting_apart_.begin(), waiting_apart_.end());
  waiting_.clear();
  waiting_apart_.clear();
  return taken;
}

std::vector<Pool::Ticket> Pool::HandBack() {
  handed_back_ = true;
  std::vector<Ticket> taken(waiting_.begin(), waiting_.end());
  waiting_.clear();
  return taken;
}

void Pool::RemoveWaiting(Ticket ticket) {
  auto& line = tasks_[ticket].apart ? waiting_apart_ : waiting_;
  if (!line.empty() && line.back() == ticket) return line.pop_back();
  auto it = std::find(line.begin(), line.end(), ticket);
  assert(it != line.end());
  line.erase(it);
}

std::vector<Pool::Ticket> Pool::InHand() const {
  std::vector<Ticket> tickets;
  for (Ticket ticket = 0; ticket < tasks_.size(); ++ticket) {
    if (tasks_[ticket].place != Task::Place::kFree) tickets.push_back(ticket);
  }
  return tickets;
}

std::optional<Pool::Ticket> Pool::Find(uint64_t id, uint64_t epoch, uint64_t sequence) const {
  for (Ticket ticket = 0; ticket < tasks_.size(); ++ticket) {
    const Task& task = tasks_[ticket];
    if (task.place != Task::Place::kFree && task.id == id && task.epoch == epoch &&
        task.sequence == sequence) {
      return ticket;
    }
  }
  return std::nullopt;
}

uint32_t Pool::credit_target() const {
  if (paused_ || ready_ == 0) return 0;
  const uint32_t children = growing_ ? capacity_ : std::min(capacity_, ready_);
  const uint32_t lanes = children * limits_.lanes;
  uint64_t target = lanes;
  if (answers_ >= kAnswersForMean && !handed_back_) {
    const double service_us = std::max(mean_us_, kServiceUsMin);
    if (service_us < kLongUs) {
      target = std::max(2 * target, static_cast<uint64_t>(2 * kBufferedUs / service_us * children));
    } else if (service_us < kVeryLongUs) {
      target += static_cast<uint64_t>(std::ceil(std::min(1.0, kRoundTripUs / service_us) * lanes));
    }
  }
  if (mean_bytes_ > 1) target = std::min(target, static_cast<uint64_t>(limits_.bytes_max / mean_bytes_));
  target = std::min<uint64_t>(target, limits_.prefetch_max);
  return static_cast<uint32_t>(std::max<uint64_t>(target, lanes));
}

uint32_t Pool::TakeCredit() {
  const uint64_t target = credit_target();
  const uint64_t have = in_hand_ - apart_ + outstanding_;
  if (have >= target) return 0;
  const auto more = static_cast<uint32_t>(target - have);
  outstanding_ += more;
  return more;
}

}  // namespace joinq
