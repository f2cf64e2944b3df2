// Pausing, bounds by bytes, gets of several queues, and looking at tasks.
#include <map>

#include "tests/support/core_harness.h"

namespace joinq::core {
namespace {

using testing::CoreHarness;
using testing::ReplyTo;

TEST(Pause, StopsDeliveriesAndNothingElseAndOutlivesARestart) {
  CoreHarness core;
  core.Create("q");
  core.Put("q", "x");
  core.Do([](Broker& broker) { EXPECT_TRUE(broker.PauseQueue("q", true).ok()); });
  core.Put("q", "y");
  EXPECT_TRUE(core.Get("q").empty());
  core.Restart();
  EXPECT_TRUE(core.broker().GetQueue("q")->paused);
  EXPECT_TRUE(core.Get("q").empty());
  core.Do([](Broker& broker) { EXPECT_TRUE(broker.PauseQueue("q", false).ok()); });
  EXPECT_EQ(core.Get("q", 5).size(), 2u);
}

TEST(Bounds, ByBytesParkAPutUntilThereIsRoom) {
  CoreHarness core;
  core.Create("q", {.max_bytes = 100});
  core.Put("q", std::string(80, 'x'));
  std::vector<NewTask> tasks(1);
  tasks[0].payload = Blob(std::string(40, 'y'));
  auto effects = core.Do([&](Broker& broker) { broker.Put(CallerId{3}, core.Spec("q"), std::move(tasks)); });
  EXPECT_EQ(ReplyTo(effects, CallerId{3}), nullptr);
  effects = core.Do([](Broker& broker) {
    GetSpec get;
    broker.Get(CallerId{4}, "q", get);
  });
  ASSERT_NE(ReplyTo(effects, CallerId{3}), nullptr);
  EXPECT_TRUE(ReplyTo(effects, CallerId{3})->status.ok());
}

TEST(Bounds, APutThatNeverFitsIsRefusedByName) {
  CoreHarness core;
  core.Create("q", {.max_bytes = 100});
  std::vector<NewTask> tasks(1);
  tasks[0].payload = Blob(std::string(101, 'y'));
  auto effects = core.Do([&](Broker& broker) { broker.Put(CallerId{3}, core.Spec("q"), std::move(tasks)); });
  EXPECT_THAT(std::string(ReplyTo(effects, CallerId{3})->status.message()),
              ::testing::HasSubstr("max_bytes 100"));
}

TEST(SeveralQueues, AreTakenFromAsOftenAsTheirWeightsSay) {
  CoreHarness core;
  core.Create("a");
  core.Create("b");
  for (int i = 0; i < 2000; ++i) {
    core.Put("a", "a");
    core.Put("b", "b");
  }
  std::map<std::string, int> taken;
  const QueueChoice choices[] = {{"a", 3}, {"b", 1}};
  GetSpec get;
  get.max_tasks = 1000;
  get.ack = true;
  auto effects = core.Do([&](Broker& broker) { broker.Get(CallerId{3}, choices, get); });
  for (const auto& delivery : ReplyTo(effects, CallerId{3})->deliveries) ++taken[delivery.queue.str()];
  EXPECT_NEAR(taken["a"], 750, 60);
  EXPECT_EQ(taken["a"] + taken["b"], 1000);
}

TEST(SeveralQueues, AParkedGetIsServedByWhicheverHasATaskAndOnlyOnce) {
  CoreHarness core;
  core.Create("a");
  core.Create("b");
  const QueueChoice choices[] = {{"a", 1}, {"b", 1}};
  core.Do([&](Broker& broker) { broker.Get(CallerId{3}, choices, GetSpec{}); });
  EXPECT_EQ(core.broker().parked_count(), 1u);
  auto effects =
      core.Do([&](Broker& broker) { broker.Put(CallerId{4}, core.Spec("b"), std::vector<NewTask>(1)); });
  ASSERT_NE(ReplyTo(effects, CallerId{3}), nullptr);
  EXPECT_EQ(ReplyTo(effects, CallerId{3})->deliveries.size(), 1u);
  EXPECT_EQ(core.broker().parked_count(), 0u);
  core.Put("a", "y");
  EXPECT_EQ(core.Stats("a").ready, 1u);
}

TEST(SeveralQueues, EndWhenAllAreClosedAndDrained) {
  CoreHarness core;
  core.Create("a");
  core.Create("b");
  const QueueChoice choices[] = {{"a", 1}, {"b", 1}};
  core.Do([&](Broker& broker) { broker.Get(CallerId{3}, choices, GetSpec{}); });
  auto effects = core.Do([](Broker& broker) { EXPECT_TRUE(broker.CloseQueue("a").ok()); });
  EXPECT_EQ(ReplyTo(effects, CallerId{3}), nullptr);
  effects = core.Do([](Broker& broker) { EXPECT_TRUE(broker.CloseQueue("b").ok()); });
  ASSERT_NE(ReplyTo(effects, CallerId{3}), nullptr);
  EXPECT_EQ(ReplyTo(effects, CallerId{3})->status.code(), absl::StatusCode::kFailedPrecondition);
}

TEST(SeveralQueues, TwiceTheSameOrAWeightOfNothingIsRefused) {
  CoreHarness core;
  core.Create("a");
  for (const auto& choices : {std::vector<QueueChoice>{{"a", 1}, {"a", 1}}, {{"a", 0}}, {}}) {
    auto effects = core.Do([&](Broker& broker) { broker.Get(CallerId{3}, choices, GetSpec{}); });
    EXPECT_EQ(ReplyTo(effects, CallerId{3})->status.code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(Look, PeekShowsWhatComesNextWithoutTakingIt) {
  CoreHarness core;
  core.Create("q");
  for (const char* body : {"1", "2", "3"}) core.Put("q", body);
  auto views = core.broker().Peek("q", 2);
  ASSERT_EQ(views->size(), 2u);
  EXPECT_EQ(views->at(1).payload.view(), "2");
  EXPECT_EQ(core.Stats("q").ready, 3u);
}

TEST(Look, ListsTasksByQueueAndStatePageByPage) {
  CoreHarness core;
  core.Create("q");
  core.Create("other");
  std::vector<TaskId> ids;
  for (int i = 0; i < 2500; ++i) {
    ids.push_back(core.Put("q", "x"));
    core.Put("other", "x");
  }
  for (bool newest_first : {false, true}) {
    std::vector<TaskId> seen;
    TaskFilter filter;
    filter.queue = "q";
    filter.state = TaskState::kReady;
    filter.limit = 700;
    filter.newest_first = newest_first;
    do {
      for (const TaskView& view : core.broker().ListTasks(filter, &filter.after)) seen.push_back(view.id);
    } while (filter.after != 0);
    if (newest_first) std::reverse(seen.begin(), seen.end());
    EXPECT_EQ(seen, ids);
  }
}

TEST(Why, NamesTheOneReason) {
  CoreHarness core;
  core.Create("q");
  const auto why = [&](TaskId id) { return core.broker().WhyTask(id)->reason; };
  const TaskId id = core.Put("q", "x");
  EXPECT_EQ(why(id), WhyReason::kNoConsumer);
  core.Do([](Broker& broker) { EXPECT_TRUE(broker.PauseQueue("q", true).ok()); });
  EXPECT_EQ(why(id), WhyReason::kQueuePaused);
  core.Do([](Broker& broker) { EXPECT_TRUE(broker.PauseQueue("q", false).ok()); });
  PutSpec delayed = core.Spec("q");
  delayed.delay_ms = 5000;
  EXPECT_EQ(why(core.Put(delayed, "x")), WhyReason::kDelayed);
  const Delivery taken = core.Get("q").at(0);
  EXPECT_EQ(why(id), WhyReason::kLeased);
  EXPECT_TRUE(core.Fail("q", taken).ok());
  EXPECT_EQ(why(id), WhyReason::kEnded);
  PutSpec retried = core.Spec("q");
  retried.policy.max_attempts = 2;
  const TaskId second = core.Put(retried, "x");
  EXPECT_TRUE(core.Fail("q", core.Get("q").at(0)).ok());
  EXPECT_EQ(why(second), WhyReason::kBackoff);
  SessionProfile worker;
  worker.id = 4;
  worker.name = "w";
  worker.queues = {"q"};
  worker.handlers = {"upper"};
  core.Do([&](Broker& broker) { EXPECT_TRUE(broker.AttachWorker(CallerId{6}, worker, {}).ok()); });
  PutSpec unknown = core.Spec("q");
  unknown.handler = core.broker().Intern("lower");
  EXPECT_EQ(why(core.Put(unknown, "x")), WhyReason::kUnknownHandler);
  PutSpec known = core.Spec("q");
  known.handler = core.broker().Intern("upper");
  const TaskId busy = core.Put(known, "x");
  EXPECT_EQ(why(busy), WhyReason::kNoCredit);
  EXPECT_EQ(core.broker().WhyTask(busy)->number, 1u) << "tasks before it";
  EXPECT_EQ(core.broker().WhyTask(TaskId{999}).status().code(), absl::StatusCode::kNotFound);
}

TEST(QueueOptions, OutOfTheirLimitsAreRefusedByName) {
  CoreHarness core;
  const std::pair<core::QueueOptions, const char*> bad[] = {{{.lease_ms = 5}, "options.lease_ms"},
                                                            {{.ageing_ms = 0}, "options.ageing_ms"},
                                                            {{.dead_max = 2'000'000}, "options.dead_max"}};
  for (const auto& [options, field] : bad) {
    core.Do([&, options = options, field = field](Broker& broker) {
      EXPECT_THAT(std::string(broker.CreateQueue("q", options, false).status().message()),
                  ::testing::HasSubstr(field));
    });
  }
}

}  // namespace
}  // namespace joinq::core
