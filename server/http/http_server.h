// HTTP for machines and people who look: GET /metrics (Prometheus text),
// /healthz (the process runs), /readyz (it serves). Everything else is 404.
//
// Runs on the io_context's one thread; asks the core thread for figures and never
// touches its state.
#pragma once

#include <boost/asio/io_context.hpp>
#include <memory>

#include "absl/status/statusor.h"
#include "common/net_address.h"
#include "server/rpc/core_loop.h"

namespace joinq::http {

class HttpServer {
 public:
  // Binds and starts to accept. Errors name the address.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(boost::asio::io_context* io,
                                                           const NetAddress& address, rpc::CoreLoop* loop);
  virtual ~HttpServer() = default;
  virtual NetAddress address() const = 0;
  // No more questions to the core from now on; /readyz says 503. The context's thread.
  virtual void Detach() = 0;
};

}  // namespace joinq::http
