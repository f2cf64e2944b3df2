// grpc.health.v1 on the core's own queue: the library's service would bring
// threads of its own to poll our connections.
#include <algorithm>
#include <array>
#include <string_view>

#include "server/rpc/services.h"
#include "server/rpc/unary.h"

namespace joinq::rpc {
namespace {

using Service = grpc::health::v1::Health::AsyncService;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

bool Knows(std::string_view service) {
  static constexpr std::array<std::string_view, 5> kNames = {
      "", "joinq.v1.QueueService", "joinq.v1.TaskService", "joinq.v1.WorkerService", "joinq.v1.AdminService"};
  return std::find(kNames.begin(), kNames.end(), service) != kNames.end();
}

struct WatchCall final : Target {
  explicit WatchCall(CoreLoop* core_loop) : loop(core_loop), writer(&context) {}
  void Close() override { changed.Set(); }
  CoreLoop* const loop;
  core::CallerId id = core::kNobody;
  grpc::ServerContext context;
  HealthCheckRequest request;
  grpc::ServerAsyncWriter<HealthCheckResponse> writer;
  DoneNotice done;
  Signal changed;
};

Detached ServeWatch(CoreLoop* loop, Service* service) {
  auto call = std::make_shared<WatchCall>(loop);
  call->done.Watch(&call->context);
  if (!co_await Op([&](void* tag) {
        service->RequestWatch(&call->context, &call->request, &call->writer, loop->queue(), loop->queue(),
                              tag);
      })) {
    co_return;
  }
  ServeWatch(loop, service);
  call->id = loop->targets().NewCaller();
  loop->targets().Add(call->id, call.get());
  call->done.Keep(call, [raw = call.get()] { raw->changed.Set(); });
  HealthCheckResponse response;
  response.set_status(Knows(call->request.service()) ? HealthCheckResponse::SERVING
                                                     : HealthCheckResponse::SERVICE_UNKNOWN);
  if (loop->stopping()) response.set_status(HealthCheckResponse::NOT_SERVING);
  bool open = co_await Op([&](void* tag) { call->writer.Write(response, tag); });
  while (open && !loop->stopping() && !call->done.done()) co_await call->changed;
  if (open && !call->done.done()) {
    response.set_status(HealthCheckResponse::NOT_SERVING);
    open = co_await Op([&](void* tag) { call->writer.Write(response, tag); });
  }
  loop->targets().Remove(call->id);
  if (!call->done.done()) {
    co_await Op([&](void* tag) {
      call->writer.Finish(grpc::Status(grpc::StatusCode::UNAVAILABLE, "the broker is stopping"), tag);
    });
  }
}

}  // namespace

void ServeHealth(CoreLoop* loop, Service* service) {
  ServeUnary<HealthCheckRequest, HealthCheckResponse>(
      loop,
      [=](auto* context, auto* request, auto* writer, void* tag) {
        service->RequestCheck(context, request, writer, loop->queue(), loop->queue(), tag);
      },
      [=](core::CallerId, const HealthCheckRequest& request,
          HealthCheckResponse* response) -> std::optional<absl::Status> {
        if (!Knows(request.service())) return absl::NotFoundError("unknown service");
        response->set_status(loop->stopping() ? HealthCheckResponse::NOT_SERVING
                                              : HealthCheckResponse::SERVING);
        return absl::OkStatus();
      },
      [](core::Reply&, HealthCheckResponse*) {});
  ServeWatch(loop, service);
}

}  // namespace joinq::rpc
