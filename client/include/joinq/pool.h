// Pool: Python's multiprocessing.Pool, run by the workers that serve a queue.
#pragma once

#include <joinq/codec.h>
#include <joinq/errors.h>
#include <joinq/task.h>

#include <iterator>
#include <limits>
#include <map>
#include <ranges>

namespace joinq {

class Client;
class Pool;
namespace internal {
class Connection;
class AsyncState;
class TaskStreamState;
struct PutSpec;
}  // namespace internal

// How a task ended.
struct Outcome {
  uint64_t index = 0;    // which input it belongs to (TaskStream), from 0
  uint64_t task_id = 0;  // 0: the put was refused
  bool succeeded = false;
  std::string payload;                            // the result
  std::string content_type;                       // "" raw bytes, "msgpack" one value
  FailureKind kind = FailureKind::handler_error;  // the rest: unless succeeded
  std::string message;
  std::string detail;
  uint32_t attempts = 0;               // deliveries that ended
  std::optional<ProcessInfo> process;  // of the last attempt, if that had its own
  std::string queue;                   // Client::result only, as the next one
  std::string handler;

  void throw_if_failed() const;  // TaskFailed
  // The value; TaskFailed, or DecodeError if it is of another type. A raw result
  // (a program's output) is read as std::string or Bytes.
  template <typename R>
  R as() const {
    throw_if_failed();
    if constexpr (std::is_void_v<R>) {
      return;
    } else {
      if constexpr (std::is_same_v<R, std::string>) {
        if (content_type.empty()) return payload;
      } else if constexpr (std::is_same_v<R, Bytes>) {
        if (content_type.empty()) return Bytes{payload};
      }
      return UnpackResult<R>(payload);
    }
  }
};

struct PoolOptions {
  uint32_t max_attempts = 0;   // failed attempts before a task is dead; 0: the default, 1
  uint32_t max_crashes = 0;    // lost children before a task is dead; 0: the default, 3
  Millis retry_delay{0};       // first backoff between attempts; 0: the default, 1 s
  Millis delay{0};             // not run before
  Millis result_ttl{600'000};  // how long the broker keeps an outcome that nobody took
  bool create_queue = true;    // the pool's queue, if there is none
  uint32_t window = 4096;      // tasks of one map or imap that are under way at a time
  Headers headers = {};        // sent with every task
  // As those of PutOptions.
  std::optional<TimePoint> eta = {};
  Millis ttl{0};
  int priority = 0;
  Millis time_limit{0};
  Millis soft_time_limit{0};
  Millis deadline{0};
  bool fresh_process = false;
  bool daemon = false;
};

// The untyped part of AsyncResult.
class AsyncTask {
 public:
  // False if it has not ended within `timeout`.
  bool wait(Millis timeout = kForever) const;
  bool ready() const;
  // Whether it succeeded; InvalidArgument if it has not ended (as Python's ValueError).
  bool successful() const;
  // The broker's id; waits until the put is acknowledged. Throws what a put throws.
  uint64_t id(Millis timeout = kForever) const;
  // Nothing was put: the task was there already, by its unique_key or request_id; the
  // outcome is that task's. Waits as id() does.
  bool existing(Millis timeout = kForever) const;
  // Waits for the end; Timeout. Throws Unavailable if the connection is lost for good.
  const Outcome& outcome(Millis timeout = kForever) const;

 protected:
  friend class Pool;
  explicit AsyncTask(std::shared_ptr<internal::AsyncState> state) : state_(std::move(state)) {}

 private:
  std::shared_ptr<internal::AsyncState> state_;
};

// What apply_async returns. Copies share one task; any thread may use them.
// Dropping it does not cancel the task.
template <typename R>
class AsyncResult : public AsyncTask {
 public:
  // The handler's result; Timeout, TaskFailed, DecodeError, Unavailable.
  R get(Millis timeout = kForever) const { return outcome(timeout).template as<R>(); }

 private:
  friend class Pool;
  explicit AsyncResult(AsyncTask task) : AsyncTask(std::move(task)) {}
};

// Many tasks of one handler through a bounded window: the engine below map and
// imap, for those who want payloads raw or submit and collect in two threads.
// One thread may submit while another takes outcomes; no more than one each.
class TaskStream {
 public:
  // Sends one task. Blocks while `window` tasks are not yet taken with next(), so
  // with one thread use has_room(). `more`: another follows at once, so that the
  // message may wait for it (flush() or the next submit without it sends it).
  void submit(std::string_view payload, std::string_view content_type = {}, bool more = false);
  bool has_room() const;
  void flush();
  // No more submits (Closed, also for one that is blocked); next() ends when all
  // outcomes are taken. Any thread may call it.
  void close();

  // The next outcome: as they finish, or in the order of submits if `ordered`. Nothing
  // when all are taken and close() was called; blocks otherwise. Throws Unavailable.
  // A put that was refused is an outcome of kind not_put.
  std::optional<Outcome> next();
  // Whether next() would answer at once.
  bool has_outcome();
  uint64_t submitted() const;

