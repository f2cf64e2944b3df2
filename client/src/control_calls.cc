#include "client/src/control_calls.h"

#include "client/src/utf8.h"
#include "client/src/wire_types.h"
#include "common/names.h"

namespace joinq::internal {

QueueInfo ToQueueInfo(const v1::QueueInfo& wire) {
  const v1::QueueStats& stats = wire.stats();
  QueueInfo info;
  info.name = wire.name();
  info.options = {.maxsize = wire.options().maxsize(),
                  .lease = Millis(wire.options().lease_ms()),
                  .max_bytes = wire.options().max_bytes(),
                  .order = FromWire(wire.options().order()),
                  .durability = FromWire(wire.options().durability()),
                  .ageing = Millis(wire.options().ageing_ms())};
  if (wire.options().has_dead_max()) info.options.dead_max = wire.options().dead_max();
  info.closed = wire.closed();
  info.durability = wire.durability();
  info.paused = wire.paused();
  info.stats = {.size = stats.size(),
                .ready = stats.ready(),
                .delayed = stats.delayed(),
                .leased = stats.leased(),
                .unfinished = stats.unfinished(),
                .put_total = stats.put_total(),
                .done_total = stats.done_total(),
                .dead = stats.dead(),
                .cancelled_total = stats.cancelled_total(),
                .redelivered_total = stats.redelivered_total(),
                .oldest_ready = Millis(stats.oldest_ready_ms()),
                .parked_puts = stats.parked_puts(),
                .parked_gets = stats.parked_gets(),
                .parked_joins = stats.parked_joins(),
                .bytes = stats.bytes(),
                .consumers = stats.consumers(),
                .dead_kept = stats.dead_kept(),
                .expired_total = stats.expired_total(),
                .waiting_bytes = stats.waiting_bytes(),
                .retried_total = stats.retried_total()};
  return info;
}

QueueInfo GetQueueInfo(Connection& connection, const std::string& name) {
  v1::GetQueueRequest request;
  request.set_name(name);
  return ToQueueInfo(ControlCall(connection, connection.queues(), &v1::QueueService::Stub::GetQueue, request,
                                 Quoted("queue", name)));
}

QueueInfo CreateQueue(Connection& connection, const std::string& name, const QueueOptions& options,
                      bool allow_existing) {
  RequireName("queue", name);
  v1::CreateQueueRequest request;
  request.set_name(name);
  request.set_allow_existing(allow_existing);
  auto* wire = request.mutable_options();
  wire->set_maxsize(options.maxsize);
  wire->set_lease_ms(ToMs("lease", options.lease));
  wire->set_max_bytes(options.max_bytes);
  wire->set_order(ToWire(options.order));
  wire->set_durability(ToWire(options.durability));
  wire->set_ageing_ms(ToMs("ageing", options.ageing));
  if (options.dead_max) wire->set_dead_max(*options.dead_max);
  return ToQueueInfo(ControlCall(connection, connection.queues(), &v1::QueueService::Stub::CreateQueue,
                                 request, Quoted("queue", name)));
}

QueueInfo UpdateQueue(Connection& connection, const std::string& name, const QueueChanges& changes) {
  v1::UpdateQueueRequest request;
  request.set_name(name);
  if (changes.maxsize) request.set_maxsize(*changes.maxsize);
  if (changes.lease) request.set_lease_ms(ToMs("lease", *changes.lease));
  if (changes.max_bytes) request.set_max_bytes(*changes.max_bytes);
  if (changes.order) request.set_order(ToWire(*changes.order));
  if (changes.durability) request.set_durability(ToWire(*changes.durability));
  if (changes.ageing) request.set_ageing_ms(ToMs("ageing", *changes.ageing));
  if (changes.dead_max) request.set_dead_max(*changes.dead_max);
  return ToQueueInfo(ControlCall(connection, connection.queues(), &v1::QueueService::Stub::UpdateQueue,
                                 request, Quoted("queue", name)));
}

void RequireHeaders(const Headers& headers) {
  if (headers.size() > kHeadersMax) {
    throw InvalidArgument("headers: at most 32 are allowed, not " + std::to_string(headers.size()),
                          "headers");
  }
  for (const auto& [name, value] : headers) {
    if (name.empty() || name.size() > kNameBytesMax) {
      throw InvalidArgument("headers: a name has 1 to 200 bytes, not " + std::to_string(name.size()),
                            "headers");
    }
    if (value.size() > kHeaderValueBytesMax) {
      throw InvalidArgument("headers: the value of \"" + name + "\" has " + std::to_string(value.size()) +
                                " bytes; at most 4096 are allowed",
                            "headers");
    }
    if (ValidUtf8(name) != name || ValidUtf8(value) != value) {
      throw InvalidArgument("headers: names and values must be UTF-8", "headers");
    }
  }
}

}  // namespace joinq::internal
