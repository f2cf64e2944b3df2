#include <joinq/queue.h>

#include <algorithm>

#include "client/src/connection.h"
#include "client/src/control_calls.h"
#include "client/src/lease_calls.h"
#include "client/src/throwing.h"
#include "common/names.h"

namespace joinq {
namespace {

using internal::Quoted;
using internal::ThrowIfError;
using internal::Verb;

constexpr uint32_t kGetBatchMax = 1000;
constexpr size_t kLeasesMax = 10'000;  // in one Done

std::shared_ptr<const internal::PutSpec> MakeSpec(const std::string& queue, std::string_view content_type,
                                                  Millis timeout, const PutOptions& options) {
  internal::RequireName("queue", queue);
  if (!options.handler.empty()) internal::RequireName("handler", options.handler);
  internal::RequireHeaders(options.headers);
  auto spec = std::make_shared<internal::PutSpec>();
  spec->queue = queue;
  spec->handler = options.handler;
  spec->content_type = std::string(content_type);
  spec->delay_ms = internal::ToMs("delay", options.delay);
  spec->max_attempts = options.max_attempts;
  spec->max_crashes = options.max_crashes;
  spec->retry_delay_ms = internal::ToMs("retry_delay", options.retry_delay);
  spec->result_ttl_ms = internal::ToMs("result_ttl", options.result_ttl);
  spec->timeout_ms = internal::ToTimeoutMs("timeout", timeout);
  spec->no_wait = timeout.count() == 0;
  spec->headers = options.headers;
  return spec;
}

void RequireCount(uint32_t count) {
  if (count < 1 || count > kGetBatchMax) {
    throw InvalidArgument("count: must be 1 to 1000, not " + std::to_string(count), "count");
  }
}

}  // namespace

uint64_t Queue::put_raw(std::string_view payload, std::string_view content_type, Millis timeout,
                        const PutOptions& options) const {
  const auto spec = MakeSpec(name_, content_type, timeout, options);
  return connection_->Put(
      spec, 1, [&](size_t) { return payload; }, timeout)[0];
}

std::vector<uint64_t> Queue::put_batch(const std::vector<std::string>& payloads, Millis timeout,
                                       const PutOptions& options) const {
  const auto spec = MakeSpec(name_, {}, timeout, options);
  return connection_->Put(
      spec, payloads.size(), [&](size_t i) { return std::string_view(payloads[i]); }, timeout);
}

Task Queue::get_task(Millis timeout) const {
  return connection_->Get(name_, {.timeout = timeout, .ack = true})[0];
}

std::vector<std::string> Queue::get_batch(uint32_t count, Millis timeout) const {
  RequireCount(count);
  std::vector<std::string> payloads;
  for (const Task& task : connection_->Get(name_, {.count = count, .timeout = timeout, .ack = true})) {
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

void Queue::close() const {
  v1::CloseRequest request;
  request.set_queue(name_);
  v1::CloseResponse response;
  ThrowIfError(Verb::kControl, Quoted("queue", name_),
               connection_->Control([&](grpc::ClientContext* context) {
                 return connection_->queues().Close(context, request, &response);
               }));
}

Task JoinableQueue::get(Millis timeout, Millis lease) const {
  return connection_->Get(name_, {.timeout = timeout, .lease = lease})[0];
}

std::vector<Task> JoinableQueue::get_batch(uint32_t count, Millis timeout, Millis lease) const {
  RequireCount(count);
  return connection_->Get(name_, {.count = count, .timeout = timeout, .lease = lease});
}

void JoinableQueue::task_done(const std::vector<Task>& tasks) const {
  for (size_t first = 0; first < tasks.size(); first += kLeasesMax) {
    std::vector<Lease> leases;
    for (size_t i = first; i < std::min(tasks.size(), first + kLeasesMax); ++i)
      leases.push_back(tasks[i].lease());
    v1::DoneRequest request;
    internal::CallWithLeases(*connection_, name_, leases, &request, &v1::QueueService::Stub::Done);
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
