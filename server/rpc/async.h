// The plumbing of calls over a completion queue: every tag is an Event, a call is
// a coroutine, one thread runs it all. The services are a few straight lines each
// on top of this.
#pragma once

#include <grpcpp/completion_queue.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/async_stream.h>
#include <grpcpp/support/async_unary_call.h>

#include <coroutine>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

namespace joinq::rpc {

// What a completion queue's tag points at.
class Event {
 public:
  virtual void OnEvent(bool ok) = 0;

 protected:
  ~Event() = default;
};
inline void* TagOf(Event* event) {
  return event;
}

// A coroutine that nobody waits for: it starts at once and ends by itself.
struct Detached {
  struct promise_type {
    Detached get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};

// co_await Op([&](void* tag) { ...start an operation with tag... }) is its `ok`.
template <typename Start>
class Op final : public Event {
 public:
  explicit Op(Start start) : start_(start) {}
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiter) {
    waiter_ = waiter;
    start_(TagOf(this));
  }
  bool await_resume() const noexcept { return ok_; }
  void OnEvent(bool ok) override {
    ok_ = ok;
    waiter_.resume();
  }

 private:
  Start start_;
  std::coroutine_handle<> waiter_;
  bool ok_ = false;
};

// A coroutine waits for something that the same thread will do later.
class Signal {
 public:
  bool await_ready() const noexcept { return set_; }
  void await_suspend(std::coroutine_handle<> waiter) { waiter_ = waiter; }
  void await_resume() noexcept { set_ = false; }
  void Set() {
    if (auto waiter = std::exchange(waiter_, nullptr)) {
      waiter.resume();
    } else {
      set_ = true;
    }
  }
  bool waited() const { return waiter_ != nullptr; }

 private:
  bool set_ = false;
  std::coroutine_handle<> waiter_;
};

// Tells when a call is over, however it ended; keeps the call alive until then.
class DoneNotice final : public Event {
 public:
  // Before the call is requested. `on_done` gets whether it was cancelled.
  void Watch(grpc::ServerContext* context) { context->AsyncNotifyWhenDone(TagOf(this)); }
  // Once the call has started; a call that never starts is never notified.
  void Keep(std::shared_ptr<void> call, std::function<void()> on_done) {
    call_ = std::move(call);
    on_done_ = std::move(on_done);
  }
  void OnEvent(bool) override {
    done_ = true;
    auto call = std::move(call_);
    if (on_done_) on_done_();
    on_done_ = nullptr;
  }
  bool done() const { return done_; }

 private:
  bool done_ = false;
  std::shared_ptr<void> call_;
  std::function<void()> on_done_;
};

// The writing half of a stream: one write in flight, what comes next gathers in
// the following message. Message objects are reused.
template <typename Message>
class StreamWriter final : public Event {
 public:
  using WriteFunction = std::function<void(const Message&, void* tag)>;
  static constexpr size_t kMessageBytes = 1 << 20;  // a message that is larger takes no more
  static constexpr size_t kSpares = 4;

  void Open(WriteFunction write) { write_ = std::move(write); }
  // The message that the next item of about `bytes` goes into; call Flush later.
  // `fresh` says that it is an empty one.
  Message* Gather(size_t bytes, bool* fresh) {
    *fresh = gathering_ == nullptr || gathered_bytes_ + bytes > kMessageBytes;
    if (*fresh) {
      if (gathering_ != nullptr) full_.emplace_back(std::move(gathering_), gathered_bytes_);
      gathering_ = Spare();
      gathered_bytes_ = 0;
    }
    gathered_bytes_ += bytes;
    backlog_bytes_ += bytes;
    return gathering_.get();
  }
  // What comes next goes into another message than what was gathered before.
  void Split() {
    if (gathering_ == nullptr) return;
    full_.emplace_back(std::move(gathering_), gathered_bytes_);
    gathered_bytes_ = 0;
  }
  void Flush() {
    if (writing_ != nullptr || !write_) return;
    if (broken_) return DropGathered();
    if (!full_.empty()) {
      writing_ = std::move(full_.front().first);
      writing_bytes_ = full_.front().second;
      full_.pop_front();
    } else if (gathering_ != nullptr) {
      writing_ = std::move(gathering_);
      writing_bytes_ = gathered_bytes_;
    } else {
      return;
    }
    ++writes_;
    write_(*writing_, TagOf(this));
  }
  void OnEvent(bool ok) override {
    writing_->Clear();
    if (spares_.size() < kSpares) spares_.push_back(std::move(writing_));
    writing_ = nullptr;
    backlog_bytes_ -= writing_bytes_;
    if (!ok) broken_ = true;
    if (broken_) DropGathered();
    Flush();
    if (on_written) on_written();
  }
  void DropGathered() {
    full_.clear();
    gathering_ = nullptr;
    backlog_bytes_ = writing_ == nullptr ? 0 : writing_bytes_;
  }
  bool writing() const { return writing_ != nullptr; }
  size_t backlog_bytes() const { return backlog_bytes_; }
  uint64_t writes() const { return writes_; }

  std::function<void()> on_written;  // after every write, whatever became of it

 private:
  std::unique_ptr<Message> Spare() {
    if (spares_.empty()) return std::make_unique<Message>();
    auto message = std::move(spares_.back());
    spares_.pop_back();
    return message;
  }
  WriteFunction write_;
  std::unique_ptr<Message> writing_, gathering_;
  size_t writing_bytes_ = 0, gathered_bytes_ = 0, backlog_bytes_ = 0;
  std::deque<std::pair<std::unique_ptr<Message>, size_t>> full_;
  std::vector<std::unique_ptr<Message>> spares_;
  uint64_t writes_ = 0;
  bool broken_ = false;
};

}  // namespace joinq::rpc
