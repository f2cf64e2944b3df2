// Payloads that stand for a number and show any damage.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "tests/fault/history.h"

namespace joinq::testing {

// The number and a padding that follows from it, 0 to `padding_max` bytes: enough to make
// the journal of a run outgrow its bounds.
inline std::string PayloadOf(uint64_t number, uint32_t padding_max) {
  std::string text = std::to_string(number) + " " + std::to_string(padding_max) + " ";
  const uint64_t mixed = number * 0x9e3779b97f4a7c15;
  text.append(padding_max == 0 ? 0 : (mixed >> 32) % padding_max,
              static_cast<char>('a' + (mixed >> 20) % 26));
  return text;
}

// kForeign unless it is, byte for byte, what PayloadOf made.
inline uint64_t NumberOf(std::string_view payload) {
  unsigned long number = 0;
  unsigned padding_max = 0;
  const std::string text(payload);
  if (std::sscanf(text.c_str(), "%lu %u ", &number, &padding_max) != 2) return kForeign;
  return PayloadOf(number, padding_max) == payload ? number : kForeign;
}

}  // namespace joinq::testing
