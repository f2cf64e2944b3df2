#include "absl/base/attributes.h"
#include "server/storage/record_codec.h"
#include "server/storage/wire.h"

namespace joinq::storage {
namespace {

void WriteQueue(Writer& out, const core::QueueRecord& queue) {
  out.Int(Raw(queue.id));
  out.Text(queue.name);
  const core::QueueOptions& options = queue.options;
  out.Int(options.maxsize);
  out.Int(options.max_bytes);
  out.Int(options.lease_ms);
  out.Int(options.ageing_ms);
  out.Int(options.dead_max);
  out.Byte(static_cast<uint8_t>(options.order));
  out.Byte(static_cast<uint8_t>(options.durability));
  out.Byte(static_cast<uint8_t>(queue.closed | queue.paused << 1 | queue.deleting << 2));
  for (uint64_t total : {queue.put_total, queue.done_total, queue.dead_total, queue.cancelled_total,
                         queue.expired_total, queue.redelivered_total, queue.retried_total})
    out.Int(total);
}

void WriteError(Writer& out, const core::TaskError& error) {
  out.Byte(static_cast<uint8_t>(error.kind));
  out.Byte(error.final);
  out.Text(error.message);
  out.Text(error.detail);
}

void WriteCompleted(Writer& out, const core::CompletedLease& completed) {
  out.Int(completed.token.epoch);
  out.Int(completed.token.sequence);
  out.Byte(static_cast<uint8_t>(completed.verdict));
}

void WriteLease(Writer& out, const core::LeaseRecord& lease) {
  out.Int(lease.session);
  out.Byte(static_cast<uint8_t>(lease.kind));
  out.Int(lease.token.epoch);
  out.Int(lease.token.sequence);
  out.At(lease.end);
  out.Int(lease.deliveries);
}

void WriteProcess(Writer& out, const core::ProcessInfo& process) {
  out.Text(process.host);
  out.Int(process.pid);
  out.Byte(process.ended);
  out.Signed(process.exit_code);
}

void WriteProgress(Writer& out, const core::ProgressRecord& task) {
  uint8_t flags = 0;
  if (task.error != nullptr) flags |= kHasError;
  if (!task.history.empty()) flags |= kHasHistory;
  if (task.history_whole) flags |= kWholeHistory;
  if (task.completed.verdict != core::Verdict::kNone) flags |= kHasCompleted;
  if (task.buried) flags |= kBuried;
  if (task.exhumed) flags |= kExhumed;
  if (task.process != nullptr) flags |= kHasProcess;
  out.Byte(flags);
  out.Byte(static_cast<uint8_t>(task.state));
  out.Byte(static_cast<uint8_t>(task.outcome));
  out.At(task.when);
  out.Int(task.deliveries);
  out.Int(task.attempts);
  out.Int(task.crashes);
  if (task.error != nullptr) WriteError(out, *task.error);
  if (!task.history.empty()) {
    out.Int(task.history.size());
    for (const core::Attempt& attempt : task.history) {
      out.Int(attempt.delivery);
      out.At(attempt.ended);
      out.Byte(static_cast<uint8_t>(attempt.kind));
      out.Text(attempt.message);
      out.Text(attempt.holder);
    }
  }
  if ((flags & kHasCompleted) != 0) WriteCompleted(out, task.completed);
  if (task.process != nullptr) WriteProcess(out, *task.process);
}

// Most ends are not kept: out of line, so that those stay short.
ABSL_ATTRIBUTE_NOINLINE void WriteKept(Writer& out, const core::EndRecord& end) {
  out.Int(end.deliveries);
  out.At(end.expiry);
  out.Text(end.payload);
  out.Text(end.content_type);
  if (end.error != nullptr) WriteError(out, *end.error);
  if (end.process != nullptr) WriteProcess(out, *end.process);
}

void WriteTask(Writer& out, const core::TaskRecord& task) {
  uint32_t flags = 0;
  if (!task.headers.empty()) flags |= kHasHeaders;
  if (!(task.policy == core::TaskPolicy{})) {
    flags |= kHasPolicy;
    if (task.policy.time_limit_ms != 0 || task.policy.soft_time_limit_ms != 0 || task.policy.fresh_process)
      flags |= kHasRun;
  }
  if (task.producer_id != 0) flags |= kHasProducer;
  if (task.state != core::TaskState::kReady || task.deliveries != 0 || task.error != nullptr ||
      task.process != nullptr || !task.history.empty())
    flags |= kHasProgress;
  if (task.expires != core::kNever) flags |= kHasExpiry;
  if (!task.unique_key.empty()) flags |= kHasUnique;
  if (!task.request_id.empty()) flags |= kHasRequest;
  if (task.state == core::TaskState::kLeased) flags |= kHasLease;
  if (task.deadline_ms != 0) flags |= kHasDeadline;
  if (task.session_id != 0) flags |= kHasSession;
  out.Int(flags);
  out.Int(Raw(task.id));
  out.Int(Raw(task.queue));
  // First of all that is long, so that a row's payload is found fast.
  if ((flags & kHasHeaders) != 0) out.Text(task.headers);
  out.Text(task.payload);
  out.Text(task.handler);
  out.Text(task.content_type);
  if ((flags & kHasPolicy) != 0) {
    out.Int(task.policy.max_attempts);
    out.Int(task.policy.max_crashes);
    out.Int(task.policy.retry_delay_ms);
    out.Int(task.policy.retry_delay_max_ms);
    out.Int(task.policy.result_ttl_ms);
    out.Signed(task.policy.priority);
  }
  if ((flags & kHasProducer) != 0) {
    out.Int(task.producer_id);
    out.Int(task.tag);
  }
  if ((flags & kHasProgress) != 0) {
    WriteProgress(out, task);
  } else {
    out.At(task.when);
  }
  if ((flags & kHasExpiry) != 0) out.At(task.expires);
  if ((flags & kHasUnique) != 0) {
    out.Text(task.unique_key);
    out.Byte(static_cast<uint8_t>(task.unique_scope));
    out.At(task.unique_until);
  }
  if ((flags & kHasRequest) != 0) {
    out.Text(task.request_id);
    out.At(task.request_until);
  }
  if ((flags & kHasLease) != 0) WriteLease(out, task.lease);
  if ((flags & kHasRun) != 0) {
    out.Int(task.policy.time_limit_ms);
    out.Int(task.policy.soft_time_limit_ms);
    out.Byte(task.policy.fresh_process);
  }
  if ((flags & kHasDeadline) != 0) out.Int(task.deadline_ms);
  if ((flags & kHasSession) != 0) out.Int(task.session_id);
}

}  // namespace

std::string RowKey(core::TaskId task) {
  return TaskKey(task);
}

void BatchEncoder::QueueCreated(const core::QueueRecord& queue) {
  RecordWriter out(&batch_.entry, RecordType::kQueueCreated);
  WriteQueue(out, queue);
}

void BatchEncoder::QueueChanged(const core::QueueRecord& queue) {
  RecordWriter out(&batch_.entry, RecordType::kQueueChanged);
  WriteQueue(out, queue);
}

void BatchEncoder::QueueDeleted(core::QueueId queue) {
  RecordWriter out(&batch_.entry, RecordType::kQueueDeleted);
  out.Int(Raw(queue));
}

void BatchEncoder::TaskPut(const core::TaskRecord& task) {
  RecordWriter out(&batch_.entry, RecordType::kTaskPut);
  WriteTask(out, task);
}

void BatchEncoder::TaskChanged(const core::ProgressRecord& task) {
  RecordWriter out(&batch_.entry, RecordType::kTaskChanged);
  out.Int(Raw(task.id));
  out.Int(Raw(task.queue));
  WriteProgress(out, task);
}

void BatchEncoder::TaskEnded(const core::EndRecord& end) {
  RecordWriter out(&batch_.entry, RecordType::kTaskEnded);
  uint8_t flags = 0;
  if (end.kept) flags |= kKept;
  if (end.error != nullptr) flags |= kEndHasError;
  if (end.completed.verdict != core::Verdict::kNone) flags |= kEndHasCompleted;
  if (end.process != nullptr) flags |= kEndHasProcess;
  out.Byte(flags);
  out.Int(Raw(end.id));
  out.Int(Raw(end.queue));
  out.Byte(static_cast<uint8_t>(end.outcome));
  if (end.completed.verdict != core::Verdict::kNone) WriteCompleted(out, end.completed);
  if (!end.kept) return;
  WriteKept(out, end);
}

void BatchEncoder::TaskDropped(core::TaskId task) {
  RecordWriter out(&batch_.entry, RecordType::kTaskDropped);
  out.Int(Raw(task));
}

void BatchEncoder::LeaseMarked(const core::LeaseRecord& lease) {
  RecordWriter out(&batch_.entry, RecordType::kLeaseMarked);
  out.Int(Raw(lease.task));
  WriteLease(out, lease);
}

void BatchEncoder::PutQueueRow(const core::QueueRecord& queue, uint64_t as_of) {
  auto& put = batch_.row_puts.emplace_back();
  put.key = QueueKey(queue.id);
  Writer out(&put.value);
  out.Int(as_of);
  WriteQueue(out, queue);
}

void BatchEncoder::PutTaskRow(const core::TaskRecord& task, uint64_t as_of) {
  auto& put = batch_.row_puts.emplace_back();
  put.key = TaskKey(task.id);
  Writer out(&put.value);
  out.Int(as_of);
  WriteTask(out, task);
}

void BatchEncoder::PutProducerRow(const core::ProducerRecord& producer, uint64_t as_of) {
  auto& put = batch_.row_puts.emplace_back();
  put.key = ProducerKey(producer.id);
  Writer out(&put.value);
  out.Int(as_of);
  out.Int(producer.id);
  out.Int(producer.acked_below);
  out.Int(producer.tags.size());
  for (const auto& [tag, task] : producer.tags) {
    out.Int(tag);
    out.Int(Raw(task));
  }
}

void BatchEncoder::PutKeyRow(const core::KeyRecord& key, uint64_t as_of) {
  auto& put = batch_.row_puts.emplace_back();
  put.key = KeyKey(key.queue, static_cast<uint8_t>(key.space), key.text);
  Writer out(&put.value);
  out.Int(as_of);
  out.Int(Raw(key.queue));
  out.Byte(static_cast<uint8_t>(key.space));
  out.Text(key.text);
  out.Int(Raw(key.task));
  out.At(key.until);
}

void BatchEncoder::PutCounterRow(const core::CounterRecord& counters) {
  auto& put = batch_.row_puts.emplace_back();
  put.key = kCountersKey;
  Writer out(&put.value);
  out.Int(counters.next_task);
  out.Int(counters.next_queue);
}

void BatchEncoder::DeleteQueueRow(core::QueueId queue) {
  batch_.row_deletes.push_back(QueueKey(queue));
}

void BatchEncoder::DeleteTaskRow(core::TaskId task) {
  batch_.row_deletes.push_back(TaskKey(task));
}

void BatchEncoder::DeleteProducerRow(uint64_t producer) {
  batch_.row_deletes.push_back(ProducerKey(producer));
}

void BatchEncoder::DeleteKeyRow(core::QueueId queue, core::KeySpace space, std::string_view text) {
  batch_.row_deletes.push_back(KeyKey(queue, static_cast<uint8_t>(space), text));
}

}  // namespace joinq::storage
