#include "server/storage/record_codec.h"

#include <optional>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace joinq::storage {
namespace {

using core::Millis;
using core::Raw;

// Never renumber: they are on disks.
enum class RecordType : uint8_t {
  kQueueCreated = 1,
  kQueueClosed = 2,
  kQueueDeleted = 3,
  kTaskPut = 4,
  kTaskRetried = 5,
  kTaskEnded = 6,
};

class Writer {
 public:
  explicit Writer(std::string* out) : out_(*out) {}
  void Type(RecordType type) { out_.push_back(static_cast<char>(type)); }
  void Byte(uint8_t value) { out_.push_back(static_cast<char>(value)); }
  void Int(uint64_t value) {
    char bytes[10];
    size_t n = 0;
    while (value >= 0x80) {
      bytes[n++] = static_cast<char>(value | 0x80);
      value >>= 7;
    }
    bytes[n++] = static_cast<char>(value);
    out_.append(bytes, n);
  }
  void Text(std::string_view text) {
    Int(text.size());
    out_.append(text);
  }
  void At(core::Time time) { Int(static_cast<uint64_t>(time.time_since_epoch().count())); }
  void Error(const core::TaskError* error) {
    Byte(error != nullptr);
    if (error == nullptr) return;
    Byte(static_cast<uint8_t>(error->kind));
    Byte(error->final);
    Text(error->message);
    Text(error->detail);
  }

 private:
  std::string& out_;
};

// Reads what Writer wrote; after any failure everything reads as 0 and ok() is false.
class Reader {
 public:
  explicit Reader(std::string_view in) : in_(in) {}
  bool ok() const { return ok_; }
  bool at_end() const { return in_.empty(); }
  uint8_t Byte() {
    if (in_.empty()) return Fail();
    const auto value = static_cast<uint8_t>(in_.front());
    in_.remove_prefix(1);
    return value;
  }
  uint64_t Int() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const uint8_t byte = Byte();
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) return ok_ ? value : 0;
    }
    return Fail();
  }
  std::string_view Text() {
    const uint64_t size = Int();
    if (!ok_ || size > in_.size()) {
      Fail();
      return {};
    }
    const std::string_view text = in_.substr(0, size);
    in_.remove_prefix(size);
    return text;
  }
  core::Time At() { return core::Time(Millis(static_cast<int64_t>(Int()))); }
  std::optional<core::TaskError> Error() {
    if (Byte() == 0) return std::nullopt;
    core::TaskError error;
    error.kind = static_cast<core::FailureKind>(Byte());
    error.final = Byte() != 0;
    error.message = std::string(Text());
    error.detail = std::string(Text());
    return error;
  }

 private:
  uint8_t Fail() {
    ok_ = false;
    in_ = {};
    return 0;
  }
  std::string_view in_;
  bool ok_ = true;
};

void WriteQueue(Writer& out, const core::QueueRecord& queue) {
  out.Int(Raw(queue.id));
  out.Text(queue.name);
  out.Int(queue.options.maxsize);
  out.Int(queue.options.lease_ms);
  out.Byte(queue.closed);
  out.Int(queue.put_total);
  out.Int(queue.done_total);
  out.Int(queue.dead);
  out.Int(queue.cancelled_total);
  out.Int(queue.redelivered_total);
}

core::QueueRecord ReadQueue(Reader& in) {
  core::QueueRecord queue;
  queue.id = core::QueueId(static_cast<uint32_t>(in.Int()));
  queue.name = std::string(in.Text());
  queue.options.maxsize = in.Int();
  queue.options.lease_ms = static_cast<uint32_t>(in.Int());
  queue.closed = in.Byte() != 0;
  queue.put_total = in.Int();
  queue.done_total = in.Int();
  queue.dead = in.Int();
  queue.cancelled_total = in.Int();
  queue.redelivered_total = in.Int();
  return queue;
}

