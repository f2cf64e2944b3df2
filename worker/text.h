// Text from handlers, made fit for messages.
#pragma once

#include <string>
#include <string_view>

namespace joinq {

// Replaces every byte that is not part of well-formed UTF-8 by '?', since a
// message with such a string could not be read at all.
std::string CleanUtf8(std::string_view text);
// The same, with control characters as blanks: one line.
std::string OneLine(std::string_view text);

}  // namespace joinq
