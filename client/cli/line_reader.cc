#include "client/cli/line_reader.h"

#include <fcntl.h>
#include <joinq/errors.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace joinq::cli {
namespace {

constexpr size_t kReadBytes = 64 * 1024;

}  // namespace

LineReader::LineReader(int fd) : fd_(fd) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw Error(std::string("stdin: ") + std::strerror(errno));
  stop_read_ = ends[0];
  stop_write_ = ends[1];
}

LineReader::~LineReader() {
  close(stop_read_);
  close(stop_write_);
}

void LineReader::Stop() {
  const char byte = 0;
  [[maybe_unused]] const auto written = write(stop_write_, &byte, 1);
}

bool LineReader::Fill() {
  pollfd polled[] = {{fd_, POLLIN, 0}, {stop_read_, POLLIN, 0}};
  while (poll(polled, 2, -1) < 0) {
    if (errno != EINTR) throw Error(std::string("stdin: ") + std::strerror(errno));
  }
  if (polled[1].revents != 0) return false;
  buffer_.erase(0, position_);
  position_ = 0;
  const size_t had = buffer_.size();
  buffer_.resize(had + kReadBytes);
  const ssize_t got = read(fd_, buffer_.data() + had, kReadBytes);
  buffer_.resize(had + (got > 0 ? static_cast<size_t>(got) : 0));
  if (got < 0 && errno != EINTR && errno != EAGAIN)
    throw Error(std::string("stdin: ") + std::strerror(errno));
  return got != 0;
}

bool LineReader::Next(std::string* line) {
  size_t looked = position_;
  while (true) {
    const size_t end = buffer_.find('\n', looked);
    if (end != std::string::npos) {
      line->assign(buffer_, position_, end - position_);
      position_ = end + 1;
      ++line_;
      return true;
    }
    if (ended_) return false;
    if (buffer_.size() - position_ > kLineBytesMax) {
      throw InvalidArgument("stdin: line " + std::to_string(line_ + 1) + " has more than " +
                            std::to_string(kLineBytesMax) + " bytes");
    }
    looked = buffer_.size() - position_;
    if (!Fill()) {
      ended_ = true;
      if (position_ == buffer_.size()) return false;
      *line = buffer_.substr(position_);
      position_ = buffer_.size();
      return true;
    }
  }
}

std::string ReadAll(int fd) {
  std::string all;
  char chunk[kReadBytes];
  while (true) {
    const ssize_t got = read(fd, chunk, sizeof chunk);
    if (got == 0) return all;
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw Error(std::string("stdin: ") + std::strerror(errno));
    all.append(chunk, static_cast<size_t>(got));
    if (all.size() > LineReader::kLineBytesMax) {
      throw InvalidArgument("stdin: has more than " + std::to_string(LineReader::kLineBytesMax) + " bytes");
    }
  }
}

}  // namespace joinq::cli
