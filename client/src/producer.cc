#include "client/src/producer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"
#include "client/src/random_id.h"
#include "common/names.h"
#include "common/rpc_status.h"

namespace joinq::internal {
namespace {

using State = PendingPut::State;
using Clock = Producer::Clock;

constexpr std::chrono::milliseconds kBackoffFirst{50};
constexpr std::chrono::milliseconds kBackoffMax{2'000};
constexpr std::chrono::milliseconds kCloseGrace{500};
constexpr uint32_t kCorkTasks = 256;        // a corked message goes out with so many
constexpr size_t kTakenAlone = 4096;        // results taken that are worth a message of their own
constexpr int kControlEntriesMax = 16'384;  // of one kind in one message
constexpr uint64_t kPayloadBytesMax = kMessageBytesMax - 65'536;

}  // namespace

struct Producer::Fired {
  enum class Call : uint8_t { kAck, kRefused, kResult, kLost };
  std::shared_ptr<ResultSink> sink;
  uint64_t cookie;
  uint64_t task_id;
  Call call;
  bool existing;
  v1::ProducedResult* result;
  absl::Status status;
};

Producer::Producer(EventLoop* loop, MakeChannel make_channel, Options options)
    : options_(std::move(options)),
      make_channel_(std::move(make_channel)),
      producer_id_(RandomId()),
      loop_(loop),
      backoff_(kBackoffFirst, kBackoffMax) {
  loop_->Add(this);
}

Producer::~Producer() = default;

void Producer::Close() {
  Lock lock(mutex_);
  if (!started_) return;
  lingering_ = true;
  corked_ = false;
  StartWriteIfIdle(lock);
  if (!lock.owns_lock()) lock.lock();
  ++window_waiters_;
  window_free_.wait_until(lock, Clock::now() + options_.linger, [this] { return unacked_ == 0; });
  --window_waiters_;
  stopping_ = true;
  reconnect_at_ = kNever;
  give_up_at_ = Clock::now() + kCloseGrace;
  if (link_ && can_write_ && !writing_) {
    writing_ = true;
    can_write_ = false;
    link_->WritesDone();
  }
  loop_->Wake();
  window_free_.wait(lock, [this] { return closed_; });
}

bool Producer::WindowFull(size_t bytes) const {
  return unacked_ >= options_.window_tasks ||
         (unacked_ > 0 && unacked_bytes_ + bytes > options_.window_bytes);
}

absl::StatusOr<uint64_t> Producer::Submit(const std::shared_ptr<const PutSpec>& spec,
                                          std::string_view payload, std::shared_ptr<ResultSink> sink,
                                          uint64_t cookie, bool more, Clock::time_point deadline) {
  Lock lock(mutex_);
  const uint64_t bytes_max =
      payload_bytes_max_ > 0 ? std::min<uint64_t>(payload_bytes_max_, kPayloadBytesMax) : kPayloadBytesMax;
  if (payload.size() > bytes_max) {
    return InvalidField("payload",
                        absl::StrFormat("has %d bytes; at most %d are allowed", payload.size(), bytes_max));
  }
  if (WindowFull(payload.size())) {
    corked_ = false;
    StartWriteIfIdle(lock);
    if (!lock.owns_lock()) lock.lock();
    ++window_waiters_;
    auto has_room = [&] { return !WindowFull(payload.size()); };
    bool room = true;
    if (deadline == kNever) {
      window_free_.wait(lock, has_room);
    } else {
      room = window_free_.wait_until(lock, deadline, has_room);
    }
    --window_waiters_;
    if (!room) return absl::DeadlineExceededError("too many puts of this client wait for room already");
  }
  const uint64_t tag = puts_.Add({std::move(sink), cookie, 0, nullptr, static_cast<uint32_t>(payload.size()),
                                  spec->watch, State::kUnacked});
  puts_.Find(tag)->message = outgoing_.Append(tag, spec, payload);
  ++unacked_;
  unacked_bytes_ += payload.size();
  if (!link_ && reconnect_at_ == kNever) {
    started_ = true;
    loop_->Start();
    const auto now = Clock::now();
    give_up_at_ = now + options_.unavailable_after;
    reconnect_at_ = now;
    loop_->Wake();
  }
  corked_ = more && outgoing_.next_tasks() < kCorkTasks;
  if (!corked_) StartWriteIfIdle(lock);
  return tag;
}

void Producer::Flush() {
  Lock lock(mutex_);
  corked_ = false;
  StartWriteIfIdle(lock);
}

void Producer::Withdraw(uint64_t tag) {
  std::shared_ptr<ResultSink> sink;  // dropped without the lock
  Lock lock(mutex_);
  PendingPut* put = puts_.Find(tag);
  if (put == nullptr) return;
  if (put->state == State::kUnacked) Settle(put);
  sink = std::move(put->sink);
  puts_.Erase(tag);
  NotifyWindow();
  lock.unlock();
}

// ---------------------------------------------------------------- writing

// Releases the lock if it writes: packing and sending need not hold up other submitters.
void Producer::StartWriteIfIdle(Lock& lock) {
  if (!can_write_ || writing_ || corked_ || link_->broken) return;
  auto message = outgoing_.TakeNext();
  if (!message) {
    if (watches_.empty() && taken_.size() < (lingering_ ? 1 : kTakenAlone)) return;
    message = outgoing_.TakeEmpty();
  }
  AddControlFields(&message->request);
  writing_ = true;
  writing_message_ = message;  // not to be reused until written
  auto link = link_;
  v1::ProduceRequest& request = message->request;
  message.reset();
  lock.unlock();
  link->Write(request);
}

void Producer::AddControlFields(v1::ProduceRequest* request) {
  request->set_acked_below(puts_.AckedBelow());
  const int taken = std::min<int>(taken_.size(), kControlEntriesMax);
  request->mutable_results_taken()->Add(taken_.end() - taken, taken_.end());
  taken_.resize(taken_.size() - taken);
  const int watches = std::min<int>(watches_.size(), kControlEntriesMax);
  for (auto it = watches_.end() - watches; it != watches_.end(); ++it) {
    auto* watch = request->add_watches();
    watch->set_tag(it->first);
    watch->set_task_id(it->second);
  }
  watches_.resize(watches_.size() - watches);
}

// ---------------------------------------------------------------- what the broker says

void Producer::HandleResponse(ProduceLink& link) {
  v1::ProduceResponse& response = link.response();
  Lock lock(mutex_);
  if (response.has_welcome()) {
    link.welcomed = true;
    payload_bytes_max_ = response.welcome().max_payload_bytes();
    if (!stopping_) give_up_at_ = kNever;
  }
  if (response.acks_size() + response.errors_size() + response.results_size() > 0) backoff_.Reset();
  TakeAcks(response);
  TakeErrors(response);
  TakeResults(&response);
  NotifyWindow();
  if (outgoing_.needs_compaction()) {
    outgoing_.Compact(
        [this](uint64_t tag) {
          PendingPut* put = puts_.Find(tag);
          return put != nullptr && put->state == State::kUnacked;
        },
        [this](uint64_t tag, OutMessage* message) { puts_.Find(tag)->message = message; });
  }
  if (!link.broken) StartWriteIfIdle(lock);
  if (lock.owns_lock()) lock.unlock();
  Fire();
  lock.lock();
  if (link.broken) {
    FinishIfQuiet(link);
    return;
  }
  link.reading = true;
  lock.unlock();
  link.Read();
}

void Producer::TakeAcks(const v1::ProduceResponse& response) {
  for (const auto& range : response.acks()) {
    for (uint32_t i = 0; i < range.count(); ++i) {
      const uint64_t tag = range.first_tag() + i;
      PendingPut* put = puts_.Find(tag);
      if (put == nullptr) {
        if (tag >= puts_.next_tag()) break;  // a tag that never was: nothing sane follows
        continue;
      }
      if (put->state != State::kUnacked) continue;
      Settle(put);
      put->task_id = range.first_task_id() + i;
      if (put->watch) {
        put->state = State::kAwaiting;
        puts_.Acked(tag);
        if (put->sink->wants_acks_) {
          fired_.push_back(
              {put->sink, put->cookie, put->task_id, Fired::Call::kAck, range.existing(), nullptr, {}});
        }
      } else {
        fired_.push_back({std::move(put->sink),
                          put->cookie,
                          put->task_id,
                          Fired::Call::kAck,
                          range.existing(),
                          nullptr,
                          {}});
        puts_.Erase(tag);
      }
    }
  }
}

void Producer::TakeErrors(const v1::ProduceResponse& response) {
  for (const auto& error : response.errors()) {
    PendingPut* put = puts_.Find(error.tag());
    if (put == nullptr || put->state != State::kUnacked) continue;
    Settle(put);
    absl::Status status(static_cast<absl::StatusCode>(error.code()), error.message());
    if (status.ok()) status = absl::UnknownError("refused without a reason");
    if (!error.field().empty()) status = WithField(std::move(status), error.field());
    fired_.push_back(
        {std::move(put->sink), put->cookie, 0, Fired::Call::kRefused, false, nullptr, std::move(status)});
    puts_.Erase(error.tag());
  }
}

void Producer::TakeResults(v1::ProduceResponse* response) {
  for (auto& result : *response->mutable_results()) {
    PendingPut* put = puts_.Find(result.tag());
    if (put == nullptr) continue;  // told already, or withdrawn
    if (put->state == State::kUnacked) Settle(put);
    taken_.push_back(result.task_id());
    fired_.push_back(
        {std::move(put->sink), put->cookie, result.task_id(), Fired::Call::kResult, false, &result, {}});
    puts_.Erase(result.tag());
  }
}

void Producer::Settle(PendingPut* put) {
  outgoing_.Settle(put->message);
  put->message = nullptr;
  --unacked_;
  unacked_bytes_ -= put->bytes;
}

void Producer::NotifyWindow() {
  if (window_waiters_ > 0 && (!WindowFull(0) || unacked_ == 0)) window_free_.notify_all();
}

void Producer::Fire() {
  if (fired_.empty()) return;
  for (auto& fired : fired_) {
    fired.sink->touched_ = true;
    switch (fired.call) {
      case Fired::Call::kAck:
        fired.sink->OnAck(fired.cookie, fired.task_id, fired.existing);
        break;
      case Fired::Call::kRefused:
        fired.sink->OnRefused(fired.cookie, fired.status);
        break;
      case Fired::Call::kResult:
        fired.sink->OnResult(fired.cookie, *fired.result);
        break;
      case Fired::Call::kLost:
        fired.sink->OnLost(fired.cookie, fired.task_id, fired.status);
        break;
    }
  }
  for (auto& fired : fired_) {
    if (std::exchange(fired.sink->touched_, false)) fired.sink->OnBatchEnd();
  }
  fired_.clear();
}

void Producer::GiveUp(const absl::Status& status) {
  puts_.ForEach([&](uint64_t, PendingPut& put) {
    const auto call = put.state == State::kUnacked ? Fired::Call::kRefused : Fired::Call::kLost;
    fired_.push_back({std::move(put.sink), put.cookie, put.task_id, call, false, nullptr, status});
  });
  puts_.Clear();
  outgoing_.Clear();
  watches_.clear();
  taken_.clear();
  unacked_ = 0;
  unacked_bytes_ = 0;
  give_up_at_ = reconnect_at_ = kNever;
  window_free_.notify_all();
}

}  // namespace joinq::internal
