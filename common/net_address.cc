#include "common/net_address.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "common/names.h"

namespace joinq {
namespace {

constexpr size_t kUnixPathBytesMax = 107;  // sockaddr_un.sun_path less its NUL

}  // namespace

bool NetAddress::is_loopback() const {
  return is_unix() || host == "localhost" || host == "::1" || host.rfind("127.", 0) == 0;
}

std::string NetAddress::ToString() const {
  if (is_unix()) return "unix:" + unix_path;
  if (host.find(':') != std::string::npos) return absl::StrFormat("[%s]:%d", host, port);
  return absl::StrFormat("%s:%d", host, port);
}

absl::StatusOr<NetAddress> ParseNetAddress(std::string_view field, std::string_view given,
                                           uint16_t default_port) {
  absl::string_view text(given.data(), given.size());
  const std::string quoted = absl::StrCat("\"", text.substr(0, 100), "\" ");
  NetAddress address;
  if (absl::ConsumePrefix(&text, "unix:")) {
    absl::ConsumePrefix(&text, "//");
    if (text.empty() || text.size() > kUnixPathBytesMax) {
      return InvalidField(
          field, absl::StrFormat("%sneeds a path of 1 to %d bytes after unix:", quoted, kUnixPathBytesMax));
    }
    address.unix_path = std::string(text);
    return address;
  }
  address.port = default_port;
  absl::string_view port_text;
  bool has_port = false;
  if (absl::ConsumePrefix(&text, "[")) {
    size_t close = text.find(']');
    if (close == absl::string_view::npos) return InvalidField(field, quoted + "lacks the closing ]");
    address.host = std::string(text.substr(0, close));
    text.remove_prefix(close + 1);
    if (!text.empty()) {
      if (text[0] != ':') return InvalidField(field, quoted + "needs a : between ] and the port");
      has_port = true;
      port_text = text.substr(1);
    }
  } else {
    size_t colon = text.find(':');
    if (colon != absl::string_view::npos && text.find(':', colon + 1) != absl::string_view::npos) {
      return InvalidField(field, quoted + "is ambiguous: write an IPv6 address as [ADDRESS]:PORT");
    }
    address.host = std::string(text.substr(0, colon));
    if (colon != absl::string_view::npos) {
      has_port = true;
      port_text = text.substr(colon + 1);
    }
  }
  if (address.host.empty()) {
    if (!has_port) return InvalidField(field, "must be HOST:PORT or unix:PATH");
    address.host = "127.0.0.1";
  }
  for (char c : address.host) {
    if (c <= ' ' || c == '/' || c == 0x7f)
      return InvalidField(field, quoted + "must be HOST:PORT or unix:PATH");
  }
  if (has_port) {
    uint32_t port = 0;
    if (!absl::SimpleAtoi(port_text, &port) || port > 65535) {
      return InvalidField(field, quoted + "has a port that is not a number from 0 to 65535");
    }
    address.port = static_cast<uint16_t>(port);
  }
  return address;
}

}  // namespace joinq
