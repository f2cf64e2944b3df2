#include "worker/link/link.h"

#include "common/rpc_channel.h"
#include "spdlog/spdlog.h"

namespace joinq {
namespace {
constexpr auto kWelcomeTimeout = std::chrono::seconds(10);
constexpr size_t kProgressMax = 1024;       // waiting, one a task
constexpr size_t kProgressPerMessage = 64;  // of 4 KiB each at most
constexpr size_t kStoppedPerMessage = 1024;
constexpr size_t kLogsMax = 128;       // waiting
constexpr size_t kLogsPerMessage = 8;  // of 64 KiB each at most
constexpr auto kRepeatLogAfter = std::chrono::seconds(30);
}  // namespace

Link::Link(NetAddress broker, absl::Mutex& mutex, LinkEvents& events)
    : broker_(std::move(broker)),
      mutex_(mutex),
      events_(events),
      backoff_(std::chrono::milliseconds(100), std::chrono::seconds(5)) {}

Link::~Link() {
  Stop();
}

void Link::Start() {
  stub_ = v1::WorkerService::NewStub(MakeChannel(broker_));
  {
    absl::MutexLock lock(&mutex_);
    Connect();
  }
  thread_ = std::thread([this] { Drain(); });
}

void Link::Stop() {
  if (!thread_.joinable()) return;
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    if (context_) context_->TryCancel();
    if (retry_) retry_->Cancel();
    if (!stream_ && !retry_ && !queue_shut_) {
      queue_shut_ = true;
      queue_.Shutdown();
    }
  }
  thread_.join();
}

void Link::Drain() {
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) {
    absl::MutexLock lock(&mutex_);
    Handle(static_cast<Tag>(reinterpret_cast<intptr_t>(tag)), ok);
    // Nothing is left that could bring another event: the end.
    if (stopping_ && !stream_ && !retry_ && !queue_shut_) {
      queue_shut_ = true;
      queue_.Shutdown();
    }
  }
}

void Link::Handle(Tag tag, bool ok) {
  switch (tag) {
    case kStarted:
      --operations_;
      return ok ? SendHello() : Broken();
    case kRead:
      --operations_;
      return OnRead(ok);
    case kWritten:
      --operations_;
      writing_ = false;
      if (!ok || broken_) return Broken();
      return Flush();
    case kWritesDone:
      --operations_;
      return FinishIfIdle();
    case kFinished:
      return OnFinished();
    case kRetry:
      retry_.reset();
      if (!stopping_ && !closing_) Connect();
      return;
  }
}

void Link::Connect() {
  connect_started_ = Clock::now();
  broken_ = finishing_ = welcomed_ = writing_ = draining_sent_ = closed_ = false;
  context_ = std::make_unique<grpc::ClientContext>();
  stream_ = stub_->PrepareAsyncWork(context_.get(), &queue_);
  ++operations_;
  stream_->StartCall(AsTag(kStarted));
}

void Link::SendHello() {
  control_.Clear();
  auto& hello = *control_.mutable_hello();
  events_.OnHello(hello);
  // Results that the broker may not have seen: without the leases it would hand
  // the tasks out again before it reads them.
  log_.ForEachPending([&hello](const v1::Completion& completion) {
    auto& lease = *hello.add_held();
    lease.set_task_id(completion.task_id());
    lease.set_epoch(completion.epoch());
    lease.set_sequence(completion.sequence());
  });
  Write(control_);
  ++operations_;
  stream_->Read(&response_, AsTag(kRead));
}

void Link::OnRead(bool ok) {
  if (!ok || broken_) return Broken();
  if (!welcomed_) {
    if (!response_.has_welcome()) {
      spdlog::error("broker {}: its first message is no welcome", broker_.ToString());
      context_->TryCancel();
      return Broken();
    }
    Welcomed(response_.welcome());
  }
  if (response_.completions_acked() > 0) {
    log_.Acked(response_.completions_acked());
    events_.OnAcked();
  }
  events_.OnResponse(response_);
  ++operations_;
  stream_->Read(&response_, AsTag(kRead));
  Flush();
}

void Link::Welcomed(const v1::WorkerWelcome& welcome) {
  welcomed_ = true;
  backoff_.Reset();
  logged_message_.clear();
  if (welcome.epoch() == epoch_) log_.Seen(welcome.completions_seen());
  epoch_ = welcome.epoch();
  credit_ = 0;
  events_.OnWelcome(welcome);
}

void Link::Broken() {
  if (!broken_) {
    broken_ = true;
    log_.Broken();
    credit_ = 0;
    has_status_ = false;
    progress_.clear();
    started_.Clear();
    stopped_.clear();
    logs_.clear();
    if (welcomed_) {
      welcomed_ = false;
      events_.OnBroken();
    }
  }
  FinishIfIdle();
}

