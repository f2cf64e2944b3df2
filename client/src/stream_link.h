// One stream from its start to its end: the gRPC plumbing, no rules.
//
// Every operation started gives one Event to the owner, on the loop's thread; the
// object must live until kFinished. Start, Read and Finish are called by the loop's
// thread only; Write by one thread at a time, the next one after its event.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/support/async_stream.h>

#include <memory>
#include <utility>

#include "client/src/event_loop.h"

namespace joinq::internal {

enum class StreamEvent { kStarted, kRead, kWritten, kFinished };

// What the loop hands to the owner of a link.
struct StreamTag : EventLoop::Tag {
  StreamEvent event;
};

template <typename Request, typename Response>
class StreamLink {
 public:
  using Stream = grpc::ClientAsyncReaderWriter<Request, Response>;

  // `prepare` is the stub's PrepareAsync method of the call.
  template <typename Stub>
  StreamLink(std::unique_ptr<Stub> stub,
             std::unique_ptr<Stream> (Stub::*prepare)(grpc::ClientContext*, grpc::CompletionQueue*),
             EventLoop* loop, EventLoop::Member* owner)
      : started_{{owner}, StreamEvent::kStarted},
        read_{{owner}, StreamEvent::kRead},
        written_{{owner}, StreamEvent::kWritten},
        finished_{{owner}, StreamEvent::kFinished} {
    stream_ = ((*stub).*prepare)(&context_, loop->queue());
    stub_ = std::move(stub);
  }

  void Start() { stream_->StartCall(&started_); }
  void Read() { stream_->Read(&response_, &read_); }
  // `request` is packed before this returns.
  void Write(const Request& request) { stream_->Write(request, &written_); }
  void WritesDone() { stream_->WritesDone(&written_); }
  void Cancel() { context_.TryCancel(); }
  void Finish() { stream_->Finish(&status_, &finished_); }

  Response& response() { return response_; }
  const grpc::Status& status() const { return status_; }

  // What the owner notes about it; by the owner's lock.
  bool broken = false;  // an operation failed: no new ones but Finish
  bool welcomed = false;
  bool reading = false;
  bool finishing = false;

 private:
  grpc::ClientContext context_;
  std::shared_ptr<void> stub_;  // keeps the channel
  std::unique_ptr<Stream> stream_;
  Response response_;  // reused for every read
  grpc::Status status_;
  StreamTag started_;
  StreamTag read_;
  StreamTag written_;
  StreamTag finished_;
};

}  // namespace joinq::internal
