// absl::Status <-> grpc::Status, with the field at fault carried as a
// google.rpc.BadRequest in the standard details trailer, which any gRPC client
// library can decode.
#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace joinq {

grpc::Status ToGrpc(const absl::Status& status);
// Keeps code, message and the field (FieldOf).
absl::Status FromGrpc(const grpc::Status& status);

}  // namespace joinq
