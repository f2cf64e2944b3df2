// The worker's stream to the broker: hello and welcome, deliveries in,
// completions, credit and heartbeats out, reconnecting for ever with a jittered
// backoff.
//
// Threading: one thread drains the gRPC completion queue. All state is guarded
// by the mutex of the owner, which is locked around every call of LinkEvents and
// must be held around every method marked with it. The mutex is shared because
// a delivery read here goes straight into a child's socket, and a child's
// result read there straight into the stream: handing either to another thread
// would cost a wake-up, which is far dearer than the lock. Nothing blocks while
// it is held.
//
// Writes: one is in flight at a time; what comes meanwhile is gathered and goes
// with the next one.
#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>

#include <chrono>
#include <deque>
#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/backoff.h"
#include "common/net_address.h"
#include "joinq/v1/worker.grpc.pb.h"
#include "worker/link/completion_log.h"

namespace joinq {

// What the owner of a Link is told, on the link's thread, with the mutex held.
// It may call the link's methods from here. Must not block.
class LinkEvents {
 public:
  virtual ~LinkEvents() = default;
  // Fill in who the worker is and every lease it holds; leases whose completion
  // is on its way are added by the link.
  virtual void OnHello(v1::WorkerHello& hello) = 0;
  // The stream is open. All credit given before is void.
  virtual void OnWelcome(const v1::WorkerWelcome& welcome) = 0;
  virtual void OnResponse(const v1::WorkResponse& response) = 0;
  // Completions were acknowledged.
  virtual void OnAcked() = 0;
  // A stream that was welcomed has broken.
  virtual void OnBroken() = 0;
  // After Close: the broker has seen the end of the stream, or it broke.
  virtual void OnClosed() = 0;
};

class Link {
 public:
  // `mutex` and `events` must outlive the link.
  Link(NetAddress broker, absl::Mutex& mutex, LinkEvents& events);
  ~Link();  // as Stop

  // Connects, in the background.
  void Start() ABSL_LOCKS_EXCLUDED(mutex_);
  // Cancels whatever goes on and joins the thread. Nothing is called back after it.
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);

  // A cleared completion to fill in, to go out with the next Flush.
  v1::Completion* AddCompletion(size_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return log_.Add(bytes);
  }
  void AddCredit(uint32_t credit) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { credit_ += credit; }
  v1::WorkerStatus& AddStatus() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    has_status_ = true;
    return status_;
  }
  // Goes with a later message; the newest of a task counts. Lost if the stream breaks.
  void AddProgress(v1::ProgressReport report) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Likewise. Lost if the stream breaks.
  v1::StartedProcess& AddStarted() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return *started_.add_started(); }
  // Go with a later message, likewise lost if the stream breaks. The answers about output
  // wait only up to a bound; beyond it one says that nothing was found.
  void AddStopped(v1::StoppedWork stopped) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AddLog(v1::TaskLogAnswer answer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Says "draining" now and on every later stream; credit is void from here on.
  void SetDraining() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Sends what there is, unless a write is in flight, after which it goes by itself.
  void Flush() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Ends the stream and opens another, with a new hello.
  void Renew() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Ends the stream in order once everything is sent; OnClosed follows.
  void Close() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Gives up on a stream that was not welcomed in time. Call it every second or so.
  void CheckWelcome() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  bool connected() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return welcomed_; }
  size_t pending_completions() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return log_.pending(); }
  // Visits the completions that are not acknowledged.
  void ForEachPending(const std::function<void(const v1::Completion&)>& visit) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    log_.ForEachPending(visit);
  }

 private:
  enum Tag : intptr_t { kStarted = 1, kRead, kWritten, kWritesDone, kFinished, kRetry };
  using Stream = grpc::ClientAsyncReaderWriter<v1::WorkRequest, v1::WorkResponse>;
  using Clock = std::chrono::steady_clock;

  static void* AsTag(Tag tag) { return reinterpret_cast<void*>(static_cast<intptr_t>(tag)); }
  void Drain() ABSL_LOCKS_EXCLUDED(mutex_);
  void Handle(Tag tag, bool ok) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Connect() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SendHello() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Welcomed(const v1::WorkerWelcome& welcome) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnRead(bool ok) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Marks the stream broken and finishes it once no operation is left on it.
  void Broken() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FinishIfIdle() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnFinished() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void LogFailure() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool has_control() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AddControl(v1::WorkRequest& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Write(const v1::WorkRequest& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const NetAddress broker_;
  absl::Mutex& mutex_;
  LinkEvents& events_;
  std::unique_ptr<v1::WorkerService::Stub> stub_;
  grpc::CompletionQueue queue_;
  std::thread thread_;
  bool queue_shut_ ABSL_GUARDED_BY(mutex_) = false;

  std::unique_ptr<grpc::ClientContext> context_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<Stream> stream_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<grpc::Alarm> retry_ ABSL_GUARDED_BY(mutex_);
  // Read into by gRPC while a read is in flight; touched by the link's thread only.
  v1::WorkResponse response_;
  v1::WorkRequest control_ ABSL_GUARDED_BY(mutex_);  // for messages without completions
  grpc::Status finish_status_ ABSL_GUARDED_BY(mutex_);
  Backoff backoff_ ABSL_GUARDED_BY(mutex_);
  Clock::time_point connect_started_ ABSL_GUARDED_BY(mutex_);
  Clock::time_point failure_logged_ ABSL_GUARDED_BY(mutex_);
  std::string logged_message_ ABSL_GUARDED_BY(mutex_);

  int operations_ ABSL_GUARDED_BY(mutex_) = 0;  // of the stream, in the queue
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool welcomed_ ABSL_GUARDED_BY(mutex_) = false;
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;
  bool finishing_ ABSL_GUARDED_BY(mutex_) = false;
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;  // Close was called
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;   // and the end was sent
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;

  CompletionLog log_ ABSL_GUARDED_BY(mutex_);
  std::deque<v1::ProgressReport> progress_ ABSL_GUARDED_BY(mutex_);
  v1::WorkRequest started_ ABSL_GUARDED_BY(mutex_);  // with processes that started only
  std::deque<v1::StoppedWork> stopped_ ABSL_GUARDED_BY(mutex_);
  std::deque<v1::TaskLogAnswer> logs_ ABSL_GUARDED_BY(mutex_);
  uint64_t epoch_ ABSL_GUARDED_BY(mutex_) = 0;  // the broker's, as of the last welcome
  uint32_t credit_ ABSL_GUARDED_BY(mutex_) = 0;
  bool has_status_ ABSL_GUARDED_BY(mutex_) = false;
  v1::WorkerStatus status_ ABSL_GUARDED_BY(mutex_);
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  bool draining_sent_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace joinq
