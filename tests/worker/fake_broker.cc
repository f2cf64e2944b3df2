#include "tests/worker/fake_broker.h"

#include <grpcpp/server_builder.h>

#include "common/names.h"

namespace joinq {

FakeBroker::FakeBroker() {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
  builder.SetMaxReceiveMessageSize(kMessageBytesMax + 65'536);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
}

FakeBroker::~FakeBroker() {
  server_->Shutdown(std::chrono::system_clock::now());
}

grpc::Status FakeBroker::Work(grpc::ServerContext* context, Stream* stream) {
  v1::WorkRequest request;
  if (!stream->Read(&request) || !request.has_hello())
    return {grpc::StatusCode::INVALID_ARGUMENT, "no hello"};
  {
    absl::MutexLock lock(&mutex_);
    if (!accept_) return {grpc::StatusCode::UNAVAILABLE, "not now"};
    state_.hello = request.hello();
    state_.credit = 0;
    v1::WorkResponse welcome;
    welcome.mutable_welcome()->set_epoch(epoch_);
    welcome.mutable_welcome()->set_session_timeout_ms(1500);
    welcome.mutable_welcome()->set_completions_seen(seen_);
    // Leases that are not held any more go back.
    for (auto it = leased_.begin(); it != leased_.end();) {
      bool held = false;
      for (const auto& lease : request.hello().held()) {
        held = held || (lease.task_id() == it->first && lease.sequence() == it->second.first);
      }
      if (!held) ready_.push_front(it->second.second);
      it = held ? std::next(it) : leased_.erase(it);
    }
    for (const auto& lease : request.hello().held()) {
      auto it = leased_.find(lease.task_id());
      if (it == leased_.end() || it->second.first != lease.sequence())
        *welcome.mutable_welcome()->add_lost() = lease;
    }
    stream_ = stream;
    context_ = context;
    stream->Write(welcome);
    state_.connected = true;
    ++state_.streams;
  }
  while (stream->Read(&request)) {
    absl::MutexLock lock(&mutex_);
    Take(request);
    Push();
  }
  absl::MutexLock lock(&mutex_);
  state_.ended_in_order = !context->IsCancelled();
  state_.connected = false;
  stream_ = nullptr;
  context_ = nullptr;
  return grpc::Status::OK;
}

void FakeBroker::Take(const v1::WorkRequest& request) {
  ++state_.messages;
  state_.credit += request.credit();
  state_.credit_max = std::max(state_.credit_max, state_.credit);
  if (request.has_status()) {
    state_.status = request.status();
    ++state_.statuses;
  }
  for (const auto& report : request.progress())
    state_.progress[report.task_id()].push_back(report.progress());
  for (const auto& stopped : request.stopped())
    state_.stopped[stopped.lease().task_id()].push_back(stopped.end());
  for (const auto& started : request.started()) state_.started[started.task_id()] = started.pid();
  for (const auto& answer : request.logs()) state_.logs[answer.ask()] = answer;
  if (request.draining()) state_.draining = true;
  if (request.completions_seq() == 0) return;
  state_.sequences.push_back(request.completions_seq());
  if (request.completions_seq() <= seen_) return;
  seen_ = to_ack_ = request.completions_seq();
  for (const auto& completion : request.completions()) {
    ++state_.completed;
    if (!keep_completions) continue;
    state_.completions[completion.task_id()].push_back(completion);
    auto it = leased_.find(completion.task_id());
    if (it == leased_.end() || it->second.first != completion.sequence()) continue;
    if (completion.verdict() == v1::Completion::RELEASED) ready_.push_front(it->second.second);
    leased_.erase(it);
  }
}

void FakeBroker::Deliver(v1::WorkResponse& response) {
  v1::DeliveryGroup* group = nullptr;
  size_t bytes = 0;
  for (int count = 0; state_.credit > 0 && !ready_.empty() && count < 256 && bytes < (2 << 20); ++count) {
    Queued task = std::move(ready_.front());
    ready_.pop_front();
    const RunOptions& options = task.options;
    if (group == nullptr || group->handler() != task.handler || group->content_type() != task.content_type ||
        group->time_limit_ms() != options.time_limit_ms ||
        group->soft_time_limit_ms() != options.soft_time_limit_ms ||
        group->fresh_process() != options.fresh_process) {
      group = response.add_groups();
      group->set_queue("default");
      group->set_handler(task.handler);
      group->set_content_type(task.content_type);
      group->set_epoch(epoch_);
      group->set_time_limit_ms(options.time_limit_ms);
      group->set_soft_time_limit_ms(options.soft_time_limit_ms);
      group->set_fresh_process(options.fresh_process);
    }
    auto& delivery = *group->add_tasks();
    delivery.set_task_id(task.id);
    delivery.set_sequence(next_sequence_++);
    delivery.set_attempt(task.attempt);
    delivery.set_payload(task.payload);
    delivery.set_deadline_ms(options.deadline_ms);
    for (const auto& [name, value] : task.headers) {
      auto& header = *delivery.add_headers();
      header.set_name(name);
      header.set_value(value);
    }
    bytes += task.payload.size();
    --state_.credit;
    ++state_.delivered;
    if (keep_completions) leased_[task.id] = {delivery.sequence(), std::move(task)};
  }
}

void FakeBroker::Push() {
  if (stream_ == nullptr) return;
  for (;;) {
    response_.Clear();
    if (!state_.draining) Deliver(response_);
    if (ack_ && to_ack_ > acked_) {
      acked_ = to_ack_;
      response_.set_completions_acked(acked_);
    }
    if (response_.groups_size() == 0 && response_.completions_acked() == 0) return;
    if (!stream_->Write(response_)) return;
  }
}

uint64_t FakeBroker::Put(const std::string& handler, const std::string& payload,
                         const std::string& content_type,
                         std::vector<std::pair<std::string, std::string>> headers) {
  absl::MutexLock lock(&mutex_);
  const uint64_t id = next_id_++;
  ready_.push_back({id, handler, payload, content_type, 1, std::move(headers)});
  Push();
  return id;
}

uint64_t FakeBroker::Put(const std::string& handler, const std::string& payload, const RunOptions& options) {
  absl::MutexLock lock(&mutex_);
  const uint64_t id = next_id_++;
  ready_.push_back({id, handler, payload, "", 1, {}, options});
  Push();
  return id;
}

void FakeBroker::PutMany(const std::string& handler, const std::string& payload, int count) {
  absl::MutexLock lock(&mutex_);
  for (int i = 0; i < count; ++i) ready_.push_back({next_id_++, handler, payload, ""});
  Push();
}

bool FakeBroker::WaitFor(const std::function<bool()>& condition, absl::Duration timeout) {
  absl::MutexLock lock(&mutex_);
  return mutex_.AwaitWithTimeout(absl::Condition(
                                     +[](const std::function<bool()>* c) { return (*c)(); }, &condition),
                                 timeout);
}

std::optional<v1::Completion> FakeBroker::Wait(uint64_t task_id, absl::Duration timeout) {
  std::optional<v1::Completion> found;
  WaitFor(
      [&] {
        auto it = state_.completions.find(task_id);
        if (it != state_.completions.end()) found = it->second.back();
        return found.has_value();
      },
      timeout);
  return found;
}

bool FakeBroker::WaitConnected(int streams) {
  return WaitFor([&] { return state_.connected && state_.streams >= streams && state_.credit > 0; });
}

void FakeBroker::Break() {
  absl::MutexLock lock(&mutex_);
  if (context_ != nullptr) context_->TryCancel();
}

void FakeBroker::Cancel(uint64_t task_id, bool terminate) {
  {
    absl::MutexLock lock(&mutex_);
    cancelled_[task_id] = leased_[task_id].first;
    leased_.erase(task_id);
  }
  CancelAgain(task_id, terminate);
}

void FakeBroker::CancelLease(uint64_t task_id, uint64_t sequence) {
  {
    absl::MutexLock lock(&mutex_);
    cancelled_[task_id] = sequence;
  }
  CancelAgain(task_id);
}

void FakeBroker::CancelAgain(uint64_t task_id, bool terminate) {
  absl::MutexLock lock(&mutex_);
  v1::WorkResponse response;
  auto& lease = terminate ? *response.add_terminates() : *response.add_cancels();
  lease.set_task_id(task_id);
  lease.set_epoch(epoch_);
  lease.set_sequence(cancelled_[task_id]);
  if (stream_ != nullptr) stream_->Write(response);
}

v1::WorkEnd FakeBroker::WaitStopped(uint64_t task_id, absl::Duration timeout) {
  v1::WorkEnd end = v1::WORK_END_UNSPECIFIED;
  WaitFor(
      [&] {
        const auto& ends = state_.stopped[task_id];
        if (!ends.empty()) end = ends.back();
        return !ends.empty();
      },
      timeout);
  return end;
}

std::optional<v1::TaskLogAnswer> FakeBroker::AskLog(uint64_t task_id, absl::Duration timeout) {
  uint64_t number = 0;
  {
    absl::MutexLock lock(&mutex_);
    number = next_ask_++;
    v1::WorkResponse response;
    auto& ask = *response.add_log_asks();
    ask.set_ask(number);
    ask.set_task_id(task_id);
    if (stream_ != nullptr) stream_->Write(response);
  }
  std::optional<v1::TaskLogAnswer> answer;
  WaitFor(
      [&] {
        auto it = state_.logs.find(number);
        if (it != state_.logs.end()) answer = it->second;
        return answer.has_value();
      },
      timeout);
  return answer;
}

void FakeBroker::AskToDrain() {
  absl::MutexLock lock(&mutex_);
  v1::WorkResponse response;
  response.set_drain(true);
  if (stream_ != nullptr) stream_->Write(response);
}

void FakeBroker::SetPaused(bool paused) {
  absl::MutexLock lock(&mutex_);
  v1::WorkResponse response;
  response.set_action(paused ? v1::WORKER_ACTION_PAUSE : v1::WORKER_ACTION_RESUME);
  if (stream_ != nullptr) stream_->Write(response);
}

void FakeBroker::Resize(uint32_t children) {
  absl::MutexLock lock(&mutex_);
  v1::WorkResponse response;
  response.set_action(v1::WORKER_ACTION_RESIZE);
  response.set_children(children);
  if (stream_ != nullptr) stream_->Write(response);
}

void FakeBroker::SetAck(bool ack) {
  absl::MutexLock lock(&mutex_);
  ack_ = ack;
  Push();
}

void FakeBroker::SetAccept(bool accept) {
  absl::MutexLock lock(&mutex_);
  accept_ = accept;
}

void FakeBroker::SetEpoch(uint64_t epoch) {
  absl::MutexLock lock(&mutex_);
  epoch_ = epoch;
  seen_ = to_ack_ = acked_ = 0;
}

FakeBroker::State FakeBroker::Snapshot() {
  absl::MutexLock lock(&mutex_);
  return state_;
}

}  // namespace joinq
