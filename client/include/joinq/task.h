// A task as a consumer holds it, and the lease it holds it by.
#pragma once

#include <joinq/codec.h>
#include <joinq/errors.h>
#include <joinq/put.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace joinq {

namespace internal {
class Connection;
struct TaskData;
}  // namespace internal

// The right to finish one delivery of a task. Of two leases of a task the one
// with the greater (epoch, sequence) is the newer, so it serves as a fencing token.
struct Lease {
  uint64_t task_id = 0;
  uint64_t epoch = 0;
  uint64_t sequence = 0;

  bool operator==(const Lease&) const = default;
  // "<task>-<epoch>-<sequence>", as the command line prints and reads it.
  std::string to_string() const;
  static std::optional<Lease> parse(std::string_view text);
};

// A task taken from a queue; a light handle, cheap to copy. The handle may be
// used from any thread; finishing it twice the same way is harmless. Dropping the
// last handle finishes nothing: the lease stays until it runs out or, if it hangs on a
// session, until that ends or its stream is opened anew.
//
// done, fail, release, progress and extend throw StaleLease when the lease is no longer
// the newest (it ran out, or the task was cancelled), Unavailable, Timeout.
// They are safe to repeat and survive a restart of the broker.
class Task {
 public:
  uint64_t id() const;
  const std::string& queue() const;
  const std::string& handler() const;  // empty for a plain message
  const std::string& payload() const;
  const std::string& content_type() const;  // "" raw bytes, "msgpack" packed by put(value)
  const Headers& headers() const;
  uint32_t attempt() const;    // 1 for the first delivery
  const Lease& lease() const;  // all zero when the task was acknowledged by the get itself
  // How long the lease was given for; 0: it lasts as long as its client's session.
  Millis lease_time() const;
  // The broker said that the lease is gone: the task was cancelled, its queue deleted, or
  // the session lost it. Drop the work. Of leases that hang on a session only.
  bool cancelled() const;

  // The payload as put(value) packed it. Throws DecodeError if it is something else.
  template <typename T>
  T as() const {
    if (content_type() != kMsgpackType) throw DecodeError("the payload is raw bytes, not a packed value");
    return UnpackResult<T>(payload());
  }

  // task_done(): finishes the task; `result` is kept as the put's result_ttl says.
  void done() const { done_raw({}, {}); }
  template <typename T>
  void done(const T& result) const {
    done_raw(PackResult(result), kMsgpackType);
  }
  void done_raw(std::string_view result, std::string_view content_type = {}) const;
  // Finishes the task and puts up to 1000 others in one step; the ids of these, in their
  // order. If one is refused nothing happens: the error says why, and the lease stays.
  std::vector<uint64_t> done_then(const std::vector<FollowUp>& follow_ups) const {
    return done_raw({}, {}, follow_ups);
  }
  template <typename T>
  std::vector<uint64_t> done(const T& result, const std::vector<FollowUp>& follow_ups) const {
    return done_raw(PackResult(result), kMsgpackType, follow_ups);
  }
  std::vector<uint64_t> done_raw(std::string_view result, std::string_view content_type,
                                 const std::vector<FollowUp>& follow_ups) const;
  // A failed attempt: it is retried after its backoff while attempts are left,
  // unless `final`. `message` is cut at 4 KiB, `detail` at 16 KiB.
  void fail(std::string_view message, bool final = false, std::string_view detail = {}) const;
  // Gives it back, to the head of its queue, at no cost in attempts.
  void release(Millis delay = Millis(0)) const;
  // How far the work has come: up to 4 KiB of UTF-8 for those who ask for the task. The
  // broker keeps the newest report, in memory.
  void progress(std::string_view text) const;
  // Sets the lease's end to now + lease (0: the queue's lease time). Not needed for a lease
  // that hangs on a session.
  void extend(Millis lease = Millis(0)) const;

 private:
  friend class internal::Connection;
  explicit Task(std::shared_ptr<const internal::TaskData> data) : data_(std::move(data)) {}

  std::shared_ptr<const internal::TaskData> data_;
};

}  // namespace joinq
