#include "client/src/control_calls.h"

#include "client/src/lease_calls.h"
#include "client/src/throwing.h"
#include "common/names.h"

namespace joinq::internal {

QueueInfo ToQueueInfo(const v1::QueueInfo& wire) {
  const v1::QueueStats& stats = wire.stats();
  QueueInfo info;
  info.name = wire.name();
  info.options = {.maxsize = wire.options().maxsize(), .lease = Millis(wire.options().lease_ms())};
  info.closed = wire.closed();
  info.durability = wire.durability();
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
                .consumers = stats.consumers()};
  return info;
}

QueueInfo GetQueueInfo(Connection& connection, const std::string& name) {
  v1::GetQueueRequest request;
  request.set_name(name);
  v1::QueueInfo response;
  ThrowIfError(Verb::kControl, Quoted("queue", name), connection.Control([&](grpc::ClientContext* context) {
    return connection.queues().GetQueue(context, request, &response);
  }));
  return ToQueueInfo(response);
}

QueueInfo CreateQueue(Connection& connection, const std::string& name, const QueueOptions& options,
                      bool allow_existing) {
  RequireName("queue", name);
  v1::CreateQueueRequest request;
  request.set_name(name);
  request.mutable_options()->set_maxsize(options.maxsize);
  request.mutable_options()->set_lease_ms(ToMs("lease", options.lease));
  request.set_allow_existing(allow_existing);
  v1::QueueInfo response;
  ThrowIfError(Verb::kControl, Quoted("queue", name), connection.Control([&](grpc::ClientContext* context) {
    return connection.queues().CreateQueue(context, request, &response);
  }));
  return ToQueueInfo(response);
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
