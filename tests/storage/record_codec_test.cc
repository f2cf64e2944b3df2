#include "server/storage/record_codec.h"

#include <gmock/gmock.h>

#include "tests/support/core_harness.h"

namespace joinq::storage {
namespace {

// Writes down what it is told.
class Recorder final : public core::JournalSink {
 public:
  void QueueCreated(const core::QueueRecord& queue) override { said.push_back("created " + queue.name); }
  void QueueClosed(core::QueueId queue) override { said.push_back("closed " + std::to_string(Raw(queue))); }
  void QueueDeleted(core::QueueId queue) override { said.push_back("deleted " + std::to_string(Raw(queue))); }
  void TaskPut(const core::TaskRecord& task) override {
    said.push_back("put " + std::to_string(Raw(task.id)) + " " + std::string(task.payload) + " " +
                   std::string(task.handler) + " " + std::to_string(task.tag) + " " +
                   std::to_string(task.when.time_since_epoch().count()) + " " +
                   std::to_string(task.policy.result_ttl_ms));
  }
  void TaskRetried(const core::TaskRecord& task) override {
    said.push_back("retried " + std::to_string(Raw(task.id)) + " " + std::to_string(task.attempts) + " " +
                   task.error->message);
  }
  void TaskEnded(const core::EndRecord& end) override {
    said.push_back("ended " + std::to_string(Raw(end.id)) + " " + std::string(end.payload) +
                   (end.error ? end.error->detail : ""));
  }
  std::vector<std::string> said;
};

std::string SampleEntry() {
  BatchEncoder encoder;
  core::QueueRecord queue;
  queue.id = core::QueueId{3};
  queue.name = "images";
  encoder.QueueCreated(queue);
  core::TaskRecord task;
  task.id = core::TaskId{1ull << 40};
  task.queue = queue.id;
  const std::string payload("a\0b", 3);
  task.payload = payload;
  task.handler = "resize";
  task.tag = 127;
  task.when = core::Time(core::Millis(1'700'000'000'123));
  task.policy.result_ttl_ms = 128;
  encoder.TaskPut(task);
  core::TaskError error;
  error.message = "boom";
  error.detail = "tail";
  task.error = &error;
  task.attempts = 300;
  encoder.TaskRetried(task);
  core::EndRecord end;
  end.id = task.id;
  end.queue = queue.id;
  end.kept = true;
  end.payload = "result ";
  end.error = &error;
  encoder.TaskEnded(end);
  encoder.QueueClosed(queue.id);
  encoder.QueueDeleted(queue.id);
  return encoder.batch().entry;
}

TEST(RecordCodec, AnEntryReadsAsItWasWritten) {
  Recorder recorder;
  ASSERT_TRUE(DecodeEntry(SampleEntry(), &recorder).ok());
  const std::string id = std::to_string(1ull << 40);
  EXPECT_THAT(
      recorder.said,
      ::testing::ElementsAre(
          "created images", "put " + id + " " + std::string("a\0b", 3) + " resize 127 1700000000123 128",
          "retried " + id + " 300 boom", "ended " + id + " result tail", "closed 3", "deleted 3"));
}

TEST(RecordCodec, EveryTruncationIsAnErrorOrAPrefixAndNeverACrash) {
  const std::string entry = SampleEntry();
  Recorder whole;
  ASSERT_TRUE(DecodeEntry(entry, &whole).ok());
  for (size_t size = 0; size < entry.size(); ++size) {
    Recorder recorder;
    const absl::Status status = DecodeEntry(std::string_view(entry).substr(0, size), &recorder);
    EXPECT_LE(recorder.said.size(), whole.said.size());
    if (status.ok()) {
      EXPECT_TRUE(std::equal(recorder.said.begin(), recorder.said.end(), whole.said.begin()));
    }
  }
}

TEST(RecordCodec, EveryFlippedByteIsSurvived) {
  const std::string entry = SampleEntry();
  struct Nothing final : core::JournalSink {
    void QueueCreated(const core::QueueRecord&) override {}
    void QueueClosed(core::QueueId) override {}
    void QueueDeleted(core::QueueId) override {}
    void TaskPut(const core::TaskRecord&) override {}
    void TaskRetried(const core::TaskRecord&) override {}
    void TaskEnded(const core::EndRecord&) override {}
  } nothing;
  for (size_t at = 0; at < entry.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = entry;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << bit));
      (void)DecodeEntry(damaged, &nothing);  // no crash, no endless loop
    }
  }
}

TEST(RecordCodec, UnknownRecordsAndRowsAreDataLoss) {
  Recorder recorder;
  EXPECT_EQ(DecodeEntry("\x63", &recorder).code(), absl::StatusCode::kDataLoss);
  core::NullChangeSink sink;
  core::Broker broker({}, 1, 1, &sink, 1);
  core::Restorer restorer(&broker);
  EXPECT_EQ(DecodeRow("z1", "x", &restorer).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(DecodeRow("t12345678", "", &restorer).code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace joinq::storage
