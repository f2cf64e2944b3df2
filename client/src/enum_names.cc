// The names of the public enumerations, as people and JSON see them.
#include <joinq/errors.h>
#include <joinq/queue_options.h>
#include <joinq/task_info.h>

namespace joinq {

const char* to_string(FailureKind kind) {
  switch (kind) {
    case FailureKind::handler_error:
      return "handler error";
    case FailureKind::time_limit:
      return "time limit";
    case FailureKind::unknown_handler:
      return "unknown handler";
    case FailureKind::crash:
      return "crash";
    case FailureKind::out_of_memory:
      return "out of memory";
    case FailureKind::host_lost:
      return "host lost";
    case FailureKind::bad_arguments:
      return "bad arguments";
    case FailureKind::cancelled:
      return "cancelled";
    case FailureKind::expired:
      return "expired";
    case FailureKind::forgotten:
      return "forgotten";
    case FailureKind::not_put:
      return "not put";
  }
  return "error";
}

const char* to_string(Order order) {
  switch (order) {
    case Order::fifo:
      return "fifo";
    case Order::lifo:
      return "lifo";
    case Order::priority:
      return "priority";
  }
  return "unknown";
}

const char* to_string(Durability durability) {
  switch (durability) {
    case Durability::best:
      return "best";
    case Durability::fsync:
      return "fsync";
    case Durability::wal:
      return "wal";
    case Durability::memory:
      return "memory";
  }
  return "unknown";
}

const char* to_string(WorkEnd end) {
  switch (end) {
    case WorkEnd::not_running:
      return "not running";
    case WorkEnd::returned:
      return "returned";
    case WorkEnd::killed:
      return "killed";
    case WorkEnd::host_lost:
      return "host lost";
  }
  return "unknown";
}

const char* to_string(TaskState state) {
  switch (state) {
    case TaskState::delayed:
      return "delayed";
    case TaskState::ready:
      return "ready";
    case TaskState::leased:
      return "leased";
    case TaskState::ended:
      return "ended";
    case TaskState::dead:
      return "dead";
  }
  return "unknown";
}

const char* to_string(Ending ending) {
  switch (ending) {
    case Ending::succeeded:
      return "succeeded";
    case Ending::failed:
      return "failed";
    case Ending::crashed:
      return "crashed";
    case Ending::cancelled:
      return "cancelled";
    case Ending::expired:
      return "expired";
  }
  return "unknown";
}

const char* to_string(WhyReason reason) {
  switch (reason) {
    case WhyReason::unknown:
      return "unknown";
    case WhyReason::leased:
      return "leased";
    case WhyReason::ended:
      return "ended";
    case WhyReason::delayed:
      return "delayed";
    case WhyReason::backoff:
      return "backoff";
    case WhyReason::queue_paused:
      return "queue_paused";
    case WhyReason::disk_full:
      return "disk_full";
    case WhyReason::no_consumer:
      return "no_consumer";
    case WhyReason::no_credit:
      return "no_credit";
    case WhyReason::in_line:
      return "in_line";
    case WhyReason::unknown_handler:
      return "unknown_handler";
    case WhyReason::loading:
      return "loading";
  }
  return "unknown";
}

}  // namespace joinq
