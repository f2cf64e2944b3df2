#include "worker/text.h"

#include <cstdint>

namespace joinq {
namespace {

// Bytes of the well-formed sequence at the start of `text`, or 0.
size_t SequenceBytes(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t first = byte(0);
  if (first < 0x80) return 1;
  const size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < size) return 0;
  for (size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  // Overlong forms, surrogates and what lies beyond U+10FFFF.
  if (first == 0xe0 && byte(1) < 0xa0) return 0;
  if (first == 0xed && byte(1) > 0x9f) return 0;
  if (first == 0xf0 && byte(1) < 0x90) return 0;
  if (first == 0xf4 && byte(1) > 0x8f) return 0;
  return size;
}

}  // namespace

std::string CleanUtf8(std::string_view text) {
  std::string clean;
  clean.reserve(text.size());
  while (!text.empty()) {
    const size_t size = SequenceBytes(text);
    if (size == 0) {
      clean += '?';
      text.remove_prefix(1);
    } else {
      clean.append(text.substr(0, size));
      text.remove_prefix(size);
    }
  }
  return clean;
}

std::string OneLine(std::string_view text) {
  std::string clean = CleanUtf8(text);
  for (char& c : clean) {
    if (static_cast<uint8_t>(c) < 0x20) c = ' ';
  }
  return clean;
}

}  // namespace joinq
