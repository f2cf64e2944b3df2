// How tasks are put, and the small types that all of the API shares.
#pragma once

#include <joinq/codec.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace joinq {

using Millis = std::chrono::milliseconds;
// Waits for ever. Every other time must be 0 or more; InvalidArgument otherwise.
inline constexpr Millis kForever = Millis::max();

// An instant of the wall clock, exact to the millisecond.
using TimePoint = std::chrono::system_clock::time_point;

// Name and value; at most 32 a task, name 1..200 bytes, value at most 4 KiB. "traceparent"
// and "tracestate" carry W3C trace context.
using Headers = std::vector<std::pair<std::string, std::string>>;

// How long a unique key stands for its task, per queue.
enum class UniqueScope {
  unfinished,  // until the task has ended
  waiting,     // until it is first handed out, or has ended
  window,      // for PutOptions::unique_window after its put, whatever becomes of it
};

// How a put is done. Durations are rounded to milliseconds and at most 2^31-1 of them.
struct PutOptions {
  std::string handler = {};  // the handler that workers run it with; empty: a plain message
  Headers headers = {};
  Millis delay{0};            // not handed out before
  uint32_t max_attempts = 0;  // failed attempts before the task is dead; 0: the default, 1
  uint32_t max_crashes = 0;   // lost holders before the task is dead; 0: the default, 3
  Millis retry_delay{0};      // first backoff, doubling with jitter; 0: the default, 1 s
  Millis result_ttl{0};       // how long the outcome stays readable; 0: it is not kept
  // Not handed out before this instant; one that has passed means at once. Excludes delay.
  std::optional<TimePoint> eta = {};
  Millis ttl{0};     // expires if not handed out so long after its put; 0: never
  int priority = 0;  // -1000..1000, LOWER IS MORE URGENT; other than 0 with Order::priority only
  // Up to 200 bytes of UTF-8. While another task of the queue stands for the same key,
  // nothing is put and the answer names that task. One task a call.
  std::string unique_key = {};
  UniqueScope unique_scope = UniqueScope::unfinished;
  Millis unique_window{0};  // with UniqueScope::window, 1 ms or more
  // Up to 200 bytes of UTF-8. Puts with the same id within 10 minutes are one task, also
  // from different processes: the answer names it. One task a call.
  std::string request_id = {};
  // W3C trace context ("00-TRACE-SPAN-FLAGS"), sent as the header of that name; empty: none.
  std::string traceparent = {};
  // How long one attempt may run on a worker: at the soft limit its handler is asked to
  // end, at the other one its process is ended. Of these and the worker's own the shorter
  // ones hold; 0: the worker's. The soft one must be the shorter.
  Millis time_limit{0};
  Millis soft_time_limit{0};
  // By when it must have ended, from its put on: a ttl (which it excludes) until it is handed
  // out; then its worker ends it, and it fails for good. 0: never.
  Millis deadline{0};
  bool fresh_process = false;  // in a process made for it alone; needs a handler
  // Tied to this client: cancelled, and stopped where it runs, when the client ends, is
  // killed or is out of the broker's reach for some seconds.
  bool daemon = false;
};

// The process of a task with fresh_process.
struct ProcessInfo {
  std::string host;
  uint32_t pid = 0;
  bool ended = false;
  // Once ended: its exit status (0: the handler returned; 1: it failed), or minus the number
  // of the signal that ended it.
  int exit_code = 0;
};

// What became of a put.
struct PutReceipt {
  uint64_t id = 0;
  // Nothing was put: the task was there already, by its unique_key or request_id.
  bool existing = false;
  // What the put survives: "fsync" (power loss), "wal" (the death of the broker, not of
  // its machine) or "memory" (nothing). Empty if the broker could not be asked any more.
  std::string durability = {};
};

// A task to be put in the same step as another is done (Task::done). Bounds of its queue
// do not apply.
struct FollowUp {
  std::string queue;
  std::string payload = {};
  std::string content_type = {};  // "" raw bytes, "msgpack" packed values
  PutOptions options = {};

  // A call of a handler.
  template <typename... Args>
  static FollowUp call(std::string queue, std::string handler, const Args&... args) {
    FollowUp follow_up{std::move(queue), PackArgs(args...), kMsgpackType, {}};
    follow_up.options.handler = std::move(handler);
    return follow_up;
  }
};

}  // namespace joinq
