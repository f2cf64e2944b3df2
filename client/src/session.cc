#include "client/src/session.h"

#include <grpcpp/channel.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/src/random_id.h"
#include "client/src/utf8.h"
#include "common/names.h"
#include "common/rpc_status.h"

namespace joinq::internal {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kBackoffFirst{50};
constexpr milliseconds kBackoffMax{2'000};
constexpr milliseconds kWelcomeWait{10'000};
constexpr milliseconds kCloseWait{1'000};
constexpr milliseconds kSessionTimeoutDefault{10'000};
constexpr milliseconds kBeatMin{10};
constexpr milliseconds kConfirmAfter{300};
constexpr std::chrono::seconds kUnsupportedFor{60};
constexpr size_t kEarlyCancelsMax = 1024;
constexpr size_t kPurgeHeldMin = 64;
constexpr int kLeasesPerBeat = 10'000;
constexpr int kHeldMax = 100'000;  // that a broker takes in a hello

std::string HostName() {
  char host[256] = {};
  return gethostname(host, sizeof(host) - 1) == 0 ? ValidUtf8(host) : "unknown";
}

}  // namespace

Session::Session(EventLoop* loop, MakeChannel make_channel, std::string name)
    : session_id_(RandomId()),
      name_(std::move(name)),
      make_channel_(std::move(make_channel)),
      loop_(loop),
      next_time_(EventLoop::kNever.time_since_epoch().count()),
      backoff_(kBackoffFirst, kBackoffMax) {
  loop_->Add(this);
}

Session::~Session() = default;

absl::StatusOr<Session::Ticket> Session::Ready(Clock::time_point deadline) {
  Lock lock(mutex_);
  if (up_) return Ticket{session_id_, streams_};
  if (Clock::now() < unsupported_until_) return Ticket{};
  if (!wanted_) {
    wanted_ = true;
    reconnect_at_ = Clock::now();
    SetNextTime();
    loop_->Start();
    loop_->Wake();
  }
  const uint64_t failures = failures_;
  changed_.wait_until(lock, deadline, [&] { return up_ || failures_ != failures; });
  if (up_) return Ticket{session_id_, streams_};
  if (Clock::now() < unsupported_until_) return Ticket{};
  if (failures_ != failures) return last_error_;
  return absl::UnavailableError("no answer");
}

void Session::Doubt(const Ticket& ticket) {
  std::lock_guard lock(mutex_);
  if (!up_ || streams_ != ticket.stream) return;
  up_ = false;
  link_->Cancel();
}

std::shared_ptr<HeldLease> Session::Hold(const Lease& lease) {
  auto held = std::make_shared<HeldLease>();
  const Key key{lease.task_id, lease.epoch, lease.sequence};
  std::lock_guard lock(mutex_);
  if (auto early = std::find(early_cancels_.begin(), early_cancels_.end(), key);
      early != early_cancels_.end()) {
    early_cancels_.erase(early);
    held->cancelled = true;
    return held;
  }
  if (held_.size() >= purge_held_at_) PurgeHeld();
  held_[key] = held;
  // The broker is told that it arrived, unless it is finished before that.
  if (up_ && beat_at_ > Clock::now() + kConfirmAfter) {
    beat_at_ = Clock::now() + kConfirmAfter;
    SetNextTime();
    loop_->Wake();
  }
  return held;
}

void Session::Drop(const Lease& lease) {
  std::lock_guard lock(mutex_);
  held_.erase({lease.task_id, lease.epoch, lease.sequence});
}

bool Session::AwaitHolding(const std::vector<Lease>& leases, Clock::time_point deadline) {
  Lock lock(mutex_);
  const auto holding = [&] {
    return std::all_of(leases.begin(), leases.end(), [&](const Lease& lease) {
      return held_.contains({lease.task_id, lease.epoch, lease.sequence});
    });
  };
  changed_.wait_until(lock, deadline, [&] { return up_ || closing_ || !holding(); });
  return up_ && holding();
}

void Session::Abandon(const Lease& lease) {
  const Key key{lease.task_id, lease.epoch, lease.sequence};
  std::lock_guard lock(mutex_);
  if (held_.erase(key) == 0) return;
  dropped_.push_back(key);
  if (!up_ || beat_at_ <= Clock::now() + kBeatMin) return;
  // Not at once: what is dropped together is told together.
  beat_at_ = Clock::now() + kBeatMin;
  SetNextTime();
  loop_->Wake();
}

void Session::PurgeHeld() {
  for (auto it = held_.begin(); it != held_.end();) {
    const auto entry = it++;
    if (!entry->second.expired()) continue;
    dropped_.push_back(entry->first);
    held_.erase(entry);
  }
  purge_held_at_ = std::max(kPurgeHeldMin, held_.size() * 2);
}

void Session::Close() {
  Lock lock(mutex_);
  closing_ = true;
  reconnect_at_ = EventLoop::kNever;
  SetNextTime();
  if (!link_) return;
  if (up_) {
    if (!writing_) Leave();
    changed_.wait_until(lock, Clock::now() + kCloseWait, [this] { return !link_; });
  }
  if (link_) link_->Cancel();
  changed_.wait(lock, [this] { return !link_; });
}

// First the word, then the end of the stream.
void Session::Leave() {
  writing_ = true;
  if (leaving_) {
    half_closed_ = true;
    link_->WritesDone();
    return;
  }
  leaving_ = true;
  v1::SessionRequest request;
  request.set_leaving(true);
  link_->Write(request);
}

// ---------------------------------------------------------------- the loop's thread

void Session::OnTime(Clock::time_point now) {
  if (now < NextTime()) return;
  std::lock_guard lock(mutex_);
  if (!link_) {
    if (now >= reconnect_at_ && !closing_) Connect();
  } else if (!up_) {
    if (now >= welcome_by_) link_->Cancel();
    if (now >= welcome_by_) welcome_by_ = EventLoop::kNever;
  } else if (now >= beat_at_) {
    if (!writing_ && !closing_ && !link_->broken) {
      Beat();
    }
    beat_at_ = now + beat_every_;
  }
  SetNextTime();
}

// A sign of life, with what has come and gone since the last one.
void Session::Beat() {
  v1::SessionRequest request;
  const auto add = [](const Key& key, v1::Lease* lease) {
    lease->set_task_id(std::get<0>(key));
    lease->set_epoch(std::get<1>(key));
    lease->set_sequence(std::get<2>(key));
  };
  PurgeHeld();
  for (const auto& [key, lease] : held_) {
    auto held = lease.lock();
    if (held == nullptr || held->told) continue;
    if (request.received_size() == kLeasesPerBeat) break;
    held->told = true;
    add(key, request.add_received());
  }
  for (; !dropped_.empty() && request.dropped_size() < kLeasesPerBeat; dropped_.pop_front())
    add(dropped_.front(), request.add_dropped());
  writing_ = true;
  link_->Write(request);
}

void Session::SetNextTime() {
  auto when = EventLoop::kNever;
  if (!link_) {
    when = reconnect_at_;
  } else {
    when = up_ ? beat_at_ : welcome_by_;
  }
  next_time_.store(when.time_since_epoch().count(), std::memory_order_relaxed);
}

void Session::Connect() {
  reconnect_at_ = EventLoop::kNever;
  welcome_by_ = Clock::now() + kWelcomeWait;
  writing_ = leaving_ = half_closed_ = false;
  link_ = std::make_shared<Link>(v1::SessionService::NewStub(make_channel_()),
                                 &v1::SessionService::Stub::PrepareAsyncKeep, loop_, this);
  link_->Start();
}

void Session::OnEvent(EventLoop::Tag* tag, bool ok) {
  const StreamEvent event = static_cast<StreamTag*>(tag)->event;
  std::lock_guard lock(mutex_);
  if (event == StreamEvent::kFinished) return LinkEnded();
  if (event == StreamEvent::kWritten) writing_ = false;
  if (event == StreamEvent::kRead) link_->reading = false;
  if (!ok || link_->broken) {
    link_->broken = true;
    // A write fails on a dead call only: its read ends by itself, and the status stays the broker's.
    return FinishIfQuiet();
  }
  if (event == StreamEvent::kStarted) {
    SendHello();
    link_->reading = true;
    link_->Read();
  } else if (event == StreamEvent::kWritten) {
    if (closing_ && up_ && !half_closed_) Leave();
  } else {
    TakeResponse(link_->response());
    link_->reading = true;
    link_->Read();
  }
}

void Session::SendHello() {
  v1::SessionRequest request;
  auto* hello = request.mutable_hello();
  const std::string host = HostName();
  const uint32_t pid = static_cast<uint32_t>(getpid());
  hello->set_session_id(session_id_);
  hello->set_name(ValidUtf8(name_.empty() ? absl::StrCat(host, ":", pid) : name_).substr(0, kNameBytesMax));
  hello->set_host(host);
  hello->set_pid(pid);
  PurgeHeld();
  dropped_.clear();  // what is not named as held goes back
  for (const auto& [key, lease] : held_) {
    if (hello->held_size() == kHeldMax) break;  // the others go back
    if (auto alive = lease.lock()) alive->told = true;
    auto* held = hello->add_held();
    held->set_task_id(std::get<0>(key));
    held->set_epoch(std::get<1>(key));
    held->set_sequence(std::get<2>(key));
  }
  writing_ = true;
  link_->Write(request);
}

void Session::TakeResponse(const v1::SessionResponse& response) {
  if (response.has_welcome()) {
    const auto& welcome = response.welcome();
    const milliseconds timeout = welcome.session_timeout_ms() > 0 ? milliseconds(welcome.session_timeout_ms())
                                                                  : kSessionTimeoutDefault;
    beat_every_ = std::max<Clock::duration>(timeout / 3, kBeatMin);
    beat_at_ = Clock::now() + beat_every_;
    welcome_by_ = EventLoop::kNever;
    backoff_.Reset();
    for (const auto& lease : welcome.lost()) TakeCancel(lease);
    ++streams_;
    up_ = !closing_;
    SetNextTime();
    changed_.notify_all();
  }
  for (const auto& lease : response.cancels()) TakeCancel(lease);
}

void Session::TakeCancel(const v1::Lease& lease) {
  const Key key{lease.task_id(), lease.epoch(), lease.sequence()};
  auto found = held_.find(key);
  if (found == held_.end()) {
    early_cancels_.push_back(key);
    if (early_cancels_.size() > kEarlyCancelsMax) early_cancels_.pop_front();
    return;
  }
  if (auto held = found->second.lock()) held->cancelled = true;
  held_.erase(found);
}

void Session::FinishIfQuiet() {
  if (link_->reading || writing_ || link_->finishing) return;
  link_->finishing = true;
  link_->Finish();
}

void Session::LinkEnded() {
  last_error_ = FromGrpc(link_->status());
  if (last_error_.ok()) last_error_ = absl::UnavailableError("the broker ended the session's stream");
  link_.reset();
  up_ = false;
  ++failures_;
  early_cancels_.clear();
  beat_at_ = welcome_by_ = EventLoop::kNever;
  if (absl::IsUnimplemented(last_error_)) {
    unsupported_until_ = Clock::now() + kUnsupportedFor;
    wanted_ = false;
  } else if (!closing_) {
    reconnect_at_ = Clock::now() + backoff_.Next();
  }
  SetNextTime();
  changed_.notify_all();
}

}  // namespace joinq::internal
