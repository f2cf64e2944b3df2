#include <optional>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "server/storage/record_codec.h"
#include "server/storage/wire.h"

namespace joinq::storage {
namespace {

// What the records of one task point at while they are fed.
struct Backing {
  std::optional<core::TaskError> error;
  std::optional<core::ProcessInfo> process;
  std::vector<core::Attempt> history;
};

core::QueueRecord ReadQueue(Reader& in) {
  core::QueueRecord queue;
  queue.id = core::QueueId(static_cast<uint32_t>(in.IntUpTo(UINT32_MAX)));
  queue.name = std::string(in.Text());
  core::QueueOptions& options = queue.options;
  options.maxsize = in.Int();
  options.max_bytes = in.Int();
  options.lease_ms = static_cast<uint32_t>(in.IntUpTo(UINT32_MAX));
  options.ageing_ms = static_cast<uint32_t>(in.IntUpTo(UINT32_MAX));
  options.dead_max = static_cast<uint32_t>(in.IntUpTo(UINT32_MAX));
  options.order = static_cast<core::Order>(in.IntUpTo(static_cast<uint8_t>(core::Order::kPriority)));
  options.durability =
      static_cast<core::Durability>(in.IntUpTo(static_cast<uint8_t>(core::Durability::kMemory)));
  const uint8_t flags = in.Byte();
  queue.closed = (flags & 1) != 0;
  queue.paused = (flags & 2) != 0;
  queue.deleting = (flags & 4) != 0;
  for (uint64_t* total : {&queue.put_total, &queue.done_total, &queue.dead_total, &queue.cancelled_total,
                          &queue.expired_total, &queue.redelivered_total, &queue.retried_total})
    *total = in.Int();
  if (options.durability < core::Durability::kFsync || queue.name.empty()) in.Fail();
  return queue;
}

core::TaskError ReadError(Reader& in) {
  core::TaskError error;
  error.kind = static_cast<core::FailureKind>(in.Byte());
  error.final = in.Byte() != 0;
  error.message = std::string(in.Text());
  error.detail = std::string(in.Text());
  return error;
}

core::CompletedLease ReadCompleted(Reader& in) {
  core::CompletedLease completed;
  completed.token.epoch = in.Int();
  completed.token.sequence = in.Int();
  completed.verdict = static_cast<core::Verdict>(in.IntUpTo(static_cast<uint8_t>(core::Verdict::kNone)));
  return completed;
}

core::ProcessInfo ReadProcess(Reader& in) {
  core::ProcessInfo process;
  process.host = std::string(in.Text());
  process.pid = static_cast<uint32_t>(in.IntUpTo(UINT32_MAX));
  process.ended = in.Byte() != 0;
  const int64_t exit_code = in.Signed();
  if (exit_code < INT32_MIN || exit_code > INT32_MAX) in.Fail();
  process.exit_code = static_cast<int32_t>(exit_code);
  return process;
}

core::LeaseRecord ReadLease(Reader& in, core::TaskId task) {
  core::LeaseRecord lease;
  lease.task = task;
  lease.session = in.Int();
  lease.kind = static_cast<core::SessionKind>(in.IntUpTo(static_cast<uint8_t>(core::SessionKind::kClient)));
  lease.token.epoch = in.Int();
  lease.token.sequence = in.Int();
  lease.end = in.At();
  lease.deliveries = static_cast<uint16_t>(in.IntUpTo(UINT16_MAX));
  return lease;
}

void ReadProgress(Reader& in, core::ProgressRecord* task, Backing* backing) {
  const uint8_t flags = in.Byte();
  task->state = static_cast<core::TaskState>(in.IntUpTo(static_cast<uint8_t>(core::TaskState::kDead)));
  task->outcome = static_cast<core::Outcome>(in.IntUpTo(static_cast<uint8_t>(core::Outcome::kExpired)));
  task->when = in.At();
  task->deliveries = static_cast<uint16_t>(in.IntUpTo(UINT16_MAX));
  task->attempts = static_cast<uint16_t>(in.IntUpTo(UINT16_MAX));
  task->crashes = static_cast<uint16_t>(in.IntUpTo(UINT16_MAX));
  if ((flags & kHasError) != 0) task->error = &backing->error.emplace(ReadError(in));
  if ((flags & kHasHistory) != 0) {
    for (uint64_t n = in.IntUpTo(core::kHistoryMax); n > 0 && in.ok(); --n) {
      core::Attempt& attempt = backing->history.emplace_back();
      attempt.delivery = static_cast<uint32_t>(in.IntUpTo(UINT32_MAX));
      attempt.ended = in.At();
      attempt.kind = static_cast<core::FailureKind>(in.Byte());
      attempt.message = std::string(in.Text());
      attempt.holder = std::string(in.Text());
    }
    task->history = backing->history;
  }
  task->history_whole = (flags & kWholeHistory) != 0;
  if ((flags & kHasCompleted) != 0) task->completed = ReadCompleted(in);
  if ((flags & kHasProcess) != 0) task->process = &backing->process.emplace(ReadProcess(in));
  task->buried = (flags & kBuried) != 0;
  task->exhumed = (flags & kExhumed) != 0;
  const bool over = task->state == core::TaskState::kEnded || task->state == core::TaskState::kDead;
  if (task->state == core::TaskState::kNew || over != (task->outcome != core::Outcome::kUnfinished))
    in.Fail();
}

core::TaskRecord ReadTask(Reader& in, Backing* backing) {
  core::TaskRecord task;
  const uint64_t flags = in.Int();
  task.id = core::TaskId(in.Int());
  task.queue = core::QueueId(static_cast<uint32_t>(in.IntUpTo(UINT32_MAX)));
  if ((flags & kHasHeaders) != 0) task.headers = in.Text();
  task.payload = in.Text();
  task.handler = in.Text();
  task.content_type = in.Text();
  if ((flags & kHasPolicy) != 0) {
    task.policy.max_attempts = static_cast<uint16_t>(in.IntUpTo(UINT16_MAX));
    task.policy.max_crashes = static_cast<uint16_t>(in.IntUpTo(UINT16_MAX));
    task.policy.retry_delay_ms = static_cast<uint32_t>(in.IntUpTo(UINT32_MAX));
    task.policy.retry_delay_max_ms = static_cast<uint32_t>(in.IntUpTo(UINT32_MAX));
    task.policy.result_ttl_ms = static_cast<uint32_t>(in.IntUpTo(UINT32_MAX));
    const int64_t priority = in.Signed();
    if (priority < -core::kPriorityMax || priority > core::kPriorityMax) in.Fail();
    task.policy.priority = static_cast<int16_t>(priority);
  }
  if ((flags & kHasProducer) != 0) {
    task.producer_id = in.Int();
    task.tag = in.Int();
  }
  if ((flags & kHasProgress) != 0) {
    ReadProgress(in, &task, backing);
  } else {
    task.when = in.At();
  }
  if ((flags & kHasExpiry) != 0) task.expires = in.At();
  if ((flags & kHasUnique) != 0) {
    task.unique_key = in.Text();
    task.unique_scope =
        static_cast<core::UniqueScope>(in.IntUpTo(static_cast<uint8_t>(core::UniqueScope::kWindow)));
    task.unique_until = in.At();
  }
  if ((flags & kHasRequest) != 0) {
    task.request_id = in.Text();
    task.request_until = in.At();
  }
  if ((flags & kHasLease) != 0) task.lease = ReadLease(in, task.id);
  if ((flags & kHasRun) != 0) {
    task.policy.time_limit_ms = static_cast<uint32_t>(in.IntUpTo(UINT32_MAX));
    task.policy.soft_time_limit_ms = static_cast<uint32_t>(in.IntUpTo(UINT32_MAX));
    task.policy.fresh_process = in.Byte() != 0;
  }
  if ((flags & kHasDeadline) != 0) task.deadline_ms = static_cast<uint32_t>(in.IntUpTo(UINT32_MAX));
  if ((flags & kHasSession) != 0) task.session_id = in.Int();
  if ((task.state == core::TaskState::kLeased) != ((flags & kHasLease) != 0)) in.Fail();
  if (task.id == core::TaskId{0} || Raw(task.id) == UINT64_MAX) in.Fail();
  return task;
}

core::EndRecord ReadEnd(Reader& in, Backing* backing) {
  core::EndRecord end;
  const uint8_t flags = in.Byte();
  end.id = core::TaskId(in.Int());
  end.queue = core::QueueId(static_cast<uint32_t>(in.IntUpTo(UINT32_MAX)));
  end.outcome = static_cast<core::Outcome>(in.IntUpTo(static_cast<uint8_t>(core::Outcome::kExpired)));
  if ((flags & kEndHasCompleted) != 0) end.completed = ReadCompleted(in);
  end.kept = (flags & kKept) != 0;
  if (end.outcome == core::Outcome::kUnfinished) in.Fail();
  if (!end.kept) return end;
  end.deliveries = static_cast<uint16_t>(in.IntUpTo(UINT16_MAX));
  end.expiry = in.At();
  end.payload = in.Text();
  end.content_type = in.Text();
  if ((flags & kEndHasError) != 0) end.error = &backing->error.emplace(ReadError(in));
  if ((flags & kEndHasProcess) != 0) end.process = &backing->process.emplace(ReadProcess(in));
  return end;
}

absl::Status DecodeRecord(std::string_view record, core::JournalSink* sink) {
  Reader in(record);
  Backing backing;
  const auto type = static_cast<RecordType>(in.Byte());
  // Read whole before anything is fed.
  const auto feed = [&](auto&& value, auto&& to) {
    if (in.ok() && in.at_end()) to(value);
  };
  switch (type) {
    case RecordType::kQueueCreated:
      feed(ReadQueue(in), [&](const auto& queue) { sink->QueueCreated(queue); });
      break;
    case RecordType::kQueueChanged:
      feed(ReadQueue(in), [&](const auto& queue) { sink->QueueChanged(queue); });
      break;
    case RecordType::kQueueDeleted:
      feed(core::QueueId(static_cast<uint32_t>(in.IntUpTo(UINT32_MAX))),
           [&](core::QueueId queue) { sink->QueueDeleted(queue); });
      break;
    case RecordType::kTaskPut:
      feed(ReadTask(in, &backing), [&](const auto& task) { sink->TaskPut(task); });
      break;
    case RecordType::kTaskChanged: {
      core::ProgressRecord task;
      task.id = core::TaskId(in.Int());
      task.queue = core::QueueId(static_cast<uint32_t>(in.IntUpTo(UINT32_MAX)));
      ReadProgress(in, &task, &backing);
      if (task.state == core::TaskState::kLeased || task.state == core::TaskState::kEnded) in.Fail();
      feed(task, [&](const auto& progress) { sink->TaskChanged(progress); });
      break;
    }
    case RecordType::kTaskEnded:
      feed(ReadEnd(in, &backing), [&](const auto& end) { sink->TaskEnded(end); });
      break;
    case RecordType::kTaskDropped:
      feed(core::TaskId(in.Int()), [&](core::TaskId task) { sink->TaskDropped(task); });
      break;
    case RecordType::kLeaseMarked: {
      const auto task = core::TaskId(in.Int());
      feed(ReadLease(in, task), [&](const auto& lease) { sink->LeaseMarked(lease); });
      break;
    }
    default:
      return absl::DataLossError(absl::StrCat("journal record of unknown type ", static_cast<int>(type)));
  }
  if (!in.ok() || !in.at_end()) {
    return absl::DataLossError(
        absl::StrCat("journal record of type ", static_cast<int>(type), " cannot be decoded"));
  }
  return absl::OkStatus();
}

}  // namespace

void DecodeEntry(std::string_view entry, core::JournalSink* sink, const BadRecordVisitor& bad) {
  while (!entry.empty()) {
    uint32_t size = 0;
    if (entry.size() >= RecordWriter::kLengthBytes)
      std::memcpy(&size, entry.data(), RecordWriter::kLengthBytes);
    if (size == 0 || size > entry.size() - RecordWriter::kLengthBytes) {
      return bad(entry, absl::DataLossError("journal entry whose records' lengths make no sense"));
    }
    const std::string_view record = entry.substr(RecordWriter::kLengthBytes, size);
    entry.remove_prefix(RecordWriter::kLengthBytes + size);
    if (absl::Status status = DecodeRecord(record, sink); !status.ok()) bad(record, status);
  }
}

absl::Status DecodeRow(std::string_view key, std::string_view value, core::Restorer* restorer) {
  Reader in(value);
  Backing backing;
  const auto feed = [&](auto&& record, auto&& to) {
    if (in.ok() && in.at_end()) to(record);
  };
  const char kind = key.empty() ? '\0' : key[0];
  if (key == kCountersKey) {
    core::CounterRecord counters;
    counters.next_task = in.Int();
    counters.next_queue = static_cast<uint32_t>(in.IntUpTo(UINT32_MAX));
    feed(counters, [&](const auto& record) { restorer->LoadCounters(record); });
  } else if (kind == 'q') {
    const uint64_t as_of = in.Int();
    feed(ReadQueue(in), [&](const auto& record) { restorer->LoadQueueRow(record, as_of); });
  } else if (kind == 't') {
    const uint64_t as_of = in.Int();
    feed(ReadTask(in, &backing), [&](const auto& record) { restorer->LoadTaskRow(record, as_of); });
  } else if (kind == 'p') {
    const uint64_t as_of = in.Int();
    core::ProducerRecord producer;
    producer.id = in.Int();
    producer.acked_below = in.Int();
    for (uint64_t n = in.Int(); n > 0 && in.ok(); --n) {
      const uint64_t tag = in.Int();
      producer.tags.emplace_back(tag, core::TaskId(in.Int()));
    }
    feed(producer, [&](const auto& record) { restorer->LoadProducerRow(record, as_of); });
  } else if (kind == 'u') {
    const uint64_t as_of = in.Int();
    core::KeyRecord record;
    record.queue = core::QueueId(static_cast<uint32_t>(in.IntUpTo(UINT32_MAX)));
    record.space = static_cast<core::KeySpace>(in.IntUpTo(static_cast<uint8_t>(core::KeySpace::kUnique)));
    record.text = in.Text();
    record.task = core::TaskId(in.Int());
    record.until = in.At();
    feed(record, [&](const auto& each) { restorer->LoadKeyRow(each, as_of); });
  } else if (kind != kAsidePrefix) {
    return absl::DataLossError(
        absl::StrCat("row with unknown key ", absl::CHexEscape(absl::string_view(key.data(), key.size()))));
  } else {
    return absl::OkStatus();
  }
  if (!in.ok() || !in.at_end()) {
    return absl::DataLossError(absl::StrCat(
        "row ", absl::CHexEscape(absl::string_view(key.data(), key.size())), " cannot be decoded"));
  }
  return absl::OkStatus();
}

absl::StatusOr<RowPayload> DecodePayload(std::string_view value) {
  Reader in(value);
  in.Int();  // as_of
  const uint64_t flags = in.Int();
  in.Int();
  in.Int();
  RowPayload row;
  if ((flags & kHasHeaders) != 0) row.headers = in.Text();
  row.payload = in.Text();
  if (!in.ok()) return absl::DataLossError("a task's row cannot be decoded");
  return row;
}

}  // namespace joinq::storage