void WriteProgress(Writer& out, const core::TaskRecord& task) {
  out.Byte(static_cast<uint8_t>(task.state));
  out.At(task.when);
  out.Int(task.deliveries);
  out.Int(task.attempts);
  out.Int(task.crashes);
  out.Error(task.error);
}

// `error` backs task->error.
void ReadProgress(Reader& in, core::TaskRecord* task, std::optional<core::TaskError>* error) {
  task->state = static_cast<core::TaskState>(in.Byte());
  task->when = in.At();
  task->deliveries = static_cast<uint32_t>(in.Int());
  task->attempts = static_cast<uint16_t>(in.Int());
  task->crashes = static_cast<uint16_t>(in.Int());
  *error = in.Error();
  task->error = error->has_value() ? &**error : nullptr;
}

void WriteTask(Writer& out, const core::TaskRecord& task) {
  out.Int(Raw(task.id));
  out.Int(Raw(task.queue));
  out.Text(task.payload);
  out.Text(task.headers);
  out.Text(task.handler);
  out.Text(task.content_type);
  out.Int(task.policy.max_attempts);
  out.Int(task.policy.max_crashes);
  out.Int(task.policy.retry_delay_ms);
  out.Int(task.policy.retry_delay_max_ms);
  out.Int(task.policy.result_ttl_ms);
  out.Int(task.producer_id);
  out.Int(task.tag);
  out.Byte(static_cast<uint8_t>(task.outcome));
  WriteProgress(out, task);
}

core::TaskRecord ReadTask(Reader& in, std::optional<core::TaskError>* error) {
  core::TaskRecord task;
  task.id = core::TaskId(in.Int());
  task.queue = core::QueueId(static_cast<uint32_t>(in.Int()));
  task.payload = in.Text();
  task.headers = in.Text();
  task.handler = in.Text();
  task.content_type = in.Text();
  task.policy.max_attempts = static_cast<uint16_t>(in.Int());
  task.policy.max_crashes = static_cast<uint16_t>(in.Int());
  task.policy.retry_delay_ms = static_cast<uint32_t>(in.Int());
  task.policy.retry_delay_max_ms = static_cast<uint32_t>(in.Int());
  task.policy.result_ttl_ms = static_cast<uint32_t>(in.Int());
  task.producer_id = in.Int();
  task.tag = in.Int();
  task.outcome = static_cast<core::Outcome>(in.Byte());
  ReadProgress(in, &task, error);
  return task;
}

std::string TaskKey(core::TaskId task) {
  std::string key(9, 't');
  uint64_t id = Raw(task);
  for (int i = 8; i >= 1; --i, id >>= 8) key[i] = static_cast<char>(id & 0xff);
  return key;
}

std::string QueueKey(core::QueueId queue) {
  return absl::StrCat("q", Raw(queue));
}

constexpr char kCountersKey[] = "counters";

bool IsState(core::TaskState state) {
  return state > core::TaskState::kNew && state <= core::TaskState::kEnded;
}

}  // namespace

void BatchEncoder::QueueCreated(const core::QueueRecord& queue) {
  Writer out(&batch_.entry);
  out.Type(RecordType::kQueueCreated);
  WriteQueue(out, queue);
}

void BatchEncoder::QueueClosed(core::QueueId queue) {
  Writer out(&batch_.entry);
  out.Type(RecordType::kQueueClosed);
  out.Int(Raw(queue));
}

void BatchEncoder::QueueDeleted(core::QueueId queue) {
  Writer out(&batch_.entry);
  out.Type(RecordType::kQueueDeleted);
  out.Int(Raw(queue));
}

void BatchEncoder::TaskPut(const core::TaskRecord& task) {
  Writer out(&batch_.entry);
  out.Type(RecordType::kTaskPut);
  WriteTask(out, task);
}

void BatchEncoder::TaskRetried(const core::TaskRecord& task) {
  Writer out(&batch_.entry);
  out.Type(RecordType::kTaskRetried);
  out.Int(Raw(task.id));
  WriteProgress(out, task);
}

