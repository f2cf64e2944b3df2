// What the tests of large payloads share.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <string>

namespace joinq {

// So many bytes, in which a shift or a cut shows.
inline std::string Letters(size_t bytes, char first = 'a') {
  std::string text(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>(first + i % 23);
  return text;
}

// Open ones of a process.
inline ptrdiff_t CountDescriptors(pid_t pid = getpid()) {
  const std::filesystem::directory_iterator files("/proc/" + std::to_string(pid) + "/fd");
  return std::distance(begin(files), end(files));
}

}  // namespace joinq
