// The child's side of telling what each task wrote, see output/output_splitter.h.
#pragma once

#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>

#include "worker/output/output_splitter.h"
#include "worker/process/status_page.h"

namespace joinq {

class OutputMarks {
 public:
  // `pipe`: what stdout and stderr are; -1: nothing is marked.
  OutputMarks(const StatusPage& page, int pipe) : page_(page), pipe_(pipe) {}

  // What was written up to here is of frame `number`. If the daemon has read all there is, it
  // most likely knows already; but the words of a task that failed go with its error, and
  // must be its own: `always`.
  void Write(uint64_t number, bool always) const {
    if (pipe_ < 0) return;
    int unread = 0;
    if (ioctl(pipe_, FIONREAD, &unread) != 0 || (unread == 0 && !always)) return;
    const OutputMark mark{page_.output_key, number};
    while (write(pipe_, &mark, sizeof mark) < 0 && errno == EINTR) {
    }
  }

 private:
  const StatusPage& page_;
  const int pipe_;
};

}  // namespace joinq
