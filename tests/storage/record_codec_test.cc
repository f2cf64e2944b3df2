#include "server/storage/record_codec.h"

#include <gtest/gtest.h>

#include <random>

#include "server/storage/memory_store.h"
#include "server/storage/recovery.h"

namespace joinq::storage {
namespace {

using core::Millis;
using core::Time;

// Copies what matters of each record into lines of text.
class Recorder final : public core::JournalSink {
 public:
  void QueueCreated(const core::QueueRecord& queue) override { Add("created ", queue.name); }
  void QueueChanged(const core::QueueRecord& queue) override {
    Add("changed ", queue.name, queue.paused ? " paused" : "", queue.closed ? " closed" : "");
  }
  void QueueDeleted(core::QueueId queue) override { Add("deleted ", std::to_string(Raw(queue))); }
  void TaskPut(const core::TaskRecord& task) override {
    Add("put ", std::to_string(Raw(task.id)), " ", std::string(task.headers), "|", std::string(task.payload),
        " ", std::string(task.handler), " ", std::string(task.unique_key), " ", std::string(task.request_id),
        " ", std::to_string(task.policy.priority), " ", std::to_string(task.tag), " ",
        std::to_string(task.policy.time_limit_ms), "/", std::to_string(task.policy.soft_time_limit_ms),
        task.policy.fresh_process ? " fresh " : " ", std::to_string(task.deadline_ms), " ",
        std::to_string(task.session_id));
  }
  void TaskChanged(const core::ProgressRecord& task) override {
    Add("changed ", std::to_string(Raw(task.id)), " ", std::to_string(static_cast<int>(task.state)), " ",
        task.error == nullptr ? "" : task.error->message, " ", std::to_string(task.history.size()), " ",
        std::to_string(task.completed.token.sequence), task.buried ? " buried" : "", TextOf(task.process));
  }
  void TaskEnded(const core::EndRecord& end) override {
    Add("ended ", std::to_string(Raw(end.id)), " ", std::string(end.payload), " ",
        end.error == nullptr ? "" : end.error->message, " ", std::to_string(end.completed.token.sequence),
        TextOf(end.process));
  }
  void TaskDropped(core::TaskId task) override { Add("dropped ", std::to_string(Raw(task))); }
  void LeaseMarked(const core::LeaseRecord& lease) override {
    Add("marked ", std::to_string(Raw(lease.task)), " ", std::to_string(lease.session), " ",
        std::to_string(lease.token.sequence));
  }
  std::vector<std::string> lines;

