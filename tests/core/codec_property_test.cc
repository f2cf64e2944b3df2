// Random records read as they were written, and no damage does worse than losing them.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <string>
#include <vector>

#include "server/storage/record_codec.h"

namespace joinq::core {
namespace {

template <typename E>
E AnyUpTo(E last) {
  return static_cast<E>(*rc::gen::inRange<int>(0, static_cast<int>(last) + 1));
}
Time AnyTime() {
  return *rc::gen::element(kNever, Time{}, Time(Millis(*rc::gen::inRange<int64_t>(1, 4'000'000'000'000))));
}
std::string AnyText() {
  return *rc::gen::arbitrary<std::string>();
}
uint64_t AnyNumber() {
  const int bits = *rc::gen::inRange(0, 64);
  return *rc::gen::inRange<uint64_t>(0, UINT64_MAX) >> bits;
}
TaskId AnyId() {
  return TaskId{1 + (AnyNumber() >> 1)};
}

// All that the records of one round point at, and the records.
struct Round {
  TaskError error;
  ProcessInfo process;
  std::vector<Attempt> history;
  std::vector<std::string> texts;
};

TaskRecord AnyTask(Round* round) {
  TaskRecord task;
  task.id = AnyId();
  task.queue = QueueId{static_cast<uint32_t>(AnyNumber())};
  for (int i = 0; i < 6; ++i) round->texts.push_back(AnyText());
  task.payload = round->texts[0];
  task.headers = round->texts[1];
  task.handler = round->texts[2];
  task.content_type = round->texts[3];
  task.policy.max_attempts = static_cast<uint16_t>(AnyNumber());
  task.policy.retry_delay_ms = static_cast<uint32_t>(AnyNumber());
  task.policy.result_ttl_ms = static_cast<uint32_t>(AnyNumber());
  task.policy.priority = *rc::gen::inRange<int16_t>(-kPriorityMax, kPriorityMax + 1);
  task.policy.time_limit_ms = static_cast<uint32_t>(AnyNumber());
  task.policy.soft_time_limit_ms = static_cast<uint32_t>(AnyNumber());
  task.policy.fresh_process = *rc::gen::arbitrary<bool>();
  task.state = *rc::gen::element(TaskState::kReady, TaskState::kDelayed, TaskState::kDead, TaskState::kEnded);
  const bool over = task.state == TaskState::kDead || task.state == TaskState::kEnded;
  if (over) task.outcome = *rc::gen::element(Outcome::kSucceeded, Outcome::kFailed, Outcome::kCrashed);
  task.when = AnyTime();
  task.deliveries = static_cast<uint16_t>(AnyNumber());
  task.attempts = static_cast<uint16_t>(AnyNumber());
  if (*rc::gen::arbitrary<bool>()) {
    round->error = {AnyUpTo(FailureKind::kBadArguments), AnyText(), AnyText(), *rc::gen::arbitrary<bool>()};
    task.error = &round->error;
  }
  if (*rc::gen::arbitrary<bool>()) {
    round->process = {AnyText(), static_cast<uint32_t>(AnyNumber()), *rc::gen::arbitrary<bool>(),
                      static_cast<int32_t>(AnyNumber())};
    task.process = &round->process;
  }
  for (int n = *rc::gen::inRange(0, static_cast<int>(kHistoryMax) + 1); n > 0; --n)
    round->history.push_back(
        {static_cast<uint32_t>(AnyNumber()), AnyTime(), FailureKind::kCrash, AnyText(), AnyText()});
  task.history = round->history;
  task.expires = AnyTime();
  task.deadline_ms = static_cast<uint32_t>(AnyNumber());
  task.session_id = AnyNumber();
  task.unique_key = round->texts[4];
  task.unique_scope =
      *rc::gen::element(UniqueScope::kUnfinished, UniqueScope::kWaiting, UniqueScope::kWindow);
  task.unique_until = AnyTime();
  task.request_id = round->texts[5];
  task.request_until = AnyTime();
  task.producer_id = AnyNumber();
  task.tag = AnyNumber();
  return task;
}

// Encodes what it is fed: what was read must give the same bytes again.
std::string Again(std::string_view entry, size_t* bad) {
  storage::BatchEncoder encoder;
  storage::DecodeEntry(entry, &encoder, [&](std::string_view, const absl::Status& why) {
    RC_ASSERT(!why.ok());
    ++*bad;
  });
  return encoder.batch().entry;
}

std::string AnyEntry() {
  storage::BatchEncoder encoder;
  for (int n = *rc::gen::inRange(1, 5); n > 0; --n) {
    Round round;
    const TaskRecord task = AnyTask(&round);
    switch (*rc::gen::inRange(0, 6)) {
      case 0: {
        QueueRecord queue;
        queue.id = task.queue;
        queue.name = "q" + AnyText();
        queue.options.maxsize = AnyNumber();
        queue.options.order = AnyUpTo(Order::kPriority);
        queue.options.durability =
            *rc::gen::element(Durability::kFsync, Durability::kWal, Durability::kMemory);
        queue.paused = *rc::gen::arbitrary<bool>();
        queue.retried_total = AnyNumber();
        encoder.QueueCreated(queue);
        encoder.QueueChanged(queue);
        break;
      }
      case 1: {
        ProgressRecord progress = task;
        if (progress.state == TaskState::kEnded) progress.state = TaskState::kDead;
        progress.buried = *rc::gen::arbitrary<bool>();
        progress.exhumed = *rc::gen::arbitrary<bool>();
        progress.history_whole = *rc::gen::arbitrary<bool>();
        progress.completed = {{AnyNumber(), AnyNumber()}, AnyUpTo(Verdict::kReleased)};
        encoder.TaskChanged(progress);
        break;
      }
      case 2: {
        EndRecord end;
        end.id = task.id;
        end.queue = task.queue;
        end.outcome = Outcome::kFailed;
        end.kept = *rc::gen::arbitrary<bool>();
        end.expiry = AnyTime();
        end.payload = task.payload;
        end.content_type = task.handler;
        if (end.kept) end.error = task.error;
        if (end.kept) end.process = task.process;
        end.completed = {{AnyNumber(), AnyNumber()}, AnyUpTo(Verdict::kReleased)};
        encoder.TaskEnded(end);
        break;
      }
      case 3: {
        LeaseRecord lease{
            task.id, AnyNumber(), AnyUpTo(SessionKind::kClient), {AnyNumber(), AnyNumber()}, AnyTime(), 7};
        encoder.LeaseMarked(lease);
        break;
      }
      case 4:
        encoder.TaskDropped(task.id);
        encoder.QueueDeleted(task.queue);
        break;
      default:
        encoder.TaskPut(task);
        break;
    }
  }
  return encoder.batch().entry;
}

RC_GTEST_PROP(CodecProperty, AnEntryReadsAsItWasWritten, ()) {
  const std::string entry = AnyEntry();
  size_t bad = 0;
  RC_ASSERT(Again(entry, &bad) == entry);
  RC_ASSERT(bad == 0u);
}

RC_GTEST_PROP(CodecProperty, FlippedBytesAreReadOrSetAside, ()) {
  std::string entry = AnyEntry();
  for (int n = *rc::gen::inRange(1, 4); n > 0; --n) {
    const size_t at = *rc::gen::inRange<size_t>(0, entry.size());
    entry[at] = static_cast<char>(entry[at] ^ *rc::gen::inRange(1, 256));
  }
  size_t bad = 0;
  (void)Again(entry, &bad);  // no crash, no endless loop
}

RC_GTEST_PROP(CodecProperty, ATruncatedEntryLosesOnlyItsEnd, ()) {
  const std::string entry = AnyEntry();
  const std::string part = entry.substr(0, *rc::gen::inRange<size_t>(0, entry.size()));
  size_t bad = 0;
  const std::string read = Again(part, &bad);
  RC_ASSERT(entry.substr(0, read.size()) == read);
  RC_ASSERT(bad == (read == part ? 0u : 1u));
}

RC_GTEST_PROP(CodecProperty, ARowGivesItsPayload, ()) {
  Round round;
  const TaskRecord task = AnyTask(&round);
  storage::BatchEncoder encoder;
  encoder.PutTaskRow(task, AnyNumber());
  const storage::Batch::RowPut& row = encoder.batch().row_puts[0];
  RC_ASSERT(row.key == storage::RowKey(task.id));
  const auto payload = storage::DecodePayload(row.value);
  RC_ASSERT(payload.ok());
  RC_ASSERT(payload->payload == task.payload);
  RC_ASSERT(payload->headers == task.headers);
}

}  // namespace
}  // namespace joinq::core
