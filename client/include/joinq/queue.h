// Queue and JoinableQueue: Python's multiprocessing queues, across a network.
#pragma once

#include <joinq/queue_options.h>
#include <joinq/task.h>
#include <joinq/task_info.h>

#include <iterator>
#include <type_traits>

namespace joinq {

template <typename T>
inline constexpr bool kIsText = std::is_convertible_v<const T&, std::string_view>;

// A queue of a broker. A light handle, cheap to copy; any thread may use it, and
// it keeps the connection of its Client open. The queue itself lives at the
// broker until it is deleted.
//
// All calls throw NotFound (the queue was deleted), Unavailable (no broker for
// ClientOptions::unavailable_after), InvalidArgument, NotAllowed. Blocking calls
// survive restarts of the broker.
class Queue {
 public:
  const std::string& name() const { return name_; }

  // Puts one task and returns its id once it is as durable as the queue promises.
  // Waits while the queue is full, until `timeout`: then Full. Closed if closed.
  // A connection that breaks meanwhile does not make the task twice.
  uint64_t put(std::string_view payload, Millis timeout = kForever, const PutOptions& options = {}) const {
    return put_raw(payload, {}, timeout, options);
  }
  // Any other value travels as MessagePack (see joinq/codec.h); get<T> and
  // Task::as<T> unpack it. With a handler it becomes its only argument.
  template <typename T>
  requires(!kIsText<T>) uint64_t
      put(const T& value, Millis timeout = kForever, const PutOptions& options = {})
  const {
    return put_raw(options.handler.empty() ? PackResult(value) : PackArgs(value), kMsgpackType, timeout,
                   options);
  }
  template <typename T>
  uint64_t put_nowait(const T& value, const PutOptions& options = {}) const {
    return put(value, Millis(0), options);
  }
  // As put, and tells more: whether the task was there already (PutOptions::unique_key,
  // request_id) and what the put survives. Costs a second call.
  PutReceipt put_task(std::string_view payload, Millis timeout = kForever,
                      const PutOptions& options = {}) const {
    return put_task_raw(payload, {}, timeout, options);
  }
  template <typename T>
  requires(!kIsText<T>) PutReceipt
      put_task(const T& value, Millis timeout = kForever, const PutOptions& options = {})
  const {
    return put_task_raw(options.handler.empty() ? PackResult(value) : PackArgs(value), kMsgpackType, timeout,
                        options);
  }
  PutReceipt put_task_raw(std::string_view payload, std::string_view content_type, Millis timeout,
                          const PutOptions& options) const;
  // Puts all in order, many at a time, and returns their ids. Each is a put of its
  // own: if one is refused, the first error is thrown, and others may have been put:
  // Error::put_ids() says which.
  std::vector<uint64_t> put_batch(const std::vector<std::string>& payloads, Millis timeout = kForever,
                                  const PutOptions& options = {}) const;
  uint64_t put_raw(std::string_view payload, std::string_view content_type, Millis timeout,
                   const PutOptions& options) const;

  // Takes the oldest task's payload. The task is finished with that, as in Python: a
  // consumer that dies afterwards has lost it (see JoinableQueue for the alternative).
  // Empty after `timeout`; Closed if the queue is closed and drained.
  std::string get(Millis timeout = kForever) const { return get_task(timeout).payload(); }
  template <typename T>
  T get(Millis timeout = kForever) const {
    return get_task(timeout).as<T>();
  }
  std::string get_nowait() const { return get(Millis(0)); }
  // Up to `count` (1..1000) payloads, at least one; waits for the first only.
  std::vector<std::string> get_batch(uint32_t count, Millis timeout = kForever) const;
  // As get, with the task's id, headers, ... ; its lease is empty.
  Task get_task(Millis timeout = kForever) const;

  // Exact at the moment the broker answers.
  uint64_t qsize() const { return info().stats.size; }
  bool empty() const { return qsize() == 0; }
  bool full() const;
  QueueInfo info() const;

