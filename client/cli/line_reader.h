// Lines of a file descriptor in bounded memory, for a reader that must know
// whether more is there already, and that another thread may stop.
#pragma once

#include <string>
#include <string_view>

namespace joinq::cli {

// Not thread-safe but for Stop.
class LineReader {
 public:
  // Longer lines are an error; no broker takes them.
  static constexpr size_t kLineBytesMax = 4u << 20;

  explicit LineReader(int fd);
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  // The next line without its break, or false at the end or after Stop. A last line
  // needs no break. Throws Error if reading fails or the line is too long.
  bool Next(std::string* line);
  // A whole line is there, so that Next will not wait.
  bool buffered() const { return buffer_.find('\n', position_) != std::string::npos; }
  // Ends a Next that waits, and all later ones. Any thread.
  void Stop();

 private:
  bool Fill();

  const int fd_;
  int stop_read_ = -1;
  int stop_write_ = -1;
  std::string buffer_;
  size_t position_ = 0;
  size_t line_ = 0;
  bool ended_ = false;
};

// All of a file descriptor; Error if it is longer than a line may be.
std::string ReadAll(int fd);

}  // namespace joinq::cli
