// What the two long-lived streams share: accept, read one message after the
// other, write through a StreamWriter, end in order.
#pragma once

#include <memory>
#include <string_view>
#include <utility>

#include "common/rpc_status.h"
#include "server/rpc/async.h"
#include "server/rpc/core_loop.h"
#include "server/rpc/target.h"

namespace joinq::rpc {

inline constexpr size_t kBacklogBytesToPause = 8 << 20;  // unread by the peer: we stop reading, too
inline constexpr size_t kBacklogBytesMax = 256 << 20;    // ... and here the stream ends
inline constexpr core::Millis kStalledMax{60'000};       // a write that takes longer ends the stream

template <typename Request, typename Response>
class StreamCall : public Target {
 public:
  explicit StreamCall(CoreLoop* loop) : loop_(loop), stream_(&context_) {}

  void Flush() override {
    if (!finishing_) writer_.Flush();
  }
  void Close() override { End(absl::UnavailableError("the broker is stopping")); }
  void CheckStalled(core::Time now) override {
    if (!writer_.writing() || writer_.writes() != stalled_write_) {
      stalled_write_ = writer_.writes();
      stalled_since_ = now;
    }
    if (writer_.writing() && now - stalled_since_ > kStalledMax) context_.TryCancel();
    if (writer_.backlog_bytes() > kBacklogBytesMax) context_.TryCancel();
  }

 protected:
  // Reads and serves until the peer or the broker ends it. `self` keeps the call.
  Detached Run(std::shared_ptr<StreamCall> self) {
    self_ = self;
    // Also when nothing is being read because too much is waiting already.
    done_.Keep(self, [this] { End(absl::OkStatus()); });
    id_ = loop_->targets().NewCaller();
    loop_->targets().Add(id_, this);
    writer_.Open([this](const Response& message, void* tag) { stream_.Write(message, tag); });
    writer_.on_written = [this] {
      if (may_read_.waited() && MayRead()) may_read_.Set();
      drained_.Set();
    };
    if (loop_->stopping()) End(absl::UnavailableError("the broker is stopping"));
    while (!ended_ && co_await Op([this](void* tag) { stream_.Read(&request_, tag); })) {
      if (ended_) break;
      if (absl::Status bad = Serve(request_); !bad.ok()) End(std::move(bad));
      if (!ended_ && !MayRead()) co_await may_read_;
    }
    End(absl::OkStatus());  // the peer has gone, or sends no more
  }

  // One message; an error ends the stream with it.
  virtual absl::Status Serve(const Request& request) = 0;
  // Whether the next message may be read now; asked again after each write.
  virtual bool MayRead() { return writer_.backlog_bytes() < kBacklogBytesToPause; }

  // The first call decides how the stream ends; what was gathered goes out first
  // unless it ends with an error.
  void End(absl::Status status) {
    if (ended_) return;
    ended_ = true;
    loop_->broker().CallerGone(id_);
    if (!status.ok()) writer_.DropGathered();
    FinishCall(std::exchange(self_, nullptr), ToGrpc(status));
    may_read_.Set();
  }

  CoreLoop* const loop_;
  core::CallerId id_ = core::kNobody;
  grpc::ServerContext context_;
  grpc::ServerAsyncReaderWriter<Response, Request> stream_;
  StreamWriter<Response> writer_;
  DoneNotice done_;  // Watch it before the call is requested

 private:
  // A read may still be pending: it comes back empty once the status is out.
  Detached FinishCall([[maybe_unused]] std::shared_ptr<StreamCall> self, grpc::Status status) {
    // Still a target until then, so that a peer that never reads is noticed (CheckStalled).
    writer_.Flush();
    while (writer_.writing()) co_await drained_;
    finishing_ = true;
    loop_->targets().Remove(id_);
    co_await Op([&](void* tag) { stream_.Finish(status, tag); });
  }

  std::shared_ptr<StreamCall> self_;  // until the end is under way
  Request request_;
  Signal may_read_, drained_;
  bool ended_ = false;
  bool finishing_ = false;
  uint64_t stalled_write_ = 0;
  core::Time stalled_since_{};
};

}  // namespace joinq::rpc