 private:
  static std::string TextOf(const core::ProcessInfo* process) {
    if (process == nullptr) return {};
    return " " + process->host + " " + std::to_string(process->pid) + (process->ended ? " ended " : " ") +
           std::to_string(process->exit_code);
  }
  template <typename... T>
  void Add(const T&... parts) {
    std::string line;
    ((line += parts), ...);
    lines.push_back(line);
  }
};

// One record of every kind.
std::string EveryRecord() {
  BatchEncoder encoder;
  core::QueueRecord queue;
  queue.id = core::QueueId{7};
  queue.name = "q";
  encoder.QueueCreated(queue);
  queue.paused = queue.closed = true;
  encoder.QueueChanged(queue);
  core::TaskError error{core::FailureKind::kCrash, "boom", "detail", true};
  const core::Attempt attempt{1, Time(Millis(5)), core::FailureKind::kCrash, "boom", "w"};
  core::TaskRecord task;
  task.id = core::TaskId{300};
  task.queue = queue.id;
  task.headers = "h";
  task.payload = "payload";
  task.handler = "upper";
  task.policy.priority = -7;
  task.policy.time_limit_ms = 9000;
  task.policy.soft_time_limit_ms = 8000;
  task.policy.fresh_process = true;
  task.producer_id = 9;
  task.tag = 4;
  task.expires = Time(Millis(1000));
  task.deadline_ms = 600;
  task.session_id = 88;
  task.unique_key = "u";
  task.request_id = "r";
  encoder.TaskPut(task);
  core::ProgressRecord progress;
  progress.id = task.id;
  progress.state = core::TaskState::kDead;
  progress.outcome = core::Outcome::kCrashed;
  progress.error = &error;
  const core::ProcessInfo process{"host", 4711, true, -9};
  progress.process = &process;
  progress.history = {&attempt, 1};
  progress.completed = {{3, 12}, core::Verdict::kFailed};
  progress.buried = true;
  encoder.TaskChanged(progress);
  core::EndRecord end;
  end.id = task.id;
  end.queue = queue.id;
  end.kept = true;
  end.payload = "result";
  end.error = &error;
  end.process = &process;
  end.completed = {{3, 13}, core::Verdict::kDone};
  encoder.TaskEnded(end);
  encoder.LeaseMarked({task.id, 77, core::SessionKind::kWorker, {3, 14}, core::kNever, 2});
  encoder.TaskDropped(task.id);
  encoder.QueueDeleted(queue.id);
  return encoder.batch().entry;
}

std::vector<std::string> Read(std::string_view entry, int* bad) {
  Recorder recorder;
  DecodeEntry(entry, &recorder, [bad](std::string_view, const absl::Status& why) {
    EXPECT_EQ(why.code(), absl::StatusCode::kDataLoss);
    ++*bad;
  });
  return recorder.lines;
}

TEST(RecordCodec, EveryRecordComesBackAsItWas) {
  int bad = 0;
  EXPECT_EQ(
      Read(EveryRecord(), &bad),
      (std::vector<std::string>{
          "created q", "changed q paused closed", "put 300 h|payload upper u r -7 4 9000/8000 fresh 600 88",
          "changed 300 5 boom 1 12 buried host 4711 ended -9", "ended 300 result boom 13 host 4711 ended -9",
          "marked 300 77 14", "dropped 300", "deleted 7"}));
  EXPECT_EQ(bad, 0);
}

// A task with a policy, an expiry and a request id, as the first release wrote it.
TEST(RecordCodec, APutFromBeforeThereWereDeadlinesIsReadAsOneWithoutThem) {
  using namespace std::string_view_literals;
  const std::string body(
      "\x04\x52\xac\x02\x07\x07payload\x05upper\x00"  // type, flags, id, queue, payload, handler, type
      "\x02\x03\xe8\x07\xc0\xcf\x24\x00\x0d"          // the policy
      "\x05\xe8\x07\x01r\x09"sv);                     // ready since, expiry, request id and its end
  const auto size = static_cast<uint32_t>(body.size());
  std::string entry(reinterpret_cast<const char*>(&size), sizeof size);
  int bad = 0;
  EXPECT_EQ(Read(entry + body, &bad), (std::vector<std::string>{"put 300 |payload upper  r -7 0 0/0 0 0"}));
  EXPECT_EQ(bad, 0);
}

TEST(RecordCodec, ARecordThatCannotBeReadIsPassedOverAndTheOthersAreRead) {
  std::string entry = EveryRecord();
  entry[4] = 99;  // the type of the first record
  int bad = 0;
  EXPECT_EQ(Read(entry, &bad).size(), 7u);
  EXPECT_EQ(bad, 1);
}

TEST(RecordCodec, ATruncatedEntryLosesItsTailAndSaysSo) {
  const std::string entry = EveryRecord();
  int bad = 0;
  const size_t whole = Read(entry, &bad).size();
  for (size_t size = 1; size < entry.size(); ++size) {
    bad = 0;
    const size_t read = Read(std::string_view(entry).substr(0, size), &bad).size();
    EXPECT_LT(read, whole);
    EXPECT_LE(bad, 1);
  }
}

TEST(RecordCodec, EveryFlippedBitIsSurvived) {
  const std::string entry = EveryRecord();
  for (size_t i = 0; i < entry.size() * 8; ++i) {
    std::string flipped = entry;
    flipped[i / 8] = static_cast<char>(flipped[i / 8] ^ 1 << i % 8);
    int bad = 0;
    Read(flipped, &bad);
  }
}

TEST(RecordCodec, APayloadIsFoundInItsRow) {
  BatchEncoder encoder;
  core::TaskRecord task;
  task.id = core::TaskId{1};
  task.queue = core::QueueId{1};
  task.headers = "headers";
  task.payload = "payload";
  encoder.PutTaskRow(task, 17);
  auto row = DecodePayload(encoder.batch().row_puts[0].value);
  ASSERT_TRUE(row.ok());
  EXPECT_EQ(row->headers, "headers");
  EXPECT_EQ(row->payload, "payload");
  EXPECT_EQ(encoder.batch().row_puts[0].key, RowKey(task.id));
}

// A store with one queue, three tasks and one record that nobody can read.
TEST(Recovery, DamagedRecordsAreSetAsideOnceAndTheRestIsServed) {
  auto disk = std::make_shared<MemoryStore::Disk>();
  const Time now(Millis(1'000'000));
  {
    MemoryStore store(disk);
    auto acquired = store.Acquire(0, "test");
    BatchEncoder encoder;
    core::Broker broker({}, acquired->epoch, acquired->next_entry, &encoder, 1);
    broker.BeginRound(now);
    ASSERT_TRUE(broker.CreateQueue("q", {}, false).ok());
    core::PutSpec spec;
    spec.queue = "q";
    for (int i = 0; i < 3; ++i) broker.Put(core::CallerId{1}, spec, std::vector<core::NewTask>(1));
    broker.Tick();
    encoder.batch().entry_number = broker.journal_position() + 1;
    broker.EndRound();
    ASSERT_EQ(store.Commit(0, acquired->epoch, 1, encoder.batch()).outcome, CommitOutcome::kDurable);
  }
  // The type of the last record becomes one that does not exist.
  std::string& entry = disk->entries.begin()->second;
  uint32_t size = 0;
  size_t last = 0;
  for (size_t at = 0; at < entry.size(); at += 4 + size) {
    last = at;
    std::memcpy(&size, entry.data() + at, 4);
  }
  entry[last + 4] = 120;
  for (uint64_t start = 1; start <= 2; ++start) {
    MemoryStore store(disk);
    auto acquired = store.Acquire(0, "test");
    BatchEncoder encoder;
    core::Broker broker({}, acquired->epoch, acquired->next_entry, &encoder, 1);
    auto recovered = Recover(&store, 0, now, &broker);
    ASSERT_TRUE(recovered.ok()) << recovered.status();
    EXPECT_EQ(recovered->set_aside, 1u);
    EXPECT_EQ(recovered->newly_set_aside, start == 1 ? 1u : 0u);
    EXPECT_EQ(broker.GetQueue("q")->stats.ready, 2u);
    EXPECT_EQ(broker.GetQueue("q")->stats.put_total, 2u);
    if (!recovered->aside.empty()) {
      ASSERT_EQ(store.Commit(0, acquired->epoch, 1, recovered->aside).outcome, CommitOutcome::kDurable);
    }
  }
}

}  // namespace
}  // namespace joinq::storage
