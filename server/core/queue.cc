#include "server/core/queue.h"

#include "absl/strings/str_cat.h"
#include "common/names.h"

namespace joinq::core {

void Queue::Count(Outcome outcome) {
  switch (outcome) {
    case Outcome::kSucceeded:
      ++done_total;
      break;
    case Outcome::kCancelled:
      ++cancelled_total;
      break;
    case Outcome::kExpired:
      ++expired_total;
      break;
    default:
      ++dead_total;
      break;
  }
}

absl::Status Queue::ClosedError() const {
  return FieldError(absl::StatusCode::kFailedPrecondition, "closed",
                    absl::StrCat("queue \"", name.str(), "\" is closed"));
}

absl::Status Queue::DrainedError() const {
  return FieldError(absl::StatusCode::kFailedPrecondition, "closed",
                    absl::StrCat("queue \"", name.str(), "\" is closed and drained"));
}

QueueView Queue::View(Time now) const {
  QueueView view;
  view.name = name.str();
  view.options = options;
  view.closed = closed;
  view.paused = paused;
  QueueStats& stats = view.stats;
  stats.ready = ready.size();
  stats.delayed = delayed_count;
  stats.leased = leased_count;
  stats.dead_kept = dead_count;
  stats.put_total = put_total;
  stats.done_total = done_total;
  stats.dead = dead_total;
  stats.cancelled_total = cancelled_total;
  stats.expired_total = expired_total;
  stats.redelivered_total = redelivered_total;
  stats.retried_total = retried_total;
  if (const Task* oldest = ready.Oldest(); oldest != nullptr && now > oldest->when) {
    stats.oldest_ready_ms = static_cast<uint64_t>((now - oldest->when).count());
  }
  stats.parked_puts = puts.size();
  stats.parked_gets = gets.size();
  stats.parked_joins = joins.size();
  stats.bytes = bytes;
  stats.waiting_bytes = waiting_bytes;
  stats.consumers = static_cast<uint32_t>(workers.size());
  return view;
}

}  // namespace joinq::core
