#include <joinq/pool.h>

#include <atomic>

#include "client/src/async_state.h"
#include "client/src/connection.h"
#include "client/src/control_calls.h"
#include "client/src/task_stream_state.h"
#include "client/src/throwing.h"

namespace joinq {
namespace {

using internal::AsyncState;
using internal::PutSpec;
using internal::Verb;
using Clock = std::chrono::steady_clock;

Clock::time_point After(Millis timeout) {
  internal::ToTimeoutMs("timeout", timeout);  // refuses negative ones
  return timeout >= std::chrono::hours(24 * 365 * 20) ? Clock::time_point::max() : Clock::now() + timeout;
}

}  // namespace

// ---------------------------------------------------------------- AsyncTask

bool AsyncTask::wait(Millis timeout) const {
  return state_->WaitFor(AsyncState::kEnded, After(timeout));
}

bool AsyncTask::ready() const {
  return state_->Has(AsyncState::kEnded);
}

bool AsyncTask::successful() const {
  if (!ready()) throw InvalidArgument("the task has not ended yet: wait() first");
  return state_->error().ok() && state_->outcome().succeeded;
}

uint64_t AsyncTask::id(Millis timeout) const {
  if (!state_->WaitFor(AsyncState::kHasId | AsyncState::kEnded, After(timeout))) {
    throw Timeout("the put is not acknowledged yet");
  }
  if (!state_->Has(AsyncState::kHasId)) internal::ThrowIfError(Verb::kPut, "", state_->error());
  return state_->task_id();
}

bool AsyncTask::existing(Millis timeout) const {
  id(timeout);
  return state_->Has(AsyncState::kExisting);
}

const Outcome& AsyncTask::outcome(Millis timeout) const {
  if (!wait(timeout)) throw Timeout("the task has not ended yet");
  const bool put = state_->Has(AsyncState::kHasId);
  internal::ThrowIfError(put ? Verb::kWait : Verb::kPut, put ? "the task's result" : "", state_->error());
  return state_->outcome();
}

// ---------------------------------------------------------------- TaskStream

void TaskStream::submit(std::string_view payload, std::string_view content_type, bool more) {
  state_->Submit(payload, content_type, more);
}
bool TaskStream::has_room() const {
  return state_->HasRoom();
}
void TaskStream::flush() {
  state_->Flush();
}
void TaskStream::close() {
  state_->Close();
}
std::optional<Outcome> TaskStream::next() {
  return state_->Next();
}
bool TaskStream::has_outcome() {
  return state_->HasOutcome();
}
uint64_t TaskStream::submitted() const {
  return state_->submitted();
}

// ---------------------------------------------------------------- Pool

struct Pool::State {
  std::shared_ptr<internal::Connection> connection;
  std::string queue;
  PoolOptions options;
  std::shared_ptr<internal::Outstanding> outstanding = std::make_shared<internal::Outstanding>();
  std::atomic<bool> closed{false};

  // The spec of the last handler, so that a run of submits shares one and groups. A
  // lock, since any thread may submit.
  std::mutex mutex;
  std::shared_ptr<const PutSpec> last ABSL_GUARDED_BY(mutex);

  std::shared_ptr<PutSpec> MakeSpec(const std::string& handler, std::string_view content_type) const {
    internal::RequireName("handler", handler);
    PutOptions put;
    put.handler = handler;
    put.headers = options.headers;
    put.delay = options.delay;
    put.max_attempts = options.max_attempts;
    put.max_crashes = options.max_crashes;
    put.retry_delay = options.retry_delay;
    put.result_ttl = options.result_ttl;
    put.eta = options.eta;
    put.ttl = options.ttl;
    put.priority = options.priority;
    put.time_limit = options.time_limit;
    put.soft_time_limit = options.soft_time_limit;
    put.deadline = options.deadline;
    put.fresh_process = options.fresh_process;
    put.daemon = options.daemon;
    auto spec = internal::MakePutSpec(queue, content_type, put);
    connection->Tie(spec.get());
    spec->watch = true;
    return spec;
  }
  void RequireOpen() const {
    if (closed.load()) throw Closed("the pool is closed: it takes no more tasks");
  }
};

Pool::Pool(Client& client, const std::string& queue, PoolOptions options)
    : state_(std::make_shared<State>()) {
  internal::RequireHeaders(options.headers);
  state_->connection = client.connection_;
  state_->queue = queue;
  state_->options = std::move(options);
  if (state_->options.create_queue) {
    internal::CreateQueue(*client.connection_, queue, {}, true);
  } else {
    internal::RequireName("queue", queue);
  }
}

std::shared_ptr<const internal::PutSpec> Pool::SpecFor(const std::string& handler,
                                                       std::string_view content_type) {
  std::lock_guard lock(state_->mutex);
  auto& last = state_->last;
  if (!last || last->handler != handler || last->content_type != content_type) {
    last = state_->MakeSpec(handler, content_type);
  }
  return last;
}

AsyncTask Pool::Submit(const std::string& handler, std::string_view payload, std::string_view content_type) {
  state_->RequireOpen();
  return Submit(SpecFor(handler, content_type), payload);
}

AsyncTask Pool::Submit(const std::string& handler, std::string_view payload, std::string_view content_type,
                       PutOptions options) {
  state_->RequireOpen();
  internal::RequireName("handler", handler);
  options.handler = handler;
  auto spec = internal::MakePutSpec(state_->queue, content_type, options);
  state_->connection->Tie(spec.get());
  spec->watch = true;
  return Submit(std::move(spec), payload);
}

AsyncTask Pool::Submit(std::shared_ptr<const internal::PutSpec> spec, std::string_view payload) {
  auto result = std::make_shared<AsyncState>(state_->outstanding);
  state_->outstanding->Add(1);
  const auto tag = state_->connection->producer().Submit(spec, payload, result, 0);
  if (!tag.ok()) {
    state_->outstanding->Remove(1);
    internal::ThrowIfError(Verb::kPut, internal::Quoted("queue", state_->queue), tag.status());
  }
  return AsyncTask(std::move(result));
}

uint64_t Pool::submit_raw(const std::string& handler, std::string_view payload, Millis timeout) {
  state_->RequireOpen();
  auto spec = state_->MakeSpec(handler, {});
  spec->watch = false;
  spec->timeout_ms = internal::ToTimeoutMs("timeout", timeout);
  spec->no_wait = timeout.count() == 0;
  return state_->connection
      ->Put(
          spec, 1, [&](size_t) { return payload; }, timeout)[0]
      .id;
}

TaskStream Pool::stream(const std::string& handler, bool ordered) {
  state_->RequireOpen();
  return TaskStream(std::make_shared<internal::TaskStreamState>(
      state_->connection, state_->MakeSpec(handler, {}), state_->MakeSpec(handler, kMsgpackType),
      state_->outstanding, state_->options.window, ordered));
}

void Pool::close() {
  state_->closed.store(true);
}

void Pool::join(Millis timeout) {
  if (!state_->closed.load()) throw InvalidArgument("close() the pool before join()");
  if (!state_->outstanding->WaitForNone(After(timeout)))
    throw Timeout("tasks of the pool are still under way");
}

}  // namespace joinq
