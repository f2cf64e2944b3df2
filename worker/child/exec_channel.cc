#include "worker/child/exec_channel.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "worker/child/program.h"
#include "worker/process/status_page.h"

namespace joinq {
namespace {

constexpr size_t kReadBytes = 16 << 10;
constexpr int kReadsMax = 8;  // at once

void MakePipe(UniqueFd& read_end, UniqueFd& write_end) {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) ThrowErrno("pipe", errno);
  read_end.Reset(fds[0]);
  UniqueFd low(fds[1]);
  // Clear of the numbers that it is to have there.
  write_end.Reset(fcntl(low.get(), F_DUPFD_CLOEXEC, ExecChannel::kFirstFree));
  if (!write_end.valid()) ThrowErrno("pipe", errno);
  SetNonBlocking(read_end);
}

// When the program has `ended`, all that is there: it may have made the pipe larger.
template <typename Take>
absl::Status ReadFrom(UniqueFd& from, bool ended, Take take) {
  char buffer[kReadBytes];
  int left = 0;
  if (ended && from.valid()) ioctl(from.get(), FIONREAD, &left);
  for (int reads = 0; (reads < kReadsMax || left > 0) && from.valid(); ++reads) {
    const ssize_t got = read(from.get(), buffer, sizeof buffer);
    if (got > 0) {
      left -= static_cast<int>(got);
      if (absl::Status status = take(std::string_view(buffer, static_cast<size_t>(got))); !status.ok())
        return status;
    } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
      from.Reset();
    } else if (errno == EAGAIN) {
      break;
    }
  }
  return absl::OkStatus();
}

}  // namespace

ExecChannel::ExecChannel(const TaskContext& task) : task_(task) {
  MakePipe(control_, control_end_);
  MakePipe(progress_, progress_end_);
}

void ExecChannel::Prepare(std::vector<std::string>& variables, posix_spawn_file_actions_t* actions) const {
  variables.push_back(absl::StrCat("JOINQ_CONTROL_FD=", kControl));
  variables.push_back(absl::StrCat("JOINQ_PROGRESS_FD=", kProgress));
  posix_spawn_file_actions_adddup2(actions, control_end_.get(), kControl);
  posix_spawn_file_actions_adddup2(actions, progress_end_.get(), kProgress);
}

void ExecChannel::Started() {
  control_end_.Reset();
  progress_end_.Reset();
}

absl::Status ExecChannel::Read(bool ended) {
  std::string newest;
  absl::Status status = ReadFrom(progress_, ended, [&](std::string_view bytes) {
    for (size_t end; (end = bytes.find('\n')) != bytes.npos; bytes.remove_prefix(end + 1)) {
      words_.append(bytes.substr(0, std::min(end, kProgressBytes - words_.size())));
      if (!words_.empty()) newest = std::exchange(words_, {});
    }
    words_.append(bytes.substr(0, kProgressBytes - words_.size()));
    return absl::OkStatus();
  });
  if (ended && !words_.empty()) newest = words_;
  if (!newest.empty()) task_.progress(newest);
  absl::Status wrong;
  const absl::Status too_long = absl::InvalidArgumentError(
      absl::StrCat("a line it wrote to JOINQ_CONTROL_FD is longer than ", kExecLineBytesMax, " bytes"));
  status = ReadFrom(control_, ended, [&](std::string_view bytes) {
    const bool good = lines_.Add(bytes, [&](std::string_view line) {
      wrong = Take(line);
      return wrong.ok();
    });
    return good ? absl::OkStatus() : wrong.ok() ? too_long : wrong;
  });
  return status;
}

absl::Status ExecChannel::ReadRest() {
  return lines_.rest().empty() ? absl::OkStatus() : Take(lines_.rest());
}

absl::Status ExecChannel::Take(std::string_view line) {
  ++number_;
  auto wrong = [this](absl::string_view why) {
    return absl::InvalidArgumentError(
        absl::StrCat("line ", number_, " that it wrote to JOINQ_CONTROL_FD: ", why));
  };
  const auto message = ReadExecMessage(line);
  if (!message.ok()) return wrong(message.status().message());
  if (const auto* progress = std::get_if<ExecProgress>(&*message)) {
    task_.progress(progress->text);
    return absl::OkStatus();
  }
  const auto& put = std::get<ExecPut>(*message);
  try {
    task_.put(put.queue, put.handler, put.payload, put.options);
  } catch (const HandlerError& error) {
    return wrong(error.what());
  }
  return absl::OkStatus();
}

}  // namespace joinq
