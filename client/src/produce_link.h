// One Produce stream from its start to its end: the gRPC plumbing, no rules.
//
// Every operation started gives one Event on the completion queue; the object must
// live until Done. Start, Read and Finish are called by the draining thread only;
// Write by one thread at a time, the next one after its event.
#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/async_stream.h>

#include <memory>

#include "joinq/v1/task.grpc.pb.h"

namespace joinq::internal {

class ProduceLink {
 public:
  enum class Event { kStarted, kRead, kWritten, kFinished, kWake };
  // What the completion queue's tags point to. `link` is null for kWake.
  struct Tag {
    Event event;
    ProduceLink* link;
  };
  // Wakes the thread that drains a completion queue.
  class Waker {
   public:
    void Wake(grpc::CompletionQueue* queue) { alarm_.Set(queue, gpr_time_0(GPR_CLOCK_MONOTONIC), &tag_); }

   private:
    Tag tag_{Event::kWake, nullptr};
    grpc::Alarm alarm_;
  };

  ProduceLink(const std::shared_ptr<grpc::Channel>& channel, grpc::CompletionQueue* queue)
      : stub_(v1::TaskService::NewStub(channel)), stream_(stub_->PrepareAsyncProduce(&context_, queue)) {}

  void Start() { stream_->StartCall(&started_); }
  void Read() { stream_->Read(&response_, &read_); }
  // `request` is packed before this returns.
  void Write(const v1::ProduceRequest& request) { stream_->Write(request, &written_); }
  void WritesDone() { stream_->WritesDone(&written_); }
  void Cancel() { context_.TryCancel(); }
  void Finish() { stream_->Finish(&status_, &finished_); }

  v1::ProduceResponse& response() { return response_; }
  const grpc::Status& status() const { return status_; }

  // What the owner notes about it; by the owner's lock.
  bool broken = false;  // an operation failed: no new ones but Finish
  bool welcomed = false;
  bool reading = false;
  bool finishing = false;

 private:
  grpc::ClientContext context_;
  std::unique_ptr<v1::TaskService::Stub> stub_;
  std::unique_ptr<grpc::ClientAsyncReaderWriter<v1::ProduceRequest, v1::ProduceResponse>> stream_;
  v1::ProduceResponse response_;  // reused for every read
  grpc::Status status_;
  Tag started_{Event::kStarted, this};
  Tag read_{Event::kRead, this};
  Tag written_{Event::kWritten, this};
  Tag finished_{Event::kFinished, this};
};

}  // namespace joinq::internal
