// What a put may ask for: when, until when, how urgent, and only once.
#include <map>

#include "tests/support/core_harness.h"

namespace joinq::core {
namespace {

using testing::CoreHarness;
using testing::ReplyTo;

constexpr CallerId kCaller{1};

// A put's whole answer.
Reply PutReply(CoreHarness& core, const PutSpec& spec, std::vector<NewTask> tasks) {
  auto effects = core.Do([&](Broker& broker) { broker.Put(kCaller, spec, std::move(tasks)); });
  EXPECT_EQ(effects.replies.size(), 1u);
  return effects.replies.empty() ? Reply{} : std::move(effects.replies[0]);
}
NewTask Keyed(const std::string& unique_key, const std::string& request_id = {}) {
  NewTask task;
  task.payload = Blob("p");
  task.unique_key = unique_key;
  task.request_id = request_id;
  return task;
}
Reply PutKeyed(CoreHarness& core, const PutSpec& spec, const std::string& unique_key,
               const std::string& request_id = {}) {
  std::vector<NewTask> tasks;
  tasks.push_back(Keyed(unique_key, request_id));
  return PutReply(core, spec, std::move(tasks));
}

TEST(Eta, IsTheInstantBeforeWhichATaskIsNotHandedOut) {
  CoreHarness core;
  core.Create("q");
  PutSpec spec = core.Spec("q");
  spec.eta_ms = static_cast<uint64_t>(core.now.time_since_epoch().count()) + 5000;
  core.Put(spec, "x");
  core.Advance(4999);
  EXPECT_TRUE(core.Get("q").empty());
  core.Advance(1);
  EXPECT_EQ(core.Get("q").size(), 1u);
}

TEST(Eta, ThatHasPassedMeansNow) {
  CoreHarness core;
  core.Create("q");
  PutSpec spec = core.Spec("q");
  spec.eta_ms = 5;
  core.Put(spec, "x");
  EXPECT_EQ(core.Get("q").size(), 1u);
}

TEST(Eta, ExcludesADelayAndMayNotLieBeyondTheLimit) {
  CoreHarness core;
  core.Create("q");
  PutSpec spec = core.Spec("q");
  spec.eta_ms = static_cast<uint64_t>(core.now.time_since_epoch().count()) + 5000;
  spec.delay_ms = 1;
  EXPECT_EQ(PutReply(core, spec, std::vector<NewTask>(1)).status.code(), absl::StatusCode::kInvalidArgument);
  spec.delay_ms = 0;
  spec.eta_ms = UINT64_MAX;
  EXPECT_THAT(std::string(PutReply(core, spec, std::vector<NewTask>(1)).status.message()),
              ::testing::HasSubstr("options.eta_unix_ms"));
}

TEST(Expiry, EndsATaskThatNobodyTookInTime) {
  CoreHarness core;
  core.Create("q");
  PutSpec spec = core.Spec("q");
  spec.ttl_ms = 1000;
  core.Put(spec, "x");
  auto effects = core.DoWithoutCommit([](Broker& broker) { broker.Join(CallerId{5}, "q", 0, false); });
  effects = core.Advance(1000);
  EXPECT_TRUE(core.Get("q").empty());
  EXPECT_EQ(core.Stats("q").expired_total, 1u);
  EXPECT_EQ(core.Stats("q").unfinished(), 0u);
  ASSERT_NE(ReplyTo(effects, CallerId{5}), nullptr) << "join waits for it no more";
}

TEST(Expiry, LeavesATaskAloneOnceItIsHandedOut) {
  CoreHarness core;
  core.Create("q");
  PutSpec spec = core.Spec("q");
  spec.ttl_ms = 1000;
  core.Put(spec, "x");
  auto got = core.Get("q");
  core.Advance(5000);
  EXPECT_TRUE(core.Done("q", got.at(0)).ok());
  EXPECT_EQ(core.Stats("q").expired_total, 0u);
}

TEST(Expiry, EndsARetryThatWouldComeTooLate) {
  CoreHarness core;
  core.Create("q");
  PutSpec spec = core.Spec("q");
  spec.ttl_ms = 1000;
  spec.policy.max_attempts = 5;
  spec.policy.retry_delay_ms = 10'000;
  core.Put(spec, "x");
  EXPECT_TRUE(core.Fail("q", core.Get("q").at(0)).ok());
  EXPECT_EQ(core.Stats("q").expired_total, 1u);
}

TEST(Expiry, OutlivesARestart) {
  CoreHarness core;
  core.Create("q");
  PutSpec spec = core.Spec("q");
  spec.ttl_ms = 1000;
  core.Put(spec, "x");
  core.Restart();
  EXPECT_EQ(core.Stats("q").ready, 1u);
  core.Advance(1000);
  EXPECT_EQ(core.Stats("q").expired_total, 1u);
}

TEST(RequestId, MakesARepeatedPutOneTask) {
  CoreHarness core;
  core.Create("q");
  const Reply first = PutKeyed(core, core.Spec("q"), "", "r1");
  const Reply again = PutKeyed(core, core.Spec("q"), "", "r1");
  EXPECT_TRUE(first.existing.empty());
  EXPECT_EQ(again.existing, std::vector<uint32_t>{0});
  EXPECT_EQ(again.task_ids, first.task_ids);
  EXPECT_EQ(core.Stats("q").put_total, 1u);
}

TEST(RequestId, IsKnownAfterTheTaskEndedAndAfterARestartUntilItsWindowIsOver) {
  Limits limits;
  limits.journal_bytes_min = 100;  // what is remembered has to become rows
  CoreHarness core(limits);
  core.Create("q");
  const Reply first = PutKeyed(core, core.Spec("q"), "", "r1");
  EXPECT_TRUE(core.Done("q", core.Get("q").at(0)).ok());
  for (int i = 0; i < 50; ++i) core.Put("q", "filler");
  core.Restart();
  EXPECT_EQ(PutKeyed(core, core.Spec("q"), "", "r1").task_ids, first.task_ids);
  core.Advance(600'000);
  EXPECT_NE(PutKeyed(core, core.Spec("q"), "", "r1").task_ids, first.task_ids);
}

TEST(RequestId, RepeatedWithinOnePutIsOneTask) {
  CoreHarness core;
  core.Create("q");
  std::vector<NewTask> tasks;
  tasks.push_back(Keyed("", "r"));
  tasks.push_back(Keyed("", "r"));
  const Reply reply = PutReply(core, core.Spec("q"), std::move(tasks));
  EXPECT_EQ(reply.task_ids.at(0), reply.task_ids.at(1));
  EXPECT_EQ(core.Stats("q").ready, 1u);
}

TEST(RequestId, WorksOnAClosedOrFullQueueForWhatIsThereAlready) {
  CoreHarness core;
  core.Create("q", {.maxsize = 1});
  const Reply first = PutKeyed(core, core.Spec("q"), "", "r");
  EXPECT_EQ(PutKeyed(core, core.Spec("q"), "", "r").task_ids, first.task_ids) << "full";
  core.Do([](Broker& broker) { EXPECT_TRUE(broker.CloseQueue("q").ok()); });
  EXPECT_EQ(PutKeyed(core, core.Spec("q"), "", "r").task_ids, first.task_ids) << "closed";
}

class UniqueKey : public ::testing::TestWithParam<UniqueScope> {
 protected:
  PutSpec Spec(CoreHarness& core) {
    PutSpec spec = core.Spec("q");
    spec.unique_scope = GetParam();
    spec.unique_ms = GetParam() == UniqueScope::kWindow ? 5000 : 0;
    return spec;
  }
  bool Free(CoreHarness& core) { return PutKeyed(core, Spec(core), "k").existing.empty(); }
};

TEST_P(UniqueKey, StandsForItsTaskAsLongAsItsScopeSays) {
  CoreHarness core;
  core.Create("q");
  EXPECT_TRUE(Free(core));
  EXPECT_FALSE(Free(core)) << "waiting";
  const Delivery taken = core.Get("q").at(0);
  if (GetParam() == UniqueScope::kWaiting) {
    EXPECT_TRUE(Free(core)) << "handed out";
    return;
  }
  EXPECT_FALSE(Free(core)) << "handed out";
  EXPECT_TRUE(core.Done("q", taken).ok());
  if (GetParam() == UniqueScope::kUnfinished) {
    EXPECT_TRUE(Free(core)) << "ended";
    return;
  }
  EXPECT_FALSE(Free(core)) << "ended";
  core.Advance(5000);
  EXPECT_TRUE(Free(core)) << "the window is over";
}

TEST_P(UniqueKey, IsKnownAfterARestart) {
  CoreHarness core;
  core.Create("q");
  EXPECT_TRUE(Free(core));
  core.Restart();
  EXPECT_FALSE(Free(core));
}

TEST_P(UniqueKey, StandsInItsOwnQueueOnly) {
  CoreHarness core;
  core.Create("q");
  core.Create("other");
  EXPECT_TRUE(Free(core));
  PutSpec spec = Spec(core);
  spec.queue = "other";
  EXPECT_TRUE(PutKeyed(core, spec, "k").existing.empty());
}

INSTANTIATE_TEST_SUITE_P(Scopes, UniqueKey,
                         ::testing::Values(UniqueScope::kUnfinished, UniqueScope::kWaiting,
                                           UniqueScope::kWindow));

TEST(UniqueKeyLimits, AreNamed) {
  Limits limits;
  limits.keys_max = 2;
  CoreHarness core(limits);
  core.Create("q");
  EXPECT_THAT(std::string(PutKeyed(core, core.Spec("q"), std::string(201, 'k')).status.message()),
              ::testing::HasSubstr("201 bytes"));
  EXPECT_TRUE(PutKeyed(core, core.Spec("q"), "a").status.ok());
  EXPECT_EQ(PutKeyed(core, core.Spec("q"), "b").status.code(), absl::StatusCode::kResourceExhausted);
}

TEST(Priority, LowerNumbersGoFirst) {
  CoreHarness core;
  core.Create("q", {.order = Order::kPriority});
  std::vector<std::string> order;
  for (int priority : {5, -3, 0, 1000, -1000}) {
    PutSpec spec = core.Spec("q");
    spec.policy.priority = static_cast<int16_t>(priority);
    core.Put(spec, std::to_string(priority));
  }
  for (const auto& delivery : core.Get("q", 10)) order.emplace_back(delivery.payload.view());
  EXPECT_EQ(order, (std::vector<std::string>{"-1000", "-3", "0", "5", "1000"}));
}

TEST(Priority, AgeingLetsNobodyStarve) {
  CoreHarness core;
  core.Create("q", {.ageing_ms = 100, .order = Order::kPriority});
  PutSpec low = core.Spec("q");
  low.policy.priority = 10;
  core.Put(low, "low");
  PutSpec urgent = core.Spec("q");
  int taken_before = 0;
  for (;; ++taken_before) {
    core.Put(urgent, "urgent");
    core.Advance(50);
    if (core.Get("q").at(0).payload.view() == "low") break;
    ASSERT_LT(taken_before, 30) << "it starves";
  }
  // Ten steps of 100 ms: level with tasks that are put 1000 ms later.
  EXPECT_GE(taken_before, 18);
}

TEST(Priority, IsRefusedWhereTheOrderHasNoUseForIt) {
  CoreHarness core;
  core.Create("q");
  PutSpec spec = core.Spec("q");
  spec.policy.priority = 1;
  const Reply reply = PutReply(core, spec, std::vector<NewTask>(1));
  EXPECT_THAT(std::string(reply.status.message()), ::testing::HasSubstr("has order fifo"));
}

TEST(Priority, OrderOutlivesARestart) {
  CoreHarness core;
  core.Create("q", {.order = Order::kPriority});
  for (int priority : {2, 1, 3}) {
    PutSpec spec = core.Spec("q");
    spec.policy.priority = static_cast<int16_t>(priority);
    core.Put(spec, std::to_string(priority));
  }
  core.Restart();
  std::string order;
  for (const auto& delivery : core.Get("q", 10)) order += delivery.payload.view();
  EXPECT_EQ(order, "123");
}

TEST(Lifo, IsAStackAndATaskThatCameBackIsOnTop) {
  CoreHarness core;
  core.Create("q", {.order = Order::kLifo});
  for (const char* body : {"1", "2", "3"}) core.Put("q", body);
  const Delivery top = core.Get("q").at(0);
  EXPECT_EQ(top.payload.view(), "3");
  const LeaseRef lease{top.task, top.token};
  core.Do([&](Broker& broker) { EXPECT_TRUE(broker.Release("q", {&lease, 1}, 0).ok()); });
  std::string order;
  for (const auto& delivery : core.Get("q", 10)) order += delivery.payload.view();
  EXPECT_EQ(order, "321");
}

}  // namespace
}  // namespace joinq::core
