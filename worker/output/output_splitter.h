// Tells which task wrote what in the one stream a child's output is.
//
// A child that has run a task and sees that its output is not read yet writes a
// mark behind it: a key that only it and the daemon know, and the number of the
// task's frame. What comes before a mark is that frame's (or that of a mark
// before); what comes after the last is the frame's that runs while it is read.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace joinq {

inline constexpr size_t kOutputKeyBytes = 16;
using OutputKey = std::array<char, kOutputKeyBytes>;

struct OutputMark {
  OutputKey key;
  uint64_t number;
};
static_assert(sizeof(OutputMark) == 24);

class OutputSplitter {
 public:
  // `in_turns`: frames run several at a time and write by turns. Then a frame may write again
  // after its mark, a frame of 0 means that none of them writes, and nothing is held back
  // but beginnings of marks.
  explicit OutputSplitter(bool in_turns = false) : in_turns_(in_turns) {}

  // Calls take(number, text) for each piece of `data`, in order. `before` is the frame
  // that ran just before it was read, `after` the one just after. May hold back the
  // beginning of a mark, and what another frame may have written that began meanwhile:
  // until its mark comes, or more output.
  template <typename Take>
  void Feed(const OutputKey& key, std::string_view data, uint64_t before, uint64_t after, Take take) {
    if (in_turns_) before = after = before != 0 ? before : after;
    if (!held_.empty()) {
      held_.append(data);
      data = held_;
    }
    std::string_view rest = data;
    for (;;) {
      const size_t at = FindMark(key, rest);
      if (at == rest.npos || rest.size() - at < sizeof(OutputMark)) {
        const bool unsure = before != after && rest.size() < kHeldBytesMax;
        const std::string_view text = unsure ? std::string_view() : rest.substr(0, at);
        const std::string held(unsure ? rest : at == rest.npos ? std::string_view() : rest.substr(at));
        if (!text.empty()) take(std::max(after, next_), text);
        held_ = held;
        return;
      }
      uint64_t number;
      std::memcpy(&number, rest.data() + at + kOutputKeyBytes, sizeof number);
      if (at > 0) take(number, rest.substr(0, at));
      if (!in_turns_) next_ = number + 1;
      rest.remove_prefix(at + sizeof(OutputMark));
    }
  }
  // No more comes: what was held back is of the last frame.
  template <typename Take>
  void Finish(uint64_t last, Take take) {
    if (!held_.empty()) take(std::max(last, next_), std::string_view(held_));
    held_.clear();
  }

 private:
  static constexpr size_t kHeldBytesMax = 64 << 10;
  // Where a mark begins, or could begin if more came.
  static size_t FindMark(const OutputKey& key, std::string_view text) {
    const std::string_view whole(key.data(), key.size());
    for (size_t at = 0; (at = text.find(whole[0], at)) != text.npos; ++at) {
      const std::string_view here = text.substr(at, whole.size());
      if (whole.substr(0, here.size()) == here) return at;
    }
    return text.npos;
  }
  const bool in_turns_;
  std::string held_;
  uint64_t next_ = 0;  // no frame below this one writes any more
};

}  // namespace joinq
