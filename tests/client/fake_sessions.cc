#include "tests/client/fake_sessions.h"

#include <chrono>

namespace joinq::test {

std::vector<v1::SessionHello> FakeSessions::hellos() {
  std::lock_guard lock(mutex_);
  return hellos_;
}

int FakeSessions::beats() {
  std::lock_guard lock(mutex_);
  return beats_;
}

std::vector<v1::Lease> FakeSessions::dropped() {
  std::lock_guard lock(mutex_);
  return dropped_;
}

int FakeSessions::ended() {
  std::lock_guard lock(mutex_);
  return ended_;
}

bool FakeSessions::WaitFor(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::milliseconds(5));
  }
  return true;
}

void FakeSessions::Cancel(const v1::Lease& lease) {
  std::lock_guard lock(mutex_);
  v1::SessionResponse response;
  *response.add_cancels() = lease;
  for (const Open& open : open_) open.stream->Write(response);
}

void FakeSessions::Break() {
  std::lock_guard lock(mutex_);
  for (const Open& open : open_) open.context->TryCancel();
}

void FakeSessions::Lose(const v1::Lease& lease) {
  std::lock_guard lock(mutex_);
  lost_.push_back(lease);
}

grpc::Status FakeSessions::Keep(grpc::ServerContext* context, Stream* stream) {
  v1::SessionRequest request;
  if (!stream->Read(&request)) return grpc::Status::OK;
  {
    std::lock_guard lock(mutex_);
    hellos_.push_back(request.hello());
    v1::SessionResponse welcome;
    welcome.mutable_welcome()->set_epoch(1);
    welcome.mutable_welcome()->set_session_timeout_ms(session_timeout_ms);
    for (const auto& lease : lost_) *welcome.mutable_welcome()->add_lost() = lease;
    stream->Write(welcome);
    open_.insert({context, stream});
  }
  changed_.notify_all();
  while (stream->Read(&request)) {
    std::lock_guard lock(mutex_);
    request.leaving() ? ++ended_ : ++beats_;
    dropped_.insert(dropped_.end(), request.dropped().begin(), request.dropped().end());
    changed_.notify_all();
    if (request.leaving()) break;
  }
  std::lock_guard lock(mutex_);
  open_.erase({context, stream});
  changed_.notify_all();
  return grpc::Status::OK;
}

}  // namespace joinq::test
