// The client's living presence at the broker: one SessionService.Keep stream a client,
// on which the leases of its gets hang.
//
// Life: connects with the first Ready, beats every third of the broker's session
// timeout, reconnects for ever with backoff and says which leases are still held.
// Against a broker without sessions it rests, and Ready says so.
//
// Threads: any; events come from the loop's.
#pragma once

#include <joinq/task.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "client/src/event_loop.h"
#include "client/src/stream_link.h"
#include "common/backoff.h"
#include "joinq/v1/session.grpc.pb.h"

namespace joinq::internal {

// What a task's handles know of their lease.
struct HeldLease {
  std::atomic<bool> cancelled{false};  // it is no longer theirs: the broker said so
  bool told = false;                   // the broker knows that it arrived; the session's
};

class Session : public EventLoop::Member {
 public:
  using Clock = EventLoop::Clock;
  using MakeChannel = std::function<std::shared_ptr<grpc::Channel>()>;

  // `name` for people; may be empty. The loop must outlive it, and be stopped before it goes.
  Session(EventLoop* loop, MakeChannel make_channel, std::string name);
  ~Session();

  struct Ticket {
    uint64_t session_id = 0;  // 0: the broker has no sessions
    uint64_t stream = 0;      // for Doubt
  };
  // The session once its stream is up. An error if a try to open one failed meanwhile, or
  // none succeeded until `deadline`.
  absl::StatusOr<Ticket> Ready(Clock::time_point deadline);
  // The broker does not know the session: opens another stream, unless that was done
  // since the ticket was given.
  void Doubt(const Ticket& ticket);

  // Remembers a lease of this session until it is dropped, or all who hold what this
  // returns are gone.
  std::shared_ptr<HeldLease> Hold(const Lease& lease);
  void Drop(const Lease& lease);
  // Once the stream is up: whether all of these are still the session's, as far as the
  // broker has said. False if it does not come up until `deadline`.
  bool AwaitHolding(const std::vector<Lease>& leases, Clock::time_point deadline);
  // The last handle of a task is gone: if it was not dropped before, the broker is told soon.
  void Abandon(const Lease& lease);

  // Ends the stream in order, so that the broker gives back what is held; waits for it, but
  // not long. The last call.
  void Close();

  void OnEvent(EventLoop::Tag* tag, bool ok) override;
  void OnTime(Clock::time_point now) override;
  Clock::time_point NextTime() override {
    return Clock::time_point(Clock::duration(next_time_.load(std::memory_order_relaxed)));
  }

 private:
  using Link = StreamLink<v1::SessionRequest, v1::SessionResponse>;
  using Lock = std::unique_lock<std::mutex>;
  using Key = std::tuple<uint64_t, uint64_t, uint64_t>;  // a Lease

  void Connect() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SendHello() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TakeResponse(const v1::SessionResponse& response) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TakeCancel(const v1::Lease& lease) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FinishIfQuiet() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void LinkEnded() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Leave() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PurgeHeld() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Beat() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SetNextTime() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const uint64_t session_id_;
  const std::string name_;
  const MakeChannel make_channel_;
  EventLoop* const loop_;
  std::atomic<Clock::rep> next_time_;

  // A lock, since callers wait for the stream and note leases on their own threads.
  std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<Link> link_ ABSL_GUARDED_BY(mutex_);
  bool wanted_ ABSL_GUARDED_BY(mutex_) = false;   // somebody asked for it
  bool up_ ABSL_GUARDED_BY(mutex_) = false;       // the stream was welcomed
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;  // on the stream, the hello included
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  bool leaving_ ABSL_GUARDED_BY(mutex_) = false;      // the broker was told, or is being told
  bool half_closed_ ABSL_GUARDED_BY(mutex_) = false;  // and nothing more is written
  uint64_t streams_ ABSL_GUARDED_BY(mutex_) = 0;      // welcomed so far
  uint64_t failures_ ABSL_GUARDED_BY(mutex_) = 0;     // streams that ended, welcomed or not
  absl::Status last_error_ ABSL_GUARDED_BY(mutex_);
  Backoff backoff_ ABSL_GUARDED_BY(mutex_);
  Clock::duration beat_every_ ABSL_GUARDED_BY(mutex_){};
  Clock::time_point beat_at_ ABSL_GUARDED_BY(mutex_) = EventLoop::kNever;
  Clock::time_point welcome_by_ ABSL_GUARDED_BY(mutex_) = EventLoop::kNever;
  Clock::time_point reconnect_at_ ABSL_GUARDED_BY(mutex_) = EventLoop::kNever;
  // The broker had no sessions when last asked; it is asked again after this.
  Clock::time_point unsupported_until_ ABSL_GUARDED_BY(mutex_) = Clock::time_point::min();

  absl::flat_hash_map<Key, std::weak_ptr<HeldLease>> held_ ABSL_GUARDED_BY(mutex_);
  size_t purge_held_at_ ABSL_GUARDED_BY(mutex_) = 64;
  std::deque<Key> dropped_ ABSL_GUARDED_BY(mutex_);  // to be told to the broker
  // Cancels of leases whose get has not returned yet.
  std::deque<Key> early_cancels_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace joinq::internal