void Link::FinishIfIdle() {
  if (!broken_ || operations_ > 0 || finishing_) return;
  finishing_ = true;
  stream_->Finish(&finish_status_, AsTag(kFinished));
}

void Link::OnFinished() {
  stream_.reset();
  context_.reset();
  if (stopping_) return;
  if (closing_) {
    events_.OnClosed();
    return;
  }
  LogFailure();
  retry_ = std::make_unique<grpc::Alarm>();
  retry_->Set(&queue_, std::chrono::system_clock::now() + backoff_.Next(), AsTag(kRetry));
}

void Link::LogFailure() {
  // The same words over and over would bury everything else.
  std::string message = finish_status_.ok() ? "the broker ended the stream" : finish_status_.error_message();
  const auto now = Clock::now();
  if (message == logged_message_ && now - failure_logged_ < kRepeatLogAfter) return;
  spdlog::warn("broker {}: {}; trying again", broker_.ToString(), message);
  logged_message_ = std::move(message);
  failure_logged_ = now;
}

void Link::AddProgress(v1::ProgressReport report) {
  if (!welcomed_) return;
  for (auto& waiting : progress_) {
    if (waiting.task_id() != report.task_id()) continue;
    waiting = std::move(report);
    return;
  }
  if (progress_.size() < kProgressMax) progress_.push_back(std::move(report));
}

void Link::AddStopped(v1::StoppedWork stopped) {
  if (welcomed_) stopped_.push_back(std::move(stopped));
}

void Link::AddLog(v1::TaskLogAnswer answer) {
  if (!welcomed_) return;
  if (logs_.size() >= kLogsMax) {
    answer.set_found(false);
    answer.clear_log();
  }
  logs_.push_back(std::move(answer));
}

void Link::SetDraining() {
  draining_ = true;
  credit_ = 0;
}

void Link::Renew() {
  if (context_ && welcomed_) context_->TryCancel();
}

void Link::Write(const v1::WorkRequest& request) {
  ++operations_;
  writing_ = true;
  stream_->Write(request, AsTag(kWritten));  // serialized before it returns
}

void Link::Flush() {
  if (!welcomed_ || writing_ || closed_) return;
  v1::WorkRequest* request = nullptr;
  if (log_.has_unsent()) {
    request = log_.Send();
  } else if (has_control()) {
    control_.Clear();
    request = &control_;
  } else {
    if (closing_) {
      closed_ = true;
      ++operations_;
      stream_->WritesDone(AsTag(kWritesDone));
    }
    return;
  }
  AddControl(*request);
  Write(*request);
}

bool Link::has_control() const {
  return credit_ > 0 || has_status_ || (draining_ && !draining_sent_) || !progress_.empty() ||
         started_.started_size() > 0 || !stopped_.empty() || !logs_.empty();
}

// All that goes beside completions, or as much of it as one message holds.
void Link::AddControl(v1::WorkRequest& request) {
  if (credit_ > 0 && !draining_) request.set_credit(credit_);
  credit_ = 0;
  if (has_status_) *request.mutable_status() = status_;
  has_status_ = false;
  if (draining_ && !draining_sent_) request.set_draining(true);
  draining_sent_ = draining_;
  if (started_.started_size() > 0) {
    request.mutable_started()->Swap(started_.mutable_started());
    started_.Clear();
  }
  for (size_t i = 0; i < kProgressPerMessage && !progress_.empty(); ++i) {
    *request.add_progress() = std::move(progress_.front());
    progress_.pop_front();
  }
  for (size_t i = 0; i < kStoppedPerMessage && !stopped_.empty(); ++i) {
    *request.add_stopped() = std::move(stopped_.front());
    stopped_.pop_front();
  }
  for (size_t i = 0; i < kLogsPerMessage && !logs_.empty(); ++i) {
    *request.add_logs() = std::move(logs_.front());
    logs_.pop_front();
  }
}

void Link::Close() {
  closing_ = true;
  if (stream_ && welcomed_) return Flush();
  if (retry_) retry_->Cancel();
  if (context_) context_->TryCancel();
  if (!stream_) events_.OnClosed();
}

void Link::CheckWelcome() {
  if (!welcomed_ && stream_ && !broken_ && Clock::now() - connect_started_ > kWelcomeTimeout) {
    spdlog::warn("broker {}: no welcome within {} s", broker_.ToString(), kWelcomeTimeout.count());
    context_->TryCancel();
  }
}

}  // namespace joinq
