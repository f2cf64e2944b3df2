#include "common/names.h"

#include <cmath>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace joinq {
namespace {

constexpr char kFieldPayload[] = "joinq.dev/field";

bool IsNameByte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
         c == ':' || c == '-';
}

}  // namespace

absl::Status FieldError(absl::StatusCode code, std::string_view field, std::string_view message) {
  return WithField(absl::Status(code, absl::StrCat(absl::string_view(field.data(), field.size()), ": ",
                                                   absl::string_view(message.data(), message.size()))),
                   field);
}

absl::Status WithField(absl::Status status, std::string_view field) {
  status.SetPayload(kFieldPayload, absl::Cord(absl::string_view(field.data(), field.size())));
  return status;
}

std::string FieldOf(const absl::Status& status) {
  auto payload = status.GetPayload(kFieldPayload);
  return payload ? std::string(*payload) : std::string();
}

absl::Status CheckName(std::string_view field, std::string_view name) {
  if (name.empty()) return InvalidField(field, "must not be empty");
  if (name.size() > kNameBytesMax) {
    return InvalidField(field,
                        absl::StrFormat("has %d bytes; at most %d are allowed", name.size(), kNameBytesMax));
  }
  for (char c : name) {
    if (!IsNameByte(c)) {
      return InvalidField(field,
                          absl::StrFormat("may contain letters, digits and _ . : - only, not byte 0x%02x",
                                          static_cast<unsigned char>(c)));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<uint32_t> SecondsToMs(std::string_view field, double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) {
    return InvalidField(field, absl::StrFormat("must be 0 or more seconds, not %g", seconds));
  }
  double ms = std::ceil(seconds * 1000);
  if (ms > kDurationMsMax) {
    return InvalidField(field, absl::StrFormat("%g seconds is too long; at most %d are allowed", seconds,
                                               kDurationMsMax / 1000));
  }
  return static_cast<uint32_t>(ms);
}

}  // namespace joinq
