// The daemon's end of one child: what is to be sent to it, what came back, its
// status page. Not thread-safe. Does not wait for anything, does not parse, does
// not know when the child ends (the zygote reports that).
#pragma once

#include <sys/types.h>

#include <deque>
#include <string>
#include <string_view>

#include "worker/process/payload_store.h"
#include "worker/process/result_reader.h"
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

  // Adds a frame to send; if its payload lies in `memory`, with its descriptor.
  void Append(std::string_view frame, PayloadMemoryPtr memory = nullptr) {
    if (memory != nullptr) out_memories_.push_back({out_.size(), std::move(memory)});
    out_.append(frame);
  }
  // Sends what the socket takes. kBlocked: call again when it is writable, kLater: in a while.
  // kBroken: the child is gone or going; nothing more can be sent.
  enum class Sent { kAll, kBlocked, kLater, kBroken };
  Sent Send();
  // The child is dead: forgets what was not sent.
  void DropUnsent();

  // SIGKILL to that process, whoever is in its group.
  void Kill() const;
  // Waits up to `timeout_ms` for the child's death. False if it lives on.
  bool WaitDead(int timeout_ms) const;

  // The child reads the end once it has read what was sent.
  void CloseWrites();

  // Reads once into `scratch` (of `size` bytes). What is new of it is appended
  // to what was left, see input(). False: nothing there now, or the end.
  bool Receive(char* scratch, size_t size, bool& end);
  // Takes what the child has gathered but not sent. False if there is nothing.
  bool Peek();
  // The payload of a result among these that is `large`: the first `bytes` of memory `id`,
  // good until KeepInput, then the child's to write again. The error says what the child did wrong.
  absl::StatusOr<std::string_view> ReadLarge(uint32_t id, size_t bytes, bool fresh) {
    ++large_read_;
    return results_.Read(id, bytes, fresh);
  }
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
  struct OutMemory {
    size_t at;  // in out_: its frame begins here
    PayloadMemoryPtr memory;
  };
  std::deque<OutMemory> out_memories_;  // not sent yet
  ResultReader results_;
  uint64_t large_read_ = 0;
  std::string input_;
  uint64_t received_ = 0;  // bytes of the child's stream read from the socket
  uint64_t taken_ = 0;     // and taken from there or from the outbox; never less
};

}  // namespace joinq
