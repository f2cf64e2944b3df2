// The daemon's end of one child: what is to be sent to it, what came back, its
// status page. Not thread-safe. Does not wait for anything, does not parse, does
// not know when the child ends (the zygote reports that).
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "worker/process/status_page.h"
#include "worker/process/zygote.h"

namespace joinq {

class ChildChannel {
 public:
  static absl::StatusOr<ChildChannel> Adopt(SpawnedChild spawned);

  pid_t pid() const { return pid_; }
  int fd() const { return channel_.get(); }
  StatusPage& page() const { return *page_; }
  // To read what the child writes to its stdout and stderr; once. -1 if that is inherited.
  int TakeOutput() { return output_.Release(); }

  // Adds bytes to send.
  void Append(std::string_view frame) { out_.append(frame); }
  // Sends what the socket takes. kBlocked: call again when it is writable.
  // kBroken: the child is gone or going; nothing more can be sent.
  enum class Sent { kAll, kBlocked, kBroken };
  Sent Send();

  // Waits up to `timeout_ms` for the child's death. False if it lives on.
  bool WaitDead(int timeout_ms) const;

  // The child reads the end once it has read what was sent.
  void CloseWrites();

  // Reads once into `scratch` (of `size` bytes). What is new of it is appended
  // to what was left, see input(). False: nothing there now, or the end.
  bool Receive(char* scratch, size_t size, bool& end);
  // Takes what the child has gathered but not sent. False if there is nothing.
  bool Peek();
  // Received bytes not yet consumed; keep what is no whole frame.
  std::string_view input() const { return input_; }
  void KeepInput(std::string_view rest);

 private:
  ChildChannel(SpawnedChild spawned, SharedStatusPage page)
      : pid_(spawned.pid),
        channel_(std::move(spawned.channel)),
        pidfd_(std::move(spawned.pidfd)),
        output_(std::move(spawned.output)),
        page_(std::move(page)) {}

  pid_t pid_;
  UniqueFd channel_;
  UniqueFd pidfd_;  // keeps the child's identity while this lives
  UniqueFd output_;
  SharedStatusPage page_;
  std::string out_;
  size_t out_sent_ = 0;
  std::string input_;
  uint64_t received_ = 0;  // bytes of the child's stream read from the socket
  uint64_t taken_ = 0;     // and taken from there or from the outbox; never less
};

}  // namespace joinq
