#include "client/src/wire_types.h"

#include <algorithm>
#include <utility>

#include "client/src/throwing.h"

namespace joinq::internal {
namespace {

std::optional<Ending> FromWire(v1::Outcome outcome) {
  switch (outcome) {
    case v1::OUTCOME_SUCCEEDED:
      return Ending::succeeded;
    case v1::OUTCOME_FAILED:
      return Ending::failed;
    case v1::OUTCOME_CRASHED:
      return Ending::crashed;
    case v1::OUTCOME_CANCELLED:
      return Ending::cancelled;
    case v1::OUTCOME_EXPIRED:
      return Ending::expired;
    default:
      return std::nullopt;
  }
}

std::optional<WorkEnd> FromWire(v1::WorkEnd end) {
  switch (end) {
    case v1::WORK_END_NOT_RUNNING:
      return WorkEnd::not_running;
    case v1::WORK_END_RETURNED:
      return WorkEnd::returned;
    case v1::WORK_END_KILLED:
      return WorkEnd::killed;
    case v1::WORK_END_HOST_LOST:
      return WorkEnd::host_lost;
    default:
      return std::nullopt;
  }
}

TaskState FromWire(v1::TaskState state) {
  switch (state) {
    case v1::TASK_STATE_DELAYED:
      return TaskState::delayed;
    case v1::TASK_STATE_LEASED:
      return TaskState::leased;
    case v1::TASK_STATE_ENDED:
      return TaskState::ended;
    case v1::TASK_STATE_DEAD:
      return TaskState::dead;
    default:
      return TaskState::ready;
  }
}

UniqueScope FromWire(v1::UniqueScope scope) {
  switch (scope) {
    case v1::UNIQUE_SCOPE_WAITING:
      return UniqueScope::waiting;
    case v1::UNIQUE_SCOPE_WINDOW:
      return UniqueScope::window;
    default:
      return UniqueScope::unfinished;
  }
}

FailureKind KindOf(v1::FailureKind kind) {
  return internal::KindOf(v1::OUTCOME_FAILED, kind);
}

std::optional<TimePoint> SetTime(uint64_t unix_ms) {
  if (unix_ms == 0) return std::nullopt;
  return ToTimePoint(unix_ms);
}

PutOptions ToPutOptions(const v1::TaskOptions& wire, std::string unique_key) {
  PutOptions options;
  options.max_attempts = wire.max_attempts();
  options.max_crashes = wire.max_crashes();
  options.retry_delay = Millis(wire.retry_delay_ms());
  options.result_ttl = Millis(wire.result_ttl_ms());
  options.ttl = Millis(wire.ttl_ms());
  options.priority = wire.priority();
  options.unique_key = std::move(unique_key);
  options.unique_scope = FromWire(wire.unique_scope());
  options.unique_window = Millis(wire.unique_ms());
  options.time_limit = Millis(wire.time_limit_ms());
  options.soft_time_limit = Millis(wire.soft_time_limit_ms());
  options.deadline = Millis(wire.deadline_ms());
  options.fresh_process = wire.fresh_process();
  options.daemon = wire.session_id() != 0;
  return options;
}

}  // namespace

v1::Order ToWire(Order order) {
  switch (order) {
    case Order::lifo:
      return v1::ORDER_LIFO;
    case Order::priority:
      return v1::ORDER_PRIORITY;
    default:
      return v1::ORDER_FIFO;
  }
}

Order FromWire(v1::Order order) {
  switch (order) {
    case v1::ORDER_LIFO:
      return Order::lifo;
    case v1::ORDER_PRIORITY:
      return Order::priority;
    default:
      return Order::fifo;
  }
}

v1::Durability ToWire(Durability durability) {
  switch (durability) {
    case Durability::fsync:
      return v1::DURABILITY_FSYNC;
    case Durability::wal:
      return v1::DURABILITY_WAL;
    case Durability::memory:
      return v1::DURABILITY_MEMORY;
    default:
      return v1::DURABILITY_UNSPECIFIED;
  }
}

Durability FromWire(v1::Durability durability) {
  switch (durability) {
    case v1::DURABILITY_FSYNC:
      return Durability::fsync;
    case v1::DURABILITY_WAL:
      return Durability::wal;
    case v1::DURABILITY_MEMORY:
      return Durability::memory;
    default:
      return Durability::best;
  }
}

v1::UniqueScope ToWire(UniqueScope scope) {
  switch (scope) {
    case UniqueScope::waiting:
      return v1::UNIQUE_SCOPE_WAITING;
    case UniqueScope::window:
      return v1::UNIQUE_SCOPE_WINDOW;
    default:
      return v1::UNIQUE_SCOPE_UNFINISHED;
  }
}

v1::TaskState ToWire(TaskState state) {
  switch (state) {
    case TaskState::delayed:
      return v1::TASK_STATE_DELAYED;
    case TaskState::ready:
      return v1::TASK_STATE_READY;
    case TaskState::leased:
      return v1::TASK_STATE_LEASED;
    case TaskState::ended:
      return v1::TASK_STATE_ENDED;
    case TaskState::dead:
      return v1::TASK_STATE_DEAD;
  }
  return v1::TASK_STATE_UNSPECIFIED;
}

TimePoint ToTimePoint(uint64_t unix_ms) {
  constexpr uint64_t kClockMax = 9'200'000'000'000;  // up to which the system clock counts
  return TimePoint(std::chrono::milliseconds(static_cast<int64_t>(std::min(unix_ms, kClockMax))));
}

ProcessInfo ToProcessInfo(const v1::ProcessInfo& wire) {
  return {.host = wire.host(), .pid = wire.pid(), .ended = wire.ended(), .exit_code = wire.exit_code()};
}

TaskInfo ToTaskInfo(v1::TaskInfo* wire) {
  TaskInfo info;
  info.id = wire->task_id();
  info.queue = wire->queue();
  info.handler = wire->handler();
  info.content_type = wire->content_type();
  info.payload_bytes = wire->payload_bytes();
  info.payload = std::move(*wire->mutable_payload());
  for (auto& header : *wire->mutable_headers()) {
    info.headers.emplace_back(std::move(*header.mutable_name()), std::move(*header.mutable_value()));
  }
  info.state = FromWire(wire->state());
  info.ending = FromWire(wire->outcome());
  info.options = ToPutOptions(wire->options(), wire->unique_key());
  info.when = SetTime(wire->when_unix_ms());
  info.expires = SetTime(wire->expires_unix_ms());
  info.deliveries = wire->deliveries();
  info.attempts = wire->attempts();
  info.crashes = wire->crashes();
  if (wire->has_error()) {
    info.error = KindOf(wire->error().kind());
    info.error_message = wire->error().message();
    info.error_detail = wire->error().detail();
  }
  for (const auto& attempt : wire->history()) {
    info.history.push_back({.delivery = attempt.delivery(),
                            .ended = ToTimePoint(attempt.ended_unix_ms()),
                            .kind = KindOf(attempt.kind()),
                            .message = attempt.message(),
                            .holder = attempt.holder()});
  }
  info.progress = wire->progress();
  info.holder = wire->holder();
  info.work_end = FromWire(wire->work_end());
  if (info.state == TaskState::leased) {
    info.lease = {wire->task_id(), wire->lease_epoch(), wire->lease_sequence()};
  }
  if (wire->has_process()) info.process = ToProcessInfo(wire->process());
  return info;
}

Why ToWhy(const v1::WhyTaskResponse& wire) {
  Why why;
  why.text = wire.text();
  switch (wire.reason()) {
    case v1::WhyTaskResponse::LEASED:
      why.reason = WhyReason::leased;
      break;
    case v1::WhyTaskResponse::ENDED:
      why.reason = WhyReason::ended;
      break;
    case v1::WhyTaskResponse::DELAYED:
      why.reason = WhyReason::delayed;
      why.until = SetTime(wire.number());
      break;
    case v1::WhyTaskResponse::BACKOFF:
      why.reason = WhyReason::backoff;
      why.until = SetTime(wire.number());
      break;
    case v1::WhyTaskResponse::QUEUE_PAUSED:
      why.reason = WhyReason::queue_paused;
      break;
    case v1::WhyTaskResponse::DISK_FULL:
      why.reason = WhyReason::disk_full;
      break;
    case v1::WhyTaskResponse::NO_CONSUMER:
      why.reason = WhyReason::no_consumer;
      break;
    case v1::WhyTaskResponse::NO_CREDIT:
      why.reason = WhyReason::no_credit;
      why.before = wire.number();
      break;
    case v1::WhyTaskResponse::IN_LINE:
      why.reason = WhyReason::in_line;
      why.before = wire.number();
      break;
    case v1::WhyTaskResponse::UNKNOWN_HANDLER:
      why.reason = WhyReason::unknown_handler;
      break;
    case v1::WhyTaskResponse::LOADING:
      why.reason = WhyReason::loading;
      break;
    default:
      break;
  }
  return why;
}

}  // namespace joinq::internal
