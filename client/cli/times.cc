#include "client/cli/times.h"

#include <fmt/chrono.h>
#include <fmt/core.h>

#include <cmath>
#include <cstdlib>
#include <ctime>
#include <regex>

#include "client/cli/cli.h"

namespace joinq::cli {
namespace {

// Year 2261, up to which the system clock counts.
constexpr int64_t kUnixSecondsMax = 9'200'000'000;

// The time of `text` in Unix milliseconds; nothing if it is no ISO 8601 or no such day.
std::optional<int64_t> ParseIso(const std::string& text) {
  static const std::regex pattern(
      R"((\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?)?(Z|z|[+-]\d\d(?::?\d\d)?)?)");
  std::smatch match;
  if (!std::regex_match(text, match, pattern)) return std::nullopt;
  const auto number = [&](int group) { return match[group].matched ? std::stoi(match[group]) : 0; };
  std::tm parts = {};
  parts.tm_year = number(1) - 1900;
  parts.tm_mon = number(2) - 1;
  parts.tm_mday = number(3);
  parts.tm_hour = number(4);
  parts.tm_min = number(5);
  parts.tm_sec = number(6);
  parts.tm_isdst = -1;
  if (parts.tm_hour > 23 || parts.tm_min > 59 || parts.tm_sec > 60) return std::nullopt;
  int64_t ms = 0;
  if (match[7].matched) ms = std::stoi((match[7].str() + "00").substr(0, 3));
  const int day = parts.tm_mday, month = parts.tm_mon;
  const std::string zone = match[8];
  int64_t seconds;
  if (zone.empty()) {
    seconds = mktime(&parts);
  } else {
    std::tm utc = parts;
    seconds = timegm(&utc);
    parts.tm_mday = utc.tm_mday;
    parts.tm_mon = utc.tm_mon;
    if (zone[0] == '+' || zone[0] == '-') {
      const int hours = std::stoi(zone.substr(1, 2));
      const int minutes = zone.size() > 3 ? std::stoi(zone.substr(zone.size() - 2)) : 0;
      if (hours > 23 || minutes > 59) return std::nullopt;
      seconds -= (zone[0] == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
    }
  }
  // The 31st of February would have become another day.
  if (parts.tm_mon != month || (parts.tm_mday != day && number(6) != 60)) return std::nullopt;
  return seconds * 1000 + ms;
}

}  // namespace

std::optional<double> ParseNumber(const std::string& text) {
  if (text.empty() || text.find_first_not_of("0123456789.+-eE") != std::string::npos) return std::nullopt;
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (end != text.c_str() + text.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

TimePoint ParseTime(const std::string& option, const std::string& text) {
  if (const auto seconds = ParseNumber(text);
      seconds && *seconds >= 0 && *seconds <= static_cast<double>(kUnixSecondsMax))
    return TimePoint(Millis(static_cast<int64_t>(std::ceil(*seconds * 1000))));
  if (const auto ms = ParseIso(text); ms && *ms >= 0 && *ms <= kUnixSecondsMax * 1000)
    return TimePoint(Millis(*ms));
  throw UsageError(fmt::format(
      "{}: must be a time like 2026-01-31T09:30:00Z, or Unix seconds, from 1970 to 2260, not \"{}\"", option,
      text));
}

int64_t UnixMs(TimePoint time) {
  return std::chrono::floor<std::chrono::milliseconds>(time.time_since_epoch()).count();
}

std::string TimeText(TimePoint time) {
  const int64_t ms = UnixMs(time);
  const time_t seconds = static_cast<time_t>(ms >= 0 ? ms / 1000 : (ms - 999) / 1000);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(seconds), ms - int64_t{seconds} * 1000);
}

}  // namespace joinq::cli
