// Cuts what a child's tasks write into lines for the log, and stops where a
// task writes too much. One for each child. Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace joinq {

class OutputLines {
 public:
  static constexpr size_t kTaskBytes = 64 << 10;  // of a task that are logged
  static constexpr size_t kLineBytes = 4096;      // a longer line becomes several
  using Line = std::function<void(uint64_t task_id, std::string_view line)>;

  // Text of a task (0: of none). Ends the line of the one before.
  void Add(uint64_t task_id, std::string_view text, const Line& line);
  // The end of what there is of `task_id`: its last line may lack its newline.
  void End(uint64_t task_id, const Line& line);
  bool in_line() const { return !partial_.empty(); }

 private:
  void Say(std::string_view text, const Line& line);
  uint64_t task_id_ = 0;
  size_t said_ = 0;
  std::string partial_;
};

}  // namespace joinq
