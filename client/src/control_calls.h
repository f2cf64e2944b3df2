// Short calls and checks that Client and Queue share.
#pragma once

#include <joinq/queue.h>

#include <string>

#include "client/src/connection.h"
#include "client/src/throwing.h"

namespace joinq::internal {

// Makes a short call with one of the connection's stubs; `what` as ThrowIfError takes it.
template <typename Stub, typename Request, typename Response>
Response ControlCall(Connection& connection, Stub& stub,
                     grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                     const Request& request, const std::string& what) {
  Response response;
  ThrowIfError(Verb::kControl, what, connection.Control([&](grpc::ClientContext* context) {
    return (stub.*method)(context, request, &response);
  }));
  return response;
}
// One whose only field is the name of a queue.
template <typename Request, typename Response>
Response QueueCall(Connection& connection, const std::string& queue,
                   grpc::Status (v1::QueueService::Stub::*method)(grpc::ClientContext*, const Request&,
                                                                  Response*),
                   Request request = {}) {
  request.set_queue(queue);
  return ControlCall(connection, connection.queues(), method, request, Quoted("queue", queue));
}

QueueInfo ToQueueInfo(const v1::QueueInfo& wire);
QueueInfo GetQueueInfo(Connection& connection, const std::string& name);
QueueInfo CreateQueue(Connection& connection, const std::string& name, const QueueOptions& options,
                      bool allow_existing);
QueueInfo UpdateQueue(Connection& connection, const std::string& name, const QueueChanges& changes);
// InvalidArgument unless within the limits of Headers.
void RequireHeaders(const Headers& headers);

}  // namespace joinq::internal
