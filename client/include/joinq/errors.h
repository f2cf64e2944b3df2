// Everything the client library throws derives from joinq::Error. The names are
// those of Python's queue and multiprocessing modules where these have one.
// what() is one line: what was asked, why it did not happen, and what helps.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace joinq {
namespace internal {
class Connection;
}

class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& what, std::string field = {})
      : std::runtime_error(what), field_(std::move(field)) {}
  // The request's field at fault as the broker names it, or empty.
  const std::string& field() const noexcept { return field_; }
  // Of a put, or of a put_batch that failed midway: an id for each payload, in their
  // order; 0 for one that was refused or not acknowledged. Empty if none was tried.
  const std::vector<uint64_t>& put_ids() const noexcept { return put_ids_; }

 private:
  friend class internal::Connection;
  std::string field_;
  std::vector<uint64_t> put_ids_;
};

// The queue stayed at its maxsize until the put's timeout. Nothing was put, but for
// what put_ids() says of a batch.
class Full : public Error {
 public:
  using Error::Error;
};

// The queue stayed empty until the get's timeout.
class Empty : public Error {
 public:
  using Error::Error;
};

// A put on a closed queue, or a get on one that is closed and drained.
class Closed : public Error {
 public:
  using Error::Error;
};

// The time given to a call that is neither put nor get ended first; or a put's
// time ended without any answer, so that it may or may not have happened.
class Timeout : public Error {
 public:
  using Error::Error;
};

// No broker could be reached for ClientOptions::unavailable_after. A put that was
// under way may or may not have happened.
class Unavailable : public Error {
 public:
  using Error::Error;
};

class NotFound : public Error {
 public:
  using Error::Error;
};

class AlreadyExists : public Error {
 public:
  using Error::Error;
};

// An argument outside its limits; field() names it. Nothing was done.
class InvalidArgument : public Error {
 public:
  using Error::Error;
};

// The lease is not its task's newest or has run out: the task was given to
// another consumer, or was finished. Nothing was done. Drop the work.
class StaleLease : public Error {
 public:
  using Error::Error;
};

// The state of things does not allow it (as deleting a queue with unfinished tasks).
class Refused : public Error {
 public:
  using Error::Error;
};

// The broker protects a limit of its own (memory, disk, calls). Try again later.
class Overloaded : public Error {
 public:
  using Error::Error;
};

// Not authenticated, or without the right to do this.
class NotAllowed : public Error {
 public:
  using Error::Error;
};

// Why a task did not succeed.
enum class FailureKind {
  handler_error,    // the handler reported an error, or exited non-zero
  time_limit,       // it ran longer than it may
  unknown_handler,  // no worker of the queue has the handler
  crash,            // the child process died
  out_of_memory,    // the child went over its memory limit
  host_lost,        // the worker was lost
  bad_arguments,    // the handler could not decode its arguments
  cancelled,        // the task was cancelled, or its queue purged or deleted
  expired,          // its ttl ran out while it waited
  forgotten,        // the result is not kept any more
  not_put,          // the put itself was refused
};

const char* to_string(FailureKind kind);

// A task ended without success. what() has it all in one line.
class TaskFailed : public Error {
 public:
  TaskFailed(uint64_t task_id, FailureKind kind, std::string message, std::string detail);

  uint64_t task_id() const noexcept { return task_id_; }  // 0: it never got one
  FailureKind kind() const noexcept { return kind_; }
  // The remote error's own words, one line.
  const std::string& message() const noexcept { return message_; }
  // The tail of the handler's stderr, its exit status ...; may have many lines or be empty.
  const std::string& detail() const noexcept { return detail_; }

 private:
  uint64_t task_id_;
  FailureKind kind_;
  std::string message_;
  std::string detail_;
};

}  // namespace joinq
