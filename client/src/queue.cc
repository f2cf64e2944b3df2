#include <joinq/queue.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "client/src/connection.h"
#include "client/src/control_calls.h"
#include "client/src/lease_calls.h"
#include "client/src/throwing.h"
#include "client/src/wire_types.h"

namespace joinq {
namespace {

using internal::Quoted;
using internal::ThrowIfError;
using internal::Verb;

constexpr uint32_t kPeekMax = 100;
constexpr size_t kLeasesMax = 10'000;  // in one Done

std::shared_ptr<const internal::PutSpec> MakeSpec(internal::Connection& connection, const std::string& queue,
                                                  std::string_view content_type, Millis timeout,
                                                  const PutOptions& options, size_t count) {
  const char* single = !options.unique_key.empty()   ? "unique_key"
                       : !options.request_id.empty() ? "request_id"
                                                     : nullptr;
  if (single != nullptr && count > 1)
    throw InvalidArgument(absl::StrCat(single, ": names one task, but ", count, " are put"), single);
  auto spec = internal::MakePutSpec(queue, content_type, options);
  spec->timeout_ms = internal::ToTimeoutMs("timeout", timeout);
  spec->no_wait = timeout.count() == 0;
  connection.Tie(spec.get());
  return spec;
}

}  // namespace

uint64_t Queue::put_raw(std::string_view payload, std::string_view content_type, Millis timeout,
                        const PutOptions& options) const {
  const auto spec = MakeSpec(*connection_, name_, content_type, timeout, options, 1);
  return connection_
      ->Put(
          spec, 1, [&](size_t) { return payload; }, timeout)[0]
      .id;
}

PutReceipt Queue::put_task_raw(std::string_view payload, std::string_view content_type, Millis timeout,
                               const PutOptions& options) const {
  const auto spec = MakeSpec(*connection_, name_, content_type, timeout, options, 1);
  PutReceipt receipt = connection_->Put(
      spec, 1, [&](size_t) { return payload; }, timeout)[0];
  try {
    receipt.durability = info().durability;
  } catch (const Error&) {  // it is put all the same
  }
  return receipt;
}

std::vector<uint64_t> Queue::put_batch(const std::vector<std::string>& payloads, Millis timeout,
                                       const PutOptions& options) const {
  const auto spec = MakeSpec(*connection_, name_, {}, timeout, options, payloads.size());
  return internal::IdsOf(connection_->Put(
      spec, payloads.size(), [&](size_t i) { return std::string_view(payloads[i]); }, timeout));
}

Task Queue::get_task(Millis timeout) const {
  return connection_->Get(name_, 1, {.timeout = timeout, .ack = true})[0];
}

std::vector<std::string> Queue::get_batch(uint32_t count, Millis timeout) const {
  std::vector<std::string> payloads;
  for (const Task& task : connection_->Get(name_, count, {.timeout = timeout, .ack = true})) {
    payloads.push_back(task.payload());
  }
  return payloads;
}

bool Queue::full() const {
  const QueueInfo now = info();
  return now.options.maxsize > 0 && now.stats.size >= now.options.maxsize;
}

QueueInfo Queue::info() const {
  return internal::GetQueueInfo(*connection_, name_);
}

QueueInfo Queue::update(const QueueChanges& changes) const {
  return internal::UpdateQueue(*connection_, name_, changes);
}

void Queue::close() const {
  internal::QueueCall(*connection_, name_, &v1::QueueService::Stub::Close);
}

void Queue::pause() const {
  internal::QueueCall(*connection_, name_, &v1::QueueService::Stub::Pause);
}

void Queue::resume() const {
  internal::QueueCall(*connection_, name_, &v1::QueueService::Stub::Resume);
}

std::vector<TaskInfo> Queue::peek(uint32_t count) const {
  if (count < 1 || count > kPeekMax)
    throw InvalidArgument(absl::StrCat("count: must be 1 to 100, not ", count), "count");
  v1::PeekRequest request;
  request.set_max_tasks(count);
  auto response = internal::QueueCall(*connection_, name_, &v1::QueueService::Stub::Peek, request);
  std::vector<TaskInfo> tasks;
  for (auto& task : *response.mutable_tasks()) tasks.push_back(internal::ToTaskInfo(&task));
  return tasks;
}

TaskRange Queue::dead() const {
  return TaskRange(connection_, {.queue = name_, .state = TaskState::dead});
}

uint64_t Queue::retry_dead(uint64_t limit) const {
  v1::RetryDeadRequest request;
  request.set_limit(limit);
  return internal::QueueCall(*connection_, name_, &v1::QueueService::Stub::RetryDead, request).retried();
}

uint64_t Queue::purge_dead() const {
  return internal::QueueCall(*connection_, name_, &v1::QueueService::Stub::PurgeDead).purged();
}

Task JoinableQueue::get(Millis timeout) const {
  return connection_->Get(name_, 1, {.timeout = timeout})[0];
}

Task JoinableQueue::get(Millis timeout, Millis lease) const {
  return connection_->Get(name_, 1, {.timeout = timeout, .lease = lease})[0];
}

std::vector<Task> JoinableQueue::get_batch(uint32_t count, Millis timeout) const {
  return connection_->Get(name_, count, {.timeout = timeout});
}

std::vector<Task> JoinableQueue::get_batch(uint32_t count, Millis timeout, Millis lease) const {
  return connection_->Get(name_, count, {.timeout = timeout, .lease = lease});
}

void JoinableQueue::task_done(const std::vector<Task>& tasks) const {
  for (size_t first = 0; first < tasks.size(); first += kLeasesMax) {
    std::vector<Lease> leases;
    for (size_t i = first; i < std::min(tasks.size(), first + kLeasesMax); ++i)
      leases.push_back(tasks[i].lease());
    v1::DoneRequest request;
    internal::CallWithHeldLeases(*connection_, name_, leases, &request, &v1::QueueService::Stub::Done);
    for (const Lease& lease : leases) connection_->session().Drop(lease);
  }
}

void JoinableQueue::join(Millis timeout) const {
  v1::JoinRequest request;
  request.set_queue(name_);
  v1::JoinResponse response;
  const absl::Status status =
      connection_->Parked(timeout, [&](grpc::ClientContext* context, uint32_t slice_ms) {
        request.set_timeout_ms(slice_ms);
        request.set_no_wait(slice_ms == 0);
        return connection_->parked_queues().Join(context, request, &response);
      });
  if (absl::IsDeadlineExceeded(status)) throw Timeout(Quoted("queue", name_) + " still has unfinished tasks");
  ThrowIfError(Verb::kWait, Quoted("queue", name_), status);
}

}  // namespace joinq
