// Limits and checks of what users name and time. Every program refuses the same
// things with the same words.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace joinq {

inline constexpr size_t kNameBytesMax = 200;
inline constexpr size_t kHeadersMax = 32;
inline constexpr size_t kHeaderValueBytesMax = 4096;
inline constexpr uint32_t kPayloadBytesMaxDefault = 1 << 20;
// A whole gRPC message, both ways. One payload of the default limit always fits.
inline constexpr uint32_t kMessageBytesMax = 4 << 20;
inline constexpr uint32_t kDurationMsMax = 0x7fffffff;
inline constexpr uint16_t kGrpcPort = 7420;
inline constexpr uint16_t kHttpPort = 7421;

// An error that says which request field is at fault (see FieldOf).
absl::Status FieldError(absl::StatusCode code, std::string_view field, std::string_view message);
inline absl::Status InvalidField(std::string_view field, std::string_view message) {
  return FieldError(absl::StatusCode::kInvalidArgument, field, message);
}
// `status` as it is, with the field at fault noted beside its message.
absl::Status WithField(absl::Status status, std::string_view field);
// The field that FieldError or WithField noted, or "".
std::string FieldOf(const absl::Status& status);

// OK if `name` is 1..200 bytes of [A-Za-z0-9_.:-]. `field` names it in the error.
absl::Status CheckName(std::string_view field, std::string_view name);

// Seconds as people write them ("1.5", "0") to milliseconds, rounded up.
// Refuses negative, NaN, infinite, non-numbers and more than 2^31-1 ms by the field's name.
absl::StatusOr<uint32_t> SecondsToMs(std::string_view field, double seconds);

}  // namespace joinq
