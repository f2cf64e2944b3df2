// Payloads that are on disk only, and a disk that does not bring them back.
#include <condition_variable>
#include <future>

#include "tests/rpc/rpc_fixture.h"

namespace joinq::testing {
namespace {

constexpr int kTasks = 100;

// Durable, as far as the broker can tell; fails to read the rows it is told to.
class FailingReads final : public storage::MemoryStore {
 public:
  absl::Status ReadRows(storage::Partition partition, std::span<const std::string> keys,
                        const FoundVisitor& visit) override {
    std::lock_guard lock(mutex_);
    absl::Status first;
    for (size_t i = 0; i < keys.size(); ++i) {
      if (!error_.ok() && (key_.empty() || key_ == keys[i])) {
        ++failures_;
        failed_.notify_all();
        if (first.ok()) first = error_;
        continue;
      }
      (void)MemoryStore::ReadRows(partition, keys.subspan(i, 1),
                                  [&](size_t, auto value) { visit(i, value); });
    }
    return first;
  }
  std::string_view durability() const override { return "fsync"; }

  // From now on; of all rows, or that of one task.
  void Fail(absl::Status error, uint64_t task = 0) {
    std::lock_guard lock(mutex_);
    error_ = std::move(error);
    key_ = task == 0 ? "" : storage::RowKey(core::TaskId{task});
    failures_ = 0;
  }
  bool AwaitFailures(int count) {
    std::unique_lock lock(mutex_);
    return failed_.wait_for(lock, std::chrono::seconds(10), [&] { return failures_ >= count; });
  }

 private:
  std::mutex mutex_;  // the test and the reading thread
  std::condition_variable failed_;
  absl::Status error_;
  std::string key_;
  int failures_ = 0;
};

struct Store {
  FailingReads disk;
};

class EvictedTest : private Store, public RpcFixture {
 protected:
  static core::Limits Small() {
    core::Limits limits;
    limits.memory_budget_bytes = 4'000;
    limits.journal_bytes_min = 2'000;
    return limits;
  }
  EvictedTest() : RpcFixture(&disk, {}, Small()) {
    EXPECT_TRUE(Create("q").ok());
    for (int i = 1; i <= kTasks; ++i) EXPECT_TRUE(Put("q", Body(i)).ok());
    EXPECT_TRUE(EventuallyOnCore([&] { return (evicted_ = Evicted()) != 0; }));
  }
  static std::string Body(uint64_t task) { return std::to_string(task) + std::string(1'000, '.'); }
  // The oldest one whose payload is not in memory, 0 if there is none. Core thread.
  uint64_t Evicted() {
    for (uint64_t id = 1; id <= kTasks; ++id) {
      if (auto view = loop_->broker().GetTask(core::TaskId{id}); view.ok() && view->evicted) return id;
    }
    return 0;
  }
  absl::Status Show(uint64_t id, v1::TaskInfo* info) {
    grpc::ClientContext context;
    Limit(context);
    v1::GetTaskRequest request;
    request.set_task_id(id);
    request.set_with_payload(true);
    return FromGrpc(tasks_->GetTask(&context, request, info));
  }
  absl::StatusOr<v1::PeekResponse> Peek() {
    grpc::ClientContext context;
    Limit(context);
    v1::PeekRequest request;
    request.set_queue("q");
    request.set_max_tasks(kTasks);
    v1::PeekResponse response;
    absl::Status status = FromGrpc(queues_->Peek(&context, request, &response));
    if (!status.ok()) return status;
    return response;
  }
  absl::StatusOr<std::string> Get() {
    grpc::ClientContext context;
    Limit(context);
    v1::GetRequest request;
    request.set_queue("q");
    request.set_timeout_ms(8'000);
    v1::GetResponse response;
    absl::Status status = FromGrpc(queues_->Get(&context, request, &response));
    if (!status.ok()) return status;
    if (response.tasks_size() != 1) return absl::InternalError("not one task");
    return response.tasks(0).payload();
  }
  using Store::disk;
  uint64_t evicted_ = 0;
};

TEST_F(EvictedTest, APayloadThatCannotBeReadIsNotShownAsEmpty) {
  v1::TaskInfo info;
  disk.Fail(absl::UnavailableError("input/output error"));
  absl::Status status = Show(evicted_, &info);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_NE(std::string(status.message()).find("task " + std::to_string(evicted_)), std::string::npos)
      << status;
  EXPECT_EQ(Peek().status().code(), absl::StatusCode::kUnavailable);
  disk.Fail(absl::DataLossError("checksum"), evicted_);
  status = Show(evicted_, &info);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_EQ(Peek().status().code(), absl::StatusCode::kDataLoss);

  disk.Fail(absl::OkStatus());
  ASSERT_TRUE(Show(evicted_, &info).ok());
  EXPECT_EQ(info.payload(), Body(evicted_));
  const auto peeked = Peek();
  ASSERT_TRUE(peeked.ok()) << peeked.status();
  ASSERT_EQ(peeked->tasks_size(), kTasks);
  for (const v1::TaskInfo& task : peeked->tasks()) EXPECT_EQ(task.payload(), Body(task.task_id()));
}

TEST_F(EvictedTest, ADiskThatFailsToReadForAWhileCostsNoTask) {
  disk.Fail(absl::UnavailableError("input/output error"), evicted_);
  for (uint64_t i = 1; i < evicted_; ++i) ASSERT_EQ(*Get(), Body(i));
  auto waiting = std::async(std::launch::async, [this] { return Get(); });
  ASSERT_TRUE(disk.AwaitFailures(5)) << "not tried again";
  EXPECT_EQ(Info("q").stats().dead(), 0u);
  disk.Fail(absl::OkStatus());
  const auto got = waiting.get();
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(*got, Body(evicted_));
  for (uint64_t i = evicted_ + 1; i <= kTasks; ++i) ASSERT_EQ(*Get(), Body(i));
  EXPECT_EQ(Info("q").stats().dead(), 0u);
}

TEST_F(EvictedTest, ADamagedPayloadBuriesItsTaskAndTheQueueGoesOn) {
  disk.Fail(absl::DataLossError("checksum"), evicted_);
  for (uint64_t i = 1; i <= kTasks; ++i) {
    if (i == evicted_) continue;
    const auto got = Get();
    ASSERT_TRUE(got.ok()) << got.status();
    ASSERT_EQ(*got, Body(i));
  }
  EXPECT_EQ(Info("q").stats().dead(), 1u);
  EXPECT_EQ(Info("q").stats().ready(), 0u);
  grpc::ClientContext context;
  Limit(context);
  v1::GetTaskRequest request;
  request.set_task_id(evicted_);
  v1::TaskInfo info;
  ASSERT_TRUE(tasks_->GetTask(&context, request, &info).ok());
  EXPECT_EQ(info.state(), v1::TASK_STATE_DEAD);
  EXPECT_EQ(info.error().message(), "its payload could not be read back from the broker's disk");
}

}  // namespace
}  // namespace joinq::testing
