#include "common/names.h"
#include "tests/support/core_harness.h"
#include "tests/support/sweeps.h"

namespace joinq::core {
namespace {

using testing::CoreHarness;
using testing::ReplyTo;

TEST(Queue, HandsOutTasksInTheOrderOfTheirPuts) {
  CoreHarness core;
  core.Create("q");
  for (const char* body : {"a", "b", "c"}) core.Put("q", body);
  auto got = core.Get("q", 10);
  ASSERT_EQ(got.size(), 3u);
  EXPECT_EQ(got[0].payload.view(), "a");
  EXPECT_EQ(got[1].payload.view(), "b");
  EXPECT_EQ(got[2].payload.view(), "c");
}

TEST(Queue, CountsEveryStateExactly) {
  CoreHarness core;
  core.Create("q");
  for (int i = 0; i < 4; ++i) core.Put("q", "x");
  auto delayed = core.Spec("q");
  delayed.delay_ms = 500;
  core.Put(delayed, "later");
  auto got = core.Get("q", 2);
  EXPECT_TRUE(core.Done("q", got[0]).ok());
  QueueStats stats = core.Stats("q");
  EXPECT_EQ(stats.ready, 2u);
  EXPECT_EQ(stats.delayed, 1u);
  EXPECT_EQ(stats.leased, 1u);
  EXPECT_EQ(stats.unfinished(), 4u);
  EXPECT_EQ(stats.size(), 3u);
  EXPECT_EQ(stats.put_total, 5u);
  EXPECT_EQ(stats.done_total, 1u);
  core.Advance(500);
  EXPECT_EQ(core.Stats("q").ready, 3u);
  EXPECT_EQ(core.Stats("q").oldest_ready_ms, 500u);
}

TEST(Queue, CreatingItAgainIsFineWithTheSameOptionsOnly) {
  CoreHarness core;
  core.Create("q", {.maxsize = 3});
  core.Do([](Broker& broker) {
    EXPECT_TRUE(broker.CreateQueue("q", {.maxsize = 3}, false).ok());
    EXPECT_EQ(broker.CreateQueue("q", {.maxsize = 4}, false).status().code(),
              absl::StatusCode::kAlreadyExists);
    auto view = broker.CreateQueue("q", {.maxsize = 4}, true);
    ASSERT_TRUE(view.ok());
    EXPECT_EQ(view->options.maxsize, 3u);
  });
}

TEST(Queue, RefusesNamesByNamingTheField) {
  CoreHarness core;
  const std::string bad[] = {"",
                             "a b",
                             "a/b",
                             std::string("a\0b", 3),
                             "caf\xc3\xa9",
                             std::string(201, 'x'),
                             std::string(10'000, 'x')};
  for (const std::string& name : bad) {
    core.Do([&](Broker& broker) {
      auto view = broker.CreateQueue(name, {}, false);
      EXPECT_EQ(view.status().code(), absl::StatusCode::kInvalidArgument) << name;
      EXPECT_EQ(FieldOf(view.status()), "name");
    });
  }
  EXPECT_EQ(core.broker().queue_count(), 0u);
}

TEST(Queue, UnknownOneIsNotFoundEverywhere) {
  CoreHarness core;
  core.Do([](Broker& broker) {
    EXPECT_EQ(broker.GetQueue("nope").status().code(), absl::StatusCode::kNotFound);
    EXPECT_EQ(broker.CloseQueue("nope").code(), absl::StatusCode::kNotFound);
    EXPECT_EQ(joinq::testing::Purge(broker, "nope").status().code(), absl::StatusCode::kNotFound);
    EXPECT_EQ(joinq::testing::Delete(broker, "nope", true).code(), absl::StatusCode::kNotFound);
    broker.Join(CallerId{1}, "nope", 0, false);
    broker.Get(CallerId{2}, "nope", {});
    PutSpec spec;
    spec.queue = "nope";
    broker.Put(CallerId{3}, spec, std::vector<NewTask>(1));
    EXPECT_EQ(broker.parked_count(), 0u);
    ASSERT_EQ(broker.effects().replies.size(), 3u);
    for (const Reply& reply : broker.effects().replies)
      EXPECT_EQ(reply.status.code(), absl::StatusCode::kNotFound);
  });
}

TEST(Queue, ListsInTheOrderOfNamesPageByPage) {
  CoreHarness core;
  for (const char* name : {"b", "a2", "a1", "c", "a3"}) core.Create(name);
  bool more = false;
  auto page = core.broker().ListQueues("a", "", 2, &more);
  ASSERT_EQ(page.size(), 2u);
  EXPECT_EQ(page[0].name, "a1");
  EXPECT_EQ(page[1].name, "a2");
  EXPECT_TRUE(more);
  page = core.broker().ListQueues("a", "a2", 2, &more);
  ASSERT_EQ(page.size(), 1u);
  EXPECT_EQ(page[0].name, "a3");
  EXPECT_FALSE(more);
}

TEST(Queue, ClosedOneRefusesPutsAndDrainsGets) {
  CoreHarness core;
  core.Create("q");
  core.Put("q", "last");
  core.Do([](Broker& broker) {
    EXPECT_TRUE(broker.CloseQueue("q").ok());
    EXPECT_TRUE(broker.CloseQueue("q").ok());
  });
  auto effects =
      core.Do([&](Broker& broker) { broker.Put(CallerId{1}, core.Spec("q"), std::vector<NewTask>(1)); });
  EXPECT_EQ(ReplyTo(effects, CallerId{1})->status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(FieldOf(ReplyTo(effects, CallerId{1})->status), "closed");
  auto got = core.Get("q");
  ASSERT_EQ(got.size(), 1u);
  // The task may still come back: whoever asks now waits for that.
  effects = core.Do([](Broker& broker) { broker.Get(CallerId{7}, "q", {}); });
  EXPECT_EQ(ReplyTo(effects, CallerId{7}), nullptr);
  core::Effects end;
  const LeaseRef lease{got[0].task, got[0].token};
  end = core.Do([&](Broker& broker) { EXPECT_TRUE(broker.Done("q", {&lease, 1}, {}, {}).ok()); });
  ASSERT_NE(ReplyTo(end, CallerId{7}), nullptr);
  EXPECT_EQ(FieldOf(ReplyTo(end, CallerId{7})->status), "closed");
}

TEST(Queue, PurgeCancelsWhatWaitsAndLeavesWhatIsLeased) {
  CoreHarness core;
  core.Create("q");
  for (int i = 0; i < 3; ++i) core.Put("q", "x");
  auto delayed = core.Spec("q");
  delayed.delay_ms = 60'000;
  core.Put(delayed, "later");
  auto got = core.Get("q");
  core.Do([](Broker& broker) {
    auto cancelled = joinq::testing::Purge(broker, "q");
    ASSERT_TRUE(cancelled.ok());
    EXPECT_EQ(*cancelled, 3u);
  });
  EXPECT_EQ(core.Stats("q").unfinished(), 1u);
  EXPECT_EQ(core.Stats("q").cancelled_total, 3u);
  EXPECT_TRUE(core.Done("q", got[0]).ok());
}

TEST(Queue, DeleteNeedsForceWhileTasksAreUnfinishedAndWakesEveryone) {
  CoreHarness core;
  core.Create("q");
  core.Put("q", "x");
  core.Do([](Broker& broker) {
    EXPECT_EQ(joinq::testing::Delete(broker, "q", false).code(), absl::StatusCode::kFailedPrecondition);
    broker.Join(CallerId{5}, "q", 0, false);
  });
  auto effects = core.Do([](Broker& broker) { EXPECT_TRUE(joinq::testing::Delete(broker, "q", true).ok()); });
  ASSERT_NE(ReplyTo(effects, CallerId{5}), nullptr);
  EXPECT_EQ(ReplyTo(effects, CallerId{5})->status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(core.broker().task_count(), 0u);
  EXPECT_EQ(core.broker().memory_used(), 0u);
  core.Restart();
  EXPECT_EQ(core.broker().queue_count(), 0u);
}

TEST(Queue, PayloadOverTheLimitIsRefusedByName) {
  Limits limits;
  limits.max_payload_bytes = 10;
  CoreHarness core(limits);
  core.Create("q");
  auto effects = core.Do([&](Broker& broker) {
    std::vector<NewTask> tasks(2);
    tasks[1].payload = Blob("eleven byte");
    broker.Put(CallerId{1}, core.Spec("q"), std::move(tasks));
  });
  EXPECT_EQ(FieldOf(ReplyTo(effects, CallerId{1})->status), "tasks[1].payload");
  EXPECT_EQ(core.Stats("q").put_total, 0u);
}

TEST(Queue, PutsPastTheMemoryLimitAreRefusedNotCrashed) {
  Limits limits;
  limits.memory_bytes = 20'000;
  CoreHarness core(limits);
  core.Create("q");
  int accepted = 0;
  for (int i = 0; i < 100; ++i) {
    auto effects = core.Do([&](Broker& broker) {
      std::vector<NewTask> tasks(1);
      tasks[0].payload = Blob(std::string(1000, 'x'));
      broker.Put(CallerId{1}, core.Spec("q"), std::move(tasks));
    });
    if (effects.replies[0].status.ok()) {
      ++accepted;
    } else {
      EXPECT_EQ(effects.replies[0].status.code(), absl::StatusCode::kResourceExhausted);
    }
  }
  EXPECT_GT(accepted, 5);
  EXPECT_LT(accepted, 20);
}

}  // namespace
}  // namespace joinq::core
