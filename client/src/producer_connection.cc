// The producer's stream: its thread, connecting, reconnecting, and what is sent again.
#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"
#include "client/src/producer.h"
#include "common/rpc_status.h"

namespace joinq::internal {
namespace {

using State = PendingPut::State;
using Event = StreamEvent;
using Clock = Producer::Clock;

// Errors that trying again will not cure.
bool IsFinal(const absl::Status& status) {
  return absl::IsUnauthenticated(status) || absl::IsPermissionDenied(status) ||
         absl::IsUnimplemented(status) || absl::IsInvalidArgument(status) ||
         absl::IsFailedPrecondition(status);
}

}  // namespace

Clock::time_point Producer::NextTime() {
  std::lock_guard lock(mutex_);
  return link_ ? give_up_at_ : std::min(give_up_at_, reconnect_at_);
}

void Producer::OnTime(Clock::time_point now) {
  Lock lock(mutex_);
  if (now >= give_up_at_) {
    GiveUp(GiveUpStatus());
    give_up_at_ = kNever;
    if (link_) {
      link_->broken = true;
      can_write_ = false;
      link_->Cancel();
    }
  } else if (!link_ && now >= reconnect_at_ && !stopping_) {
    Connect();
  }
  const bool closing = stopping_ && !link_ && !closed_;
  if (closing) GiveUp(absl::UnavailableError("the client was closed"));
  lock.unlock();
  Fire();
  if (!closing) return;
  lock.lock();
  closed_ = true;
  window_free_.notify_all();
}

void Producer::Connect() {
  reconnect_at_ = kNever;
  can_write_ = writing_ = false;
  link_ = std::make_shared<ProduceLink>(v1::TaskService::NewStub(make_channel_()),
                                        &v1::TaskService::Stub::PrepareAsyncProduce, loop_, this);
  link_->Start();
}

void Producer::OnEvent(EventLoop::Tag* tag, bool ok) {
  const Event event = static_cast<StreamTag*>(tag)->event;
  Lock lock(mutex_);
  auto link = link_;
  if (event == Event::kFinished) {
    link_.reset();
    lock.unlock();
    LinkBroke(FromGrpc(link->status()));
    return;
  }
  if (event == Event::kWritten) {
    writing_ = false;
    writing_message_.reset();
  }
  if (event == Event::kRead) link->reading = false;
  if (!ok || link->broken) {
    link->broken = true;
    can_write_ = false;
    if (event == Event::kWritten) link->Cancel();  // so that the read ends too
    FinishIfQuiet(*link);
    return;
  }
  if (event == Event::kStarted) {
    HandleStarted(lock, *link);
  } else if (event == Event::kWritten) {
    if (stopping_ && can_write_) {
      can_write_ = false;
      writing_ = true;
      link->WritesDone();
    } else {
      StartWriteIfIdle(lock);
    }
  } else {
    lock.unlock();
    HandleResponse(*link);
  }
}

void Producer::HandleStarted(Lock& lock, ProduceLink& link) {
  link.reading = true;
  can_write_ = true;
  writing_ = true;  // the hello
  lock.unlock();
  v1::ProduceRequest request;
  request.mutable_hello()->set_producer_id(producer_id_);
  request.mutable_hello()->set_name(options_.name);
  link.Write(request);
  link.Read();
}

void Producer::FinishIfQuiet(ProduceLink& link) {
  if (link.reading || writing_ || link.finishing) return;
  link.finishing = true;
  link.Finish();
}
// ---------------------------------------------------------------- broken streams

void Producer::LinkBroke(const absl::Status& status) {
  Lock lock(mutex_);
  can_write_ = writing_ = false;
  last_error_ = status;
  if (stopping_) {
    give_up_at_ = reconnect_at_ = kNever;
  } else if (IsFinal(status)) {
    GiveUp(status);
  } else if (!HasWork()) {
    watches_.clear();
    give_up_at_ = reconnect_at_ = kNever;
  } else {
    Requeue();
    const auto now = Clock::now();
    if (give_up_at_ == kNever) give_up_at_ = now + options_.unavailable_after;
    reconnect_at_ = now + backoff_.Next();
  }
  lock.unlock();
  Fire();
}

void Producer::Requeue() {
  outgoing_.Rebuild(
      [this](uint64_t tag) {
        PendingPut* put = puts_.Find(tag);
        return put != nullptr && put->state == State::kUnacked;
      },
      [this](uint64_t tag, OutMessage* message) { puts_.Find(tag)->message = message; });
  watches_.clear();
  puts_.ForEach([this](uint64_t tag, PendingPut& put) {
    if (put.state == State::kAwaiting) watches_.emplace_back(tag, put.task_id);
  });
}

absl::Status Producer::GiveUpStatus() const {
  const auto seconds = std::chrono::duration<double>(options_.unavailable_after).count();
  if (link_ && last_error_.ok()) {
    return absl::UnavailableError(
        absl::StrFormat("no answer from the broker at %s for %g s", options_.address, seconds));
  }
  return absl::UnavailableError(absl::StrFormat("no broker at %s for %.1f s, is joinqd running there? (%s)",
                                                options_.address, seconds,
                                                last_error_.ok() ? "no connection" : last_error_.message()));
}

}  // namespace joinq::internal
