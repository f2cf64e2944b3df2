// Addresses as users write them: "host:port", "host" (port 7420), "[::1]:7420",
// ":7420" (loopback), "unix:PATH".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace joinq {

struct NetAddress {
  std::string host;       // without brackets; empty for a Unix socket
  uint16_t port = 0;      // 0: any free one (listening only)
  std::string unix_path;  // empty for TCP

  bool is_unix() const { return !unix_path.empty(); }
  bool is_loopback() const;
  // As gRPC takes it, and as ParseNetAddress reads it.
  std::string ToString() const;
};

// `field` names the address in errors; `default_port` is used when none is given.
absl::StatusOr<NetAddress> ParseNetAddress(std::string_view field, std::string_view text,
                                           uint16_t default_port);

}  // namespace joinq
