// Done, Fail, Release and Extend: calls that carry leases.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/src/connection.h"
#include "client/src/throwing.h"
#include "client/src/utf8.h"

namespace joinq::internal {

// Adds the queue and the leases to `request` and makes the call.
template <typename Request, typename Response>
Response CallWithLeases(Connection& connection, const std::string& queue, const std::vector<Lease>& leases,
                        Request* request,
                        grpc::Status (v1::QueueService::Stub::*method)(grpc::ClientContext*, const Request&,
                                                                       Response*)) {
  request->set_queue(queue);
  for (const Lease& lease : leases) {
    if (lease.task_id == 0)
      throw InvalidArgument("the task was acknowledged when it was taken: it has no lease", "leases");
    v1::Lease* wire;
    if constexpr (requires { request->add_leases(); }) {
      wire = request->add_leases();
    } else {
      wire = request->mutable_lease();
    }
    wire->set_task_id(lease.task_id);
    wire->set_epoch(lease.epoch);
    wire->set_sequence(lease.sequence);
  }
  Response response;
  const absl::Status status = connection.Control([&](grpc::ClientContext* context) {
    return (connection.queues().*method)(context, *request, &response);
  });
  const std::string what = leases.size() == 1
                               ? absl::StrCat("task ", leases[0].task_id, " of ", Quoted("queue", queue))
                               : Quoted("queue", queue);
  ThrowIfError(Verb::kLease, what, status);
  return response;
}

// The same for leases of the session. A broker that was restarted takes some of them for
// stale until the session has named them to it: that is worth a second try.
template <typename Request, typename Response>
Response CallWithHeldLeases(Connection& connection, const std::string& queue,
                            const std::vector<Lease>& leases, Request* request,
                            grpc::Status (v1::QueueService::Stub::*method)(grpc::ClientContext*,
                                                                           const Request&, Response*)) {
  constexpr std::chrono::seconds kSessionWait{5};
  try {
    return CallWithLeases(connection, queue, leases, request, method);
  } catch (const StaleLease&) {
    if (!connection.session().AwaitHolding(leases, Session::Clock::now() + kSessionWait)) throw;
  }
  if constexpr (requires { request->clear_leases(); }) request->clear_leases();
  return CallWithLeases(connection, queue, leases, request, method);
}

}  // namespace joinq::internal