void BatchEncoder::TaskEnded(const core::EndRecord& end) {
  Writer out(&batch_.entry);
  out.Type(RecordType::kTaskEnded);
  out.Int(Raw(end.id));
  out.Int(Raw(end.queue));
  out.Byte(static_cast<uint8_t>(end.outcome));
  out.Byte(end.kept);
  if (!end.kept) return;
  out.Int(end.deliveries);
  out.At(end.expiry);
  out.Text(end.payload);
  out.Text(end.content_type);
  out.Error(end.error);
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

absl::Status DecodeEntry(std::string_view entry, core::JournalSink* sink) {
  Reader in(entry);
  while (!in.at_end()) {
    const auto type = static_cast<RecordType>(in.Byte());
    std::optional<core::TaskError> error;
    switch (type) {
      case RecordType::kQueueCreated: {
        const core::QueueRecord queue = ReadQueue(in);
        if (in.ok()) sink->QueueCreated(queue);
        break;
      }
      case RecordType::kQueueClosed:
      case RecordType::kQueueDeleted: {
        const auto queue = static_cast<core::QueueId>(in.Int());
        if (!in.ok()) break;
        if (type == RecordType::kQueueClosed) {
          sink->QueueClosed(queue);
        } else {
          sink->QueueDeleted(queue);
        }
        break;
      }
      case RecordType::kTaskPut: {
        const core::TaskRecord task = ReadTask(in, &error);
        if (in.ok() && IsState(task.state)) sink->TaskPut(task);
        break;
      }
      case RecordType::kTaskRetried: {
        core::TaskRecord task;
        task.id = core::TaskId(in.Int());
        ReadProgress(in, &task, &error);
        if (in.ok() && IsState(task.state)) sink->TaskRetried(task);
        break;
      }
      case RecordType::kTaskEnded: {
        core::EndRecord end;
        end.id = core::TaskId(in.Int());
        end.queue = core::QueueId(static_cast<uint32_t>(in.Int()));
        end.outcome = static_cast<core::Outcome>(in.Byte());
        end.kept = in.Byte() != 0;
        if (end.kept) {
          end.deliveries = static_cast<uint32_t>(in.Int());
          end.expiry = in.At();
          end.payload = in.Text();
          end.content_type = in.Text();
          error = in.Error();
          end.error = error.has_value() ? &*error : nullptr;
        }
        if (in.ok()) sink->TaskEnded(end);
        break;
      }
      default:
        return absl::DataLossError(absl::StrCat("journal record of unknown type ", static_cast<int>(type)));
    }
    if (!in.ok()) return absl::DataLossError("journal entry ends in the middle of a record");
  }
  return absl::OkStatus();
}

absl::Status DecodeRow(std::string_view key, std::string_view value, core::Restorer* restorer) {
  Reader in(value);
  if (key == kCountersKey) {
    core::CounterRecord counters;
    counters.next_task = in.Int();
    counters.next_queue = static_cast<uint32_t>(in.Int());
    if (in.ok()) restorer->LoadCounters(counters);
  } else if (!key.empty() && key[0] == 'q') {
    const uint64_t as_of = in.Int();
    const core::QueueRecord queue = ReadQueue(in);
    if (in.ok()) restorer->LoadQueueRow(queue, as_of);
  } else if (!key.empty() && key[0] == 't') {
    const uint64_t as_of = in.Int();
    std::optional<core::TaskError> error;
    const core::TaskRecord task = ReadTask(in, &error);
    if (in.ok() && IsState(task.state)) restorer->LoadTaskRow(task, as_of);
  } else {
    return absl::DataLossError(
        absl::StrCat("row with unknown key ", absl::CHexEscape(absl::string_view(key.data(), key.size()))));
  }
  if (!in.ok()) {
    return absl::DataLossError(absl::StrCat(
        "row ", absl::CHexEscape(absl::string_view(key.data(), key.size())), " cannot be decoded"));
  }
  return absl::OkStatus();
}

}  // namespace joinq::storage
