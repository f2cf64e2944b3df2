// One thread that drains a completion queue for the streams of a connection and keeps
// their time. It starts with the first Start().
#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/completion_queue.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>
#include <vector>

namespace joinq::internal {

class EventLoop {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr auto kNever = Clock::time_point::max();

  class Member;
  // What the queue's tags point to; its member is told of the event.
  struct Tag {
    Member* member;  // null for the loop's own
  };
  // All calls come from the loop's thread; they must not block.
  class Member {
   public:
    virtual void OnEvent(Tag* tag, bool ok) = 0;
    // After every event, and once NextTime has come.
    virtual void OnTime(Clock::time_point now) = 0;
    virtual Clock::time_point NextTime() = 0;

   protected:
    ~Member() = default;
  };

  EventLoop() = default;
  ~EventLoop() { Stop(); }
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Before the first Start. A member must outlive Stop.
  void Add(Member* member) { members_.push_back(member); }
  // Starts the thread unless it runs. Any thread.
  void Start();
  // Has every member's OnTime called soon. Any thread.
  void Wake();
  // Ends the thread. No operation may be under way any more, nor begin.
  void Stop();

  grpc::CompletionQueue* queue() { return &queue_; }

 private:
  void Run();
  std::chrono::system_clock::time_point NextTime();

  grpc::CompletionQueue queue_;
  std::vector<Member*> members_;
  Tag wake_tag_{nullptr};
  std::atomic<bool> wake_pending_{false};
  grpc::Alarm alarm_;
  // A lock, since any thread may be the first to start it.
  std::mutex mutex_;
  std::thread thread_;
  bool stopped_ = false;
};

}  // namespace joinq::internal
