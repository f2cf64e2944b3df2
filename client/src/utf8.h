// Text as protobuf takes it.
#pragma once

#include <string>
#include <string_view>

namespace joinq::internal {

// Bytes that are not UTF-8 become '?'.
std::string ValidUtf8(std::string_view text);

}  // namespace joinq::internal
