// One place that sets up logging: text lines on stderr through spdlog.
// Use the spdlog::info(...) family after InitLog; it is thread-safe.
#pragma once

#include <string_view>

#include "absl/status/status.h"

namespace joinq {

// `level`: trace, debug, info, warn, error or off. `program` starts each line.
absl::Status InitLog(std::string_view program, std::string_view level);

}  // namespace joinq
