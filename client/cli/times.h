// Instants and durations as people write and read them.
#pragma once

#include <joinq/put.h>

#include <optional>
#include <string>

namespace joinq::cli {

// The whole text as a finite number.
std::optional<double> ParseNumber(const std::string& text);

// Unix seconds ("1767225600.5"), or ISO 8601: "2026-01-01", "2026-01-01T09:30",
// "2026-01-01 09:30:00.250Z", "...+02:00"; local time where no zone is named.
// UsageError that names `option`.
TimePoint ParseTime(const std::string& option, const std::string& text);

// "2026-01-01T09:30:00.250Z".
std::string TimeText(TimePoint time);
int64_t UnixMs(TimePoint time);

}  // namespace joinq::cli
