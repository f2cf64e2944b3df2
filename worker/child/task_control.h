// What a handler can ask of the child that runs it.
#pragma once

#include <mutex>
#include <string>

#include "joinq/v1/worker.pb.h"
#include "joinq/worker.h"
#include "worker/child/result_sender.h"

namespace joinq {

// For one task at a time, begun by Begin. The methods of TaskControl may be called
// by any thread of the handler while it runs: hence the mutexes.
class ChildTaskControl final : public TaskControl {
 public:
  // `lane` is its index in the page.
  ChildTaskControl(StatusPage& page, uint32_t lane, ResultSender& sender)
      : page_(page), index_(lane), lane_(page.lanes[lane]), sender_(sender) {}

  void Begin(uint64_t number) {
    number_ = number;
    if (count_ > 0) TakeFollowUps();  // of one that failed
  }
  // What was put, as a Completion with follow-ups only; empty if nothing was.
  std::string TakeFollowUps();

  bool cancelled() const override { return lane_.cancel_number.load(std::memory_order_acquire) == number_; }
  bool soft_time_limit_passed() const override {
    return lane_.soft_number.load(std::memory_order_acquire) == number_;
  }
  void Progress(std::string_view text) override;
  void Put(std::string_view queue, std::string_view handler, std::string_view payload,
           const FollowUpOptions& options) override;

 private:
  StatusPage& page_;
  const uint32_t index_;
  const StatusLane& lane_;
  ResultSender& sender_;
  uint64_t number_ = 0;
  std::mutex mutex_;
  v1::Completion put_;
  size_t count_ = 0;
  size_t bytes_ = 0;
};

}  // namespace joinq
