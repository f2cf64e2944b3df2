// The gRPC server: addresses, limits, services, start and stop.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/net_address.h"
#include "server/rpc/core_loop.h"
#include "server/rpc/services.h"

namespace joinq::rpc {

class GrpcServer {
 public:
  // Binds every address and starts to serve; `loop` must then be Run on the
  // calling thread. Errors name the address: in use, not ours, not resolvable.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(const std::vector<NetAddress>& addresses,
                                                           CoreLoop* loop, const AdminParts& admin = {});
  ~GrpcServer();

  // Where it listens, with the ports that were chosen for port 0.
  const std::vector<NetAddress>& addresses() const;
  // Ends every call, then the loop's queue, so that Run returns. Core thread.
  void Stop();

 private:
  struct Parts;
  explicit GrpcServer(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace joinq::rpc
