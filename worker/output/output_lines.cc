#include "worker/output/output_lines.h"

#include <algorithm>

namespace joinq {

void OutputLines::Add(uint64_t task_id, std::string_view text, const Line& line) {
  if (task_id != task_id_) {
    End(task_id_, line);
    task_id_ = task_id;
    said_ = 0;
  }
  while (!text.empty() && said_ < kTaskBytes) {
    const size_t newline = text.find('\n');
    const size_t room = kLineBytes - partial_.size();
    const size_t take = std::min({newline, room, text.size()});
    partial_.append(text.substr(0, take));
    text.remove_prefix(take);
    const bool whole = !text.empty() && text.front() == '\n';
    if (whole) text.remove_prefix(1);
    if (whole || partial_.size() >= kLineBytes) Say(partial_, line);
  }
}

void OutputLines::End(uint64_t task_id, const Line& line) {
  if (task_id == task_id_ && !partial_.empty()) Say(partial_, line);
}

void OutputLines::Say(std::string_view text, const Line& line) {
  said_ += text.size() + 1;
  line(task_id_, text);
  partial_.clear();
  if (said_ >= kTaskBytes) line(task_id_, "[more of its output is not logged]");
}

}  // namespace joinq
