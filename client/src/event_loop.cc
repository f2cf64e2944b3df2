#include "client/src/event_loop.h"

#include <algorithm>

namespace joinq::internal {

void EventLoop::Start() {
  std::lock_guard lock(mutex_);
  if (!thread_.joinable() && !stopped_) thread_ = std::thread([this] { Run(); });
}

void EventLoop::Wake() {
  if (wake_pending_.exchange(true)) return;
  alarm_.Set(&queue_, gpr_time_0(GPR_CLOCK_MONOTONIC), &wake_tag_);
}

void EventLoop::Stop() {
  std::lock_guard lock(mutex_);
  if (stopped_) return;
  stopped_ = true;
  queue_.Shutdown();
  if (thread_.joinable()) {
    thread_.join();
  } else {
    void* tag;
    bool ok;
    while (queue_.Next(&tag, &ok)) {
    }
  }
}

void EventLoop::Run() {
  while (true) {
    void* tag = nullptr;
    bool ok = false;
    switch (queue_.AsyncNext(&tag, &ok, NextTime())) {
      case grpc::CompletionQueue::SHUTDOWN:
        return;
      case grpc::CompletionQueue::GOT_EVENT:
        if (auto* event = static_cast<Tag*>(tag); event->member != nullptr) {
          event->member->OnEvent(event, ok);
        } else {
          wake_pending_.store(false);
        }
        break;
      case grpc::CompletionQueue::TIMEOUT:
        break;
    }
    const auto now = Clock::now();
    for (Member* member : members_) member->OnTime(now);
  }
}

// As the completion queue takes it.
std::chrono::system_clock::time_point EventLoop::NextTime() {
  auto when = kNever;
  for (Member* member : members_) when = std::min(when, member->NextTime());
  if (when == kNever) return std::chrono::system_clock::time_point::max();
  const auto left = std::max(when - Clock::now(), Clock::duration::zero());
  return std::chrono::system_clock::now() + std::chrono::ceil<std::chrono::microseconds>(left);
}

}  // namespace joinq::internal
