// The engine of puts and submits: one Produce stream, many tasks a message.
//
// A submitting thread appends its task to the message that gathers and, if no
// write is in flight, starts the write itself, so a lone task waits for nobody;
// while a write is in flight the next message fills up. The loop's thread tells the
// sinks of acknowledgements and outcomes.
//
// Life: connects with the first submit. When the stream breaks it reconnects with
// backoff, sends every unacknowledged put again under its old tag, in the old
// order, and asks anew for the outcomes it still awaits; after `unavailable_after`
// without a broker every sink is told kUnavailable and the engine rests until the
// next submit. Every submitted task ends with exactly one last call of its sink,
// unless it is withdrawn.
//
// Threads: any. Submit blocks while the window of unacknowledged puts is full.
#pragma once

#include <grpcpp/channel.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "client/src/event_loop.h"
#include "client/src/outgoing.h"
#include "client/src/pending_puts.h"
#include "client/src/stream_link.h"
#include "common/backoff.h"
#include "joinq/v1/task.grpc.pb.h"

namespace joinq::internal {

using ProduceLink = StreamLink<v1::ProduceRequest, v1::ProduceResponse>;

class Producer : public EventLoop::Member {
 public:
  using Clock = EventLoop::Clock;
  static constexpr auto kNever = EventLoop::kNever;
  struct Options {
    std::string address;  // for error messages
    std::string name;
    std::chrono::milliseconds unavailable_after{30'000};
    std::chrono::milliseconds linger{5'000};
    uint32_t window_tasks = 16'384;
    uint64_t window_bytes = 64u << 20;
  };

  // A channel for each stream, so that this engine's backoff is the only one.
  using MakeChannel = std::function<std::shared_ptr<grpc::Channel>()>;

  // The loop must outlive it, and be stopped before it goes.
  Producer(EventLoop* loop, MakeChannel make_channel, Options options);
  ~Producer();
  Producer(const Producer&) = delete;
  Producer& operator=(const Producer&) = delete;

  // Returns the tag, or kDeadlineExceeded (the window stayed full until `deadline`),
  // or kInvalidArgument (the payload fits no message). `more`: do not send for this
  // task alone, another submit or Flush follows at once.
  absl::StatusOr<uint64_t> Submit(const std::shared_ptr<const PutSpec>& spec, std::string_view payload,
                                  std::shared_ptr<ResultSink> sink, uint64_t cookie, bool more = false,
                                  Clock::time_point deadline = Clock::time_point::max());
  void Flush();
  // The submitter's interest ended: no more calls of the sink from now on (one may
  // be under way), and the put is not sent (again) after a broken connection.
  void Withdraw(uint64_t tag);
  // Waits up to `linger` for puts that are not acknowledged, if a broker is there, and
  // ends the stream. The last call.
  void Close();

  void OnEvent(EventLoop::Tag* tag, bool ok) override;
  void OnTime(Clock::time_point now) override;
  Clock::time_point NextTime() override;

 private:
  struct Fired;  // a call of a sink to be made once the lock is released
  using Lock = std::unique_lock<std::mutex>;

  void HandleStarted(Lock& lock, ProduceLink& link);
  void HandleResponse(ProduceLink& link);
  void FinishIfQuiet(ProduceLink& link) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  void StartWriteIfIdle(Lock& lock);
  void AddControlFields(v1::ProduceRequest* request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Connect() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Requeue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void LinkBroke(const absl::Status& status);
  void GiveUp(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status GiveUpStatus() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  void TakeAcks(const v1::ProduceResponse& response) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TakeErrors(const v1::ProduceResponse& response) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TakeResults(v1::ProduceResponse* response) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Settle(PendingPut* put) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void NotifyWindow() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool WindowFull(size_t bytes) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Makes the calls gathered in fired_; by the loop's thread, without the lock.
  void Fire();
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return puts_.live() > 0; }

  const Options options_;
  const MakeChannel make_channel_;
  const uint64_t producer_id_;
  EventLoop* const loop_;

  // A lock, since callers append and start writes on their own threads: handing each
  // task to one owning thread would cost a wake-up (35 us and more) a task.
  std::mutex mutex_;
  std::condition_variable window_free_;  // also: nothing unacknowledged any more; closed
  PendingPuts puts_ ABSL_GUARDED_BY(mutex_);
  Outgoing outgoing_ ABSL_GUARDED_BY(mutex_);
  uint32_t unacked_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t unacked_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  uint32_t window_waiters_ ABSL_GUARDED_BY(mutex_) = 0;
  std::shared_ptr<ProduceLink> link_ ABSL_GUARDED_BY(mutex_);
  bool can_write_ ABSL_GUARDED_BY(mutex_) = false;  // the link is up and its hello is out
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  std::shared_ptr<OutMessage> writing_message_ ABSL_GUARDED_BY(mutex_);
  bool corked_ ABSL_GUARDED_BY(mutex_) = false;          // the last submit said that more follows
  bool lingering_ ABSL_GUARDED_BY(mutex_) = false;       // the destructor waits for what is under way
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;        // the link is to end
  bool started_ ABSL_GUARDED_BY(mutex_) = false;         // there was a submit
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;          // it has ended; nothing more happens
  std::vector<uint64_t> taken_ ABSL_GUARDED_BY(mutex_);  // results to be told as taken
  std::vector<std::pair<uint64_t, uint64_t>> watches_ ABSL_GUARDED_BY(mutex_);  // tag, task: to be sent
  uint32_t payload_bytes_max_ ABSL_GUARDED_BY(mutex_) = 0;  // as the broker says; 0: unknown
  Clock::time_point give_up_at_ ABSL_GUARDED_BY(mutex_) = Clock::time_point::max();
  Clock::time_point reconnect_at_ ABSL_GUARDED_BY(mutex_) = Clock::time_point::max();
  absl::Status last_error_ ABSL_GUARDED_BY(mutex_);
  Backoff backoff_ ABSL_GUARDED_BY(mutex_);

  std::vector<Fired> fired_;  // of the loop's thread, reused
};

}  // namespace joinq::internal