 private:
  friend class Pool;
  explicit TaskStream(std::shared_ptr<internal::TaskStreamState> state) : state_(std::move(state)) {}
  std::shared_ptr<internal::TaskStreamState> state_;
};

// What imap and imap_unordered return: a single-pass range. Inputs are taken only
// as results are, at most PoolOptions::window ahead. Dereferencing a task that
// failed throws TaskFailed; ++ then goes on with the others.
template <typename R, typename View>
class ResultRange {
 public:
  ResultRange(TaskStream stream, View inputs) : stream_(std::move(stream)), inputs_(std::move(inputs)) {}

  class iterator {
   public:
    using value_type = R;
    using difference_type = std::ptrdiff_t;
    using iterator_concept = std::input_iterator_tag;
    explicit iterator(ResultRange* range) : range_(range) { range_->Advance(); }
    R operator*() const { return range_->current_->template as<R>(); }
    // The outcome behind it: its index among the inputs, task id, error.
    const Outcome& outcome() const { return *range_->current_; }
    iterator& operator++() {
      range_->Advance();
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return !range_->current_; }

   private:
    ResultRange* range_;
  };
  iterator begin() {
    next_input_.emplace(std::ranges::begin(inputs_));
    return iterator(this);
  }
  std::default_sentinel_t end() const { return {}; }

 private:
  void Advance() {
    while (!closed_ && !stream_.has_outcome() && stream_.has_room()) {
      if (*next_input_ == std::ranges::end(inputs_)) {
        stream_.close();
        closed_ = true;
        break;
      }
      stream_.submit(PackArgs(**next_input_), kMsgpackType, true);
      ++*next_input_;
    }
    stream_.flush();
    current_ = stream_.next();
  }

  TaskStream stream_;
  View inputs_;
  std::optional<std::ranges::iterator_t<View>> next_input_;
  std::optional<Outcome> current_;
  bool closed_ = false;
};

// Runs handlers on the workers that serve `queue` (created if there is none). Any
// thread may use it. Handlers are named as their workers registered them; arguments
// and results travel as MessagePack (joinq/codec.h).
//
// A submitted task is at the broker once acknowledged and runs even if this process
// dies; results reach this pool by themselves, without polling.
class Pool {
 public:
  Pool(Client& client, const std::string& queue, PoolOptions options = {});

  // Runs one task and waits for its result.
  template <typename R = void, typename... Args>
  R apply(const std::string& handler, const Args&... args) {
    return apply_async<R>(handler, args...).get();
  }
  // Blocks only while the client's window is full (ClientOptions::window_tasks).
  template <typename R = void, typename... Args>
  AsyncResult<R> apply_async(const std::string& handler, const Args&... args) {
    return AsyncResult<R>(Submit(handler, PackArgs(args...), kMsgpackType));
  }
  // The payload as it is: what --exec and --runner handlers read.
  AsyncResult<std::string> apply_raw(const std::string& handler, std::string_view payload) {
    return AsyncResult<std::string>(Submit(handler, payload, {}));
  }
  // With options of its own in place of the pool's, so that tasks may have keys.
  AsyncResult<std::string> apply_raw(const std::string& handler, std::string_view payload,
                                     const PutOptions& options) {
    return AsyncResult<std::string>(Submit(handler, payload, {}, options));
  }
  // As apply_raw without waiting for an outcome; the id of the put task, whose
  // outcome is read with Client::result within result_ttl.
  uint64_t submit_raw(const std::string& handler, std::string_view payload, Millis timeout = kForever);

  // Calls a handler of one argument for each input; results in the order of inputs.
  // Waits for all; if some failed, throws the TaskFailed of the first of them.
  template <typename R, std::ranges::input_range Range>
  std::vector<R> map(const std::string& handler, Range&& inputs) {
    std::vector<R> results;
    std::optional<Outcome> failed;
    auto range = imap<R>(handler, std::forward<Range>(inputs));
    for (auto it = range.begin(); it != range.end(); ++it) {
      if (failed) continue;
      if (it.outcome().succeeded) {
        results.push_back(*it);
      } else {
        failed = it.outcome();
      }
    }
    if (failed) failed->throw_if_failed();
    return results;
  }
  // Results as they finish, in any order, while inputs are still being taken.
  template <typename R, std::ranges::input_range Range>
  auto imap_unordered(const std::string& handler, Range&& inputs) {
    using View = std::views::all_t<Range>;
    return ResultRange<R, View>(stream(handler, false), std::views::all(std::forward<Range>(inputs)));
  }
  // Results in the order of inputs, each as soon as those before it are there.
  template <typename R, std::ranges::input_range Range>
  auto imap(const std::string& handler, Range&& inputs) {
    using View = std::views::all_t<Range>;
    return ResultRange<R, View>(stream(handler, true), std::views::all(std::forward<Range>(inputs)));
  }
  TaskStream stream(const std::string& handler, bool ordered);

  // No more submits from this pool (Closed); what was submitted goes on.
  void close();
  // After close(): waits until all that this pool submitted has ended; Timeout.
  void join(Millis timeout = kForever);

 private:
  AsyncTask Submit(const std::string& handler, std::string_view payload, std::string_view content_type);
  AsyncTask Submit(const std::string& handler, std::string_view payload, std::string_view content_type,
                   PutOptions options);
  AsyncTask Submit(std::shared_ptr<const internal::PutSpec> spec, std::string_view payload);
  std::shared_ptr<const internal::PutSpec> SpecFor(const std::string& handler, std::string_view content_type);

  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace joinq