  // Changes the options that are set and answers with what it is like then. Refused:
  // order or durability of a queue that holds tasks.
  QueueInfo update(const QueueChanges& changes) const;
  // No puts from now on; gets drain what is left, then throw Closed. Final.
  void close() const;
  // No deliveries until resume(); puts and completions go on. It outlives restarts of the
  // broker. Repeating either is fine.
  void pause() const;
  void resume() const;
  // The `count` (1..100) tasks that would be handed out next, in that order and with their
  // payloads, without taking them.
  std::vector<TaskInfo> peek(uint32_t count = 1) const;

  // Tasks that failed or crashed for good and are kept, the oldest first.
  TaskRange dead() const;
  // Makes the oldest `limit` of them (0: all) ready again with fresh budgets; how many.
  uint64_t retry_dead(uint64_t limit = 0) const;
  // Forgets them; how many.
  uint64_t purge_dead() const;

  // Iteration takes items until the queue is closed and drained.
  class iterator;
  iterator begin() const;
  std::default_sentinel_t end() const { return {}; }

 protected:
  friend class Client;
  Queue(std::shared_ptr<internal::Connection> connection, std::string name)
      : connection_(std::move(connection)), name_(std::move(name)) {}

  std::shared_ptr<internal::Connection> connection_;
  std::string name_;
};

// A Queue whose consumers must finish what they took: get leases a task, task.done()
// is Python's task_done(), and join() waits until all that was put is finished. A
// consumer that dies loses the task to another.
class JoinableQueue : public Queue {
 public:
  // Leases the next task. Without `lease` it is leased for as long as this client lives: the
  // library keeps a session with the broker, which gives the client's tasks to others some
  // seconds after it was heard of last, and at once when the Client and all that was made
  // from it are gone. (With a broker that has no sessions: for the queue's lease time.)
  Task get(Millis timeout = kForever) const;
  // Leases it for `lease` (0: the queue's lease time), whatever becomes of this client: one
  // who is slower loses it.
  Task get(Millis timeout, Millis lease) const;
  Task get_nowait() const { return get(Millis(0)); }
  std::vector<Task> get_batch(uint32_t count, Millis timeout = kForever) const;
  std::vector<Task> get_batch(uint32_t count, Millis timeout, Millis lease) const;

  void task_done(const Task& task) const { task.done(); }
  // Many at once, all or none; StaleLease if one of the leases is stale.
  void task_done(const std::vector<Task>& tasks) const;

  // Returns if no task was unfinished at some instant during the call; Timeout otherwise.
  void join(Millis timeout = kForever) const;

  class iterator;
  iterator begin() const;

 private:
  friend class Client;
  using Queue::Queue;
};

namespace internal {

// Input iterator over whatever `Q::get` returns; ends at Closed.
template <typename Q, typename T>
class DrainIterator {
 public:
  using value_type = T;
  using difference_type = std::ptrdiff_t;
  using iterator_concept = std::input_iterator_tag;

  explicit DrainIterator(const Q* queue) : queue_(queue) { ++*this; }
  T& operator*() const { return *item_; }
  DrainIterator& operator++() {
    try {
      item_ = queue_->get();
    } catch (const Closed&) {
      item_.reset();
    }
    return *this;
  }
  void operator++(int) { ++*this; }
  bool operator==(std::default_sentinel_t) const { return !item_; }

 private:
  const Q* queue_;
  mutable std::optional<T> item_;
};

}  // namespace internal

class Queue::iterator : public internal::DrainIterator<Queue, std::string> {
  using DrainIterator::DrainIterator;
};
class JoinableQueue::iterator : public internal::DrainIterator<JoinableQueue, Task> {
  using DrainIterator::DrainIterator;
};
inline Queue::iterator Queue::begin() const {
  return iterator(this);
}
inline JoinableQueue::iterator JoinableQueue::begin() const {
  return iterator(this);
}

}  // namespace joinq
