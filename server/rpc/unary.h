// Unary calls: parse, ask the core, answer when the core has replied and that is
// durable. A parked call is a suspended coroutine and a Target; if its caller goes
// away, the core hears of it first.
#pragma once

#include <memory>
#include <optional>
#include <utility>

#include "common/rpc_status.h"
#include "server/rpc/async.h"
#include "server/rpc/core_loop.h"
#include "server/rpc/target.h"

namespace joinq::rpc {

template <typename Request, typename Response>
struct UnaryCall final : Target {
  explicit UnaryCall(CoreLoop* core_loop) : loop(core_loop), writer(&context) {}
  void Replied(core::Reply&& arrived) override {
    reply = std::move(arrived);
    replied.Set();
  }

  CoreLoop* const loop;
  core::CallerId id = core::kNobody;
  grpc::ServerContext context;
  Request request;
  Response response;
  grpc::ServerAsyncResponseWriter<Response> writer;
  DoneNotice done;
  Signal replied;
  core::Reply reply;
  bool answered = false;
};

inline void ReturnLeases(CoreLoop* loop, const core::Reply& reply) {
  std::vector<core::LeaseRef> leases;
  for (const auto& delivery : reply.deliveries) {
    if (delivery.token.epoch != 0) leases.push_back({delivery.task, delivery.token});
  }
  if (!leases.empty()) loop->broker().ReturnUndelivered(leases);
}

// Serves one method for ever: each call that arrives requests the next.
//
// `request(context, request, writer, tag)` asks gRPC for a call; `start(caller,
// request, response)` calls the core: it returns a status if that is the answer
// already, or nothing if the core will reply to `caller`; `fill(reply, response)`
// translates a reply that is OK.
template <typename Request, typename Response, typename RequestCall, typename Start, typename Fill>
Detached ServeUnary(CoreLoop* loop, RequestCall request, Start start, Fill fill) {
  auto call = std::make_shared<UnaryCall<Request, Response>>(loop);
  call->done.Watch(&call->context);
  const bool arrived =
      co_await Op([&](void* tag) { request(&call->context, &call->request, &call->writer, tag); });
  if (!arrived) co_return;  // shutting down
  ServeUnary<Request, Response>(loop, request, start, fill);

  call->id = loop->targets().NewCaller();
  loop->targets().Add(call->id, call.get());
  call->done.Keep(call, [raw = call.get()] {
    if (raw->answered) {
      // Finished on our side, but cancelled before it got there: a failed send is a release.
      if (raw->context.IsCancelled()) ReturnLeases(raw->loop, raw->reply);
      return;
    }
    raw->loop->broker().CallerGone(raw->id);
    raw->answered = true;
    raw->reply.status = absl::CancelledError("the caller has gone");
    raw->replied.Set();
  });
  if (std::optional<absl::Status> answer = start(call->id, call->request, &call->response)) {
    core::Reply reply;
    reply.to = call->id;
    reply.status = *std::move(answer);
    loop->broker().effects().replies.push_back(std::move(reply));
  }
  co_await call->replied;
  loop->targets().Remove(call->id);
  if (call->answered) co_return;  // cancelled; what comes for it goes back in Publish
  call->answered = true;
  if (call->reply.status.ok()) fill(call->reply, &call->response);
  const bool sent = co_await Op([&](void* tag) {
    if (call->reply.status.ok()) {
      call->writer.Finish(call->response, grpc::Status::OK, tag);
    } else {
      call->writer.FinishWithError(ToGrpc(call->reply.status), tag);
    }
  });
  if (!sent) ReturnLeases(loop, call->reply);
}

}  // namespace joinq::rpc
