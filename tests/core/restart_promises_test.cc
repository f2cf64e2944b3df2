// What clients may rely on over a restart of the broker, each at its shortest.
#include "tests/support/core_harness.h"

namespace joinq::core {
namespace {

using testing::CoreHarness;

Limits SmallJournal() {
  Limits limits;
  limits.journal_bytes_min = 500;
  return limits;
}

constexpr CallerId kStream{7};

// Tasks that come and go, so that what stays moves to rows.
void Churn(CoreHarness& core, const std::string& queue, int times) {
  for (int i = 0; i < times; ++i) {
    core.Put(queue, std::string(100, 'y'));
    auto got = core.Get(queue);
    ASSERT_EQ(got.size(), 1u);
    EXPECT_TRUE(core.Done(queue, got[0]).ok());
  }
}

TaskId PutTagged(CoreHarness& core, const std::string& queue, uint64_t tag) {
  auto effects = core.Do([&](Broker& broker) {
    EXPECT_TRUE(broker.AttachProducer(kStream, 9, "producer").ok());
    std::vector<NewTask> tasks(1);
    tasks[0].tag = tag;
    tasks[0].payload = Blob("x");
    broker.PutStream(kStream, core.Spec(queue), tasks);
  });
  EXPECT_EQ(effects.put_acks.size(), 1u);
  return effects.put_acks.empty() ? TaskId{0} : effects.put_acks[0].task;
}

TEST(RestartPromises, APutThatIsRepeatedIsThereThoughTheFirstWasInMemory) {
  CoreHarness core(SmallJournal());
  core.Create("memory", {.durability = Durability::kMemory});
  core.Create("disk");
  PutTagged(core, "memory", 1);
  PutTagged(core, "disk", 2);
  const auto producer_rows = [&] {
    int rows = 0;
    for (const auto& [key, value] : core.disk().rows) rows += key[0] == 'p';
    return rows;
  };
  EXPECT_TRUE(core.Done("disk", core.Get("disk")[0]).ok());
  Churn(core, "disk", 50);
  ASSERT_EQ(producer_rows(), 1);
  core.Restart();
  const TaskId again = PutTagged(core, "memory", 1);
  EXPECT_TRUE(core.broker().GetTask(again).ok()) << "acknowledged, but not there";
}

TEST(RestartPromises, ALeaseThatWasCompletedIsNotTakenBack) {
  CoreHarness core;
  core.Create("q");
  auto spec = core.Spec("q");
  spec.policy.max_attempts = 5;
  spec.policy.retry_delay_ms = 100;
  core.Put(spec, "x");
  SessionProfile worker;
  worker.id = 5;
  worker.name = "w";
  worker.queues = {"q"};
  auto effects = core.Do([&](Broker& broker) {
    EXPECT_TRUE(broker.AttachWorker(kStream, worker, {}).ok());
    broker.WorkerCredit(kStream, 1);
  });
  ASSERT_EQ(effects.deliveries.size(), 1u);
  const LeaseRef lease{effects.deliveries[0].task, effects.deliveries[0].token};
  core.Do([&](Broker& broker) {
    std::vector<Completion> completions(1);
    completions[0].lease = lease;
    completions[0].verdict = Verdict::kFailed;
    broker.WorkerCompletions(kStream, 1, completions);
  });
  core.Restart();
  core.Advance(200);  // it waits for its second attempt
  core.Do([&](Broker& broker) {
    auto welcome = broker.AttachWorker(kStream, worker, {&lease, 1});
    ASSERT_TRUE(welcome.ok());
    EXPECT_EQ(welcome->lost.size(), 1u);
  });
  EXPECT_EQ(core.Stats("q").leased, 0u);
}

TEST(RestartPromises, AnIdIsNotGivenAgainThoughItsTaskWasInMemory) {
  CoreHarness core;
  core.Create("memory", {.durability = Durability::kMemory});
  core.Create("disk");
  const TaskId forgotten = core.Put("memory", "x");
  core.Restart();
  EXPECT_GT(Raw(core.Put("disk", "y")), Raw(forgotten));
}

TEST(RestartPromises, AQueueThatCameFromMemoryAddsUp) {
  CoreHarness core(SmallJournal());
  core.Create("q", {.durability = Durability::kMemory});
  core.Create("disk");
  core.Put("q", "x");
  Churn(core, "disk", 50);  // its row says that one was put
  for (auto& delivery : core.Get("q", 10)) EXPECT_TRUE(core.Done("q", delivery).ok());
  core.Do([](Broker& broker) {
    QueueChanges changes;
    changes.durability = Durability::kFsync;
    EXPECT_TRUE(broker.UpdateQueue("q", changes).ok());
  });
  core.Restart();
  EXPECT_EQ(core.Stats("q").unfinished(), 0u);
}

TEST(RestartPromises, TheUniqueKeyOfADeadTaskIsFreeThoughItsPayloadWasOnDiskOnly) {
  Limits limits;
  limits.journal_bytes_min = 4096;
  limits.memory_budget_bytes = 16 << 10;
  CoreHarness core{limits};
  core.Create("q");
  core.Create("filler");
  const auto put = [&] {
    auto effects = core.Do([&](Broker& broker) {
      PutSpec spec = core.Spec("q");
      spec.unique_scope = UniqueScope::kUnfinished;
      std::vector<NewTask> tasks(1);
      tasks[0].payload = Blob(std::string(1000, 'a'));
      tasks[0].unique_key = "key";
      broker.Put(CallerId{5}, spec, std::move(tasks));
    });
    return effects.replies.at(0).task_ids.at(0);
  };
  const auto fill = [&](int tasks) {
    for (int i = 0; i < tasks; ++i) core.Put("filler", std::string(1000, 'z'));
  };
  fill(20);
  const TaskId first = put();
  fill(60);
  ASSERT_TRUE(core.broker().GetTask(first)->evicted);
  const Delivery got = core.Get("q", 1, 600'000).at(0);
  core.Advance(3000);  // the lease is marked on disk
  core.Restart();
  TaskError error;
  error.final = true;
  EXPECT_TRUE(core.Fail("q", got, error).ok());
  fill(60);
  core.Restart();
  EXPECT_NE(put(), first) << "the key still stands for a dead task";
}

TEST(RestartPromises, ADeathCountsThoughTheDeadOneIsGone) {
  CoreHarness core(SmallJournal());
  core.Create("q", {.dead_max = 1});
  core.Create("other");
  // At all distances between the put, the queue's row and the death.
  for (uint64_t i = 0; i < 60; ++i) {
    core.Put("q", "x");
    Churn(core, "other", static_cast<int>(i % 8));
    EXPECT_TRUE(core.Fail("q", core.Get("q")[0]).ok());
    Churn(core, "other", static_cast<int>(i / 8));
    if (i % 2 == 1) core.Restart();
    EXPECT_EQ(core.Stats("q").dead, i + 1);
  }
}

}  // namespace
}  // namespace joinq::core
