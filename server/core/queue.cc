#include "server/core/queue.h"

namespace joinq::core {

QueueView Queue::View(Time now) const {
  QueueView view;
  view.name = name.str();
  view.options = options;
  view.closed = closed;
  view.stats.ready = ready_count;
  view.stats.delayed = delayed_count;
  view.stats.leased = leased_count;
  view.stats.put_total = put_total;
  view.stats.done_total = done_total;
  view.stats.dead = dead;
  view.stats.cancelled_total = cancelled_total;
  view.stats.redelivered_total = redelivered_total;
  if (const Task* oldest = ready.front(); oldest != nullptr && now > oldest->when) {
    view.stats.oldest_ready_ms = static_cast<uint64_t>((now - oldest->when).count());
  }
  view.stats.parked_puts = puts.size();
  view.stats.parked_gets = gets.size();
  view.stats.parked_joins = joins.size();
  view.stats.bytes = bytes;
  view.stats.consumers = static_cast<uint32_t>(workers.size());
  return view;
}

}  // namespace joinq::core
