// A task as the broker holds it. Small, since there may be ten million: what many
// tasks share is in their Shape, what few have in Extra and Ties.
//
// Life (see proto/joinq/v1/task.proto): put -> [delayed] -> ready -> leased ->
// ended or dead; a failed attempt goes back to delayed, a release to ready.
// kTransitions below is the one table of what may follow what.
#pragma once

#include <array>
#include <cassert>
#include <memory>
#include <string>
#include <vector>

#include "server/core/shared_bytes.h"
#include "server/core/types.h"

namespace joinq::core {

class Queue;
struct KeyEntry;
struct Producer;
struct Session;

// kEnded covers all outcomes; such a task lingers only while its result is kept. A
// kDead one failed or crashed for good and is kept for replay.
enum class TaskState : uint8_t { kNew = 0, kDelayed = 1, kReady = 2, kLeased = 3, kEnded = 4, kDead = 5 };

constexpr uint8_t StateBit(TaskState state) {
  return static_cast<uint8_t>(1u << static_cast<unsigned>(state));
}
// kTransitions[from] is the set of states that may follow.
inline constexpr std::array<uint8_t, 6> kTransitions = {
    /*new*/ uint8_t(StateBit(TaskState::kDelayed) | StateBit(TaskState::kReady)),
    /*delayed*/
    uint8_t(StateBit(TaskState::kReady) | StateBit(TaskState::kEnded) | StateBit(TaskState::kDead)),
    /*ready*/
    uint8_t(StateBit(TaskState::kLeased) | StateBit(TaskState::kEnded) | StateBit(TaskState::kDead)),
    /*leased*/
    uint8_t(StateBit(TaskState::kDelayed) | StateBit(TaskState::kReady) | StateBit(TaskState::kEnded) |
            StateBit(TaskState::kDead)),
    /*ended*/ uint8_t(0),
    /*dead*/ uint8_t(StateBit(TaskState::kReady)),
};
constexpr bool MayFollow(TaskState from, TaskState to) {
  return (kTransitions[static_cast<size_t>(from)] & StateBit(to)) != 0;
}

// What tasks of one kind share. Counted by its tasks; owned by the ShapeTable.
struct Shape {
  Queue* queue = nullptr;
  Name handler, content_type;
  TaskPolicy policy;
  uint64_t refs = 0;
};

// What a leased, watched or ended task has besides. Allocated while one of its parts is.
struct Ties {
  // leased
  Session* holder = nullptr;  // null for a direct consumer, whose lease ends by time
  Token token;
  Time granted{};
  Time since{};         // ready since, before it was handed out
  bool marked = false;  // on disk, so that it may be reclaimed after a restart
  // watched: whose stream wants the result
  Producer* producer = nullptr;
  uint64_t tag = 0;
  // ended
  Name result_type;
};

// What few tasks have.
struct Extra {
  Time expires = kNever;
  uint32_t deadline_ms = 0;  // as it was put; then `expires` holds for the work as well. 0: a ttl, or none
  uint16_t attempts = 0;     // failed ones; both at most 1000
  uint16_t crashes = 0;
  KeyEntry* unique = nullptr;        // while the key stands for this task
  std::unique_ptr<TaskError> error;  // of the last attempt
  std::vector<Attempt> history;      // newest last
  std::unique_ptr<std::string> progress;
  std::unique_ptr<ProcessInfo> process;  // of the newest attempt, if that has one
};

// Names a task within its pool; 0 is none.
using TaskHandle = uint32_t;

struct Task {
  // Links of one list at a time: the queue's line, its delayed or dead ones, the
  // holder's leases, or the kept results of one second.
  TaskHandle next = 0, prev = 0;
  TaskId id{0};
  Shape* shape = nullptr;
  Blob payload;  // with the headers; the result's bytes once ended; empty while evicted
  std::unique_ptr<Extra> extra;
  std::unique_ptr<Ties> ties;
  // delayed: due; ready, dead: since; leased: end of the lease (kNever: the session's); ended: expiry
  Time when{};
  uint64_t dirty_since = 0;  // oldest journal entry that holds what its row does not; 0: the row is current
  uint32_t payload_size = 0;
  uint16_t deliveries = 0;  // stops at 65535
  TaskState state : 3 = TaskState::kNew;
  Outcome outcome : 3 = Outcome::kUnfinished;
  bool has_row : 1 = false;
  bool evicted : 1 = false;    // the payload is in its row only
  bool loading : 1 = false;    // and has been asked for
  bool read_back : 1 = false;  // it came, and the task has stood in its line since
  bool fresh : 1 = false;      // never leased in this epoch
  bool bound : 1 = false;      // to a session, see BoundTasks

  Queue* queue() const { return shape->queue; }
  const TaskPolicy& policy() const { return shape->policy; }
  bool watched() const { return ties != nullptr && ties->producer != nullptr; }
  bool waiting() const { return state == TaskState::kReady || state == TaskState::kDelayed; }
  TaskError* error() const { return extra == nullptr ? nullptr : extra->error.get(); }
  const ProcessInfo* process() const { return extra == nullptr ? nullptr : extra->process.get(); }
  uint16_t attempts() const { return extra == nullptr ? 0 : extra->attempts; }
  uint16_t crashes() const { return extra == nullptr ? 0 : extra->crashes; }
  Time expires() const { return extra == nullptr ? kNever : extra->expires; }
  // By when it must have ended, handed out or not.
  Time deadline() const { return extra == nullptr || extra->deadline_ms == 0 ? kNever : extra->expires; }
  Extra& more() {
    if (extra == nullptr) extra = std::make_unique<Extra>();
    return *extra;
  }
  Ties& tied() {
    if (ties == nullptr) ties = std::make_unique<Ties>();
    return *ties;
  }
  void MoveTo(TaskState next_state) {
    assert(MayFollow(state, next_state));
    state = next_state;
  }
};
// 10 million waiting tasks of 100 bytes are to fit 1 GiB.
static_assert(sizeof(Task) <= 72);

}  // namespace joinq::core
