#include "client/cli/progress.h"

#include <fmt/core.h>
#include <unistd.h>

#include <cstdio>
#include <string>

namespace joinq::cli {
namespace {

constexpr auto kInterval = std::chrono::milliseconds(100);
constexpr uint64_t kWidth = 30;

}  // namespace

Progress::Progress() : shown_(isatty(STDERR_FILENO) == 1) {}

void Progress::Show(uint64_t done, uint64_t total, uint64_t failed) {
  if (!shown_) return;
  const auto now = Clock::now();
  if (now < next_) return;
  next_ = now + kInterval;
  const uint64_t filled = total == 0 ? 0 : done * kWidth / total;
  const double seconds = std::chrono::duration<double>(now - began_).count();
  fmt::print(stderr, "\r[{}{}] {}/{} {:.0f}/s{}\033[K", std::string(filled, '#'),
             std::string(kWidth - filled, ' '), done, total,
             seconds > 0 ? static_cast<double>(done) / seconds : 0,
             failed > 0 ? fmt::format(", {} failed", failed) : "");
}

void Progress::Clear() {
  if (shown_) fmt::print(stderr, "\r\033[K");
}

}  // namespace joinq::cli
