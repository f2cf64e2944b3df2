// Client channels to a broker, with the settings both ends agree on: keepalive,
// message sizes, reconnect backoff.
#pragma once

#include <grpcpp/channel.h>

#include <memory>

#include "common/net_address.h"

namespace joinq {

// Each call makes a channel with a connection of its own, so that calls that
// park cannot starve a stream that carries heartbeats. Never blocks.
std::shared_ptr<grpc::Channel> MakeChannel(const NetAddress& broker);

}  // namespace joinq
