#include "tests/support/core_harness.h"

namespace joinq::core {
namespace {

using testing::CoreHarness;

constexpr CallerId kStream{50};

std::vector<NewTask> Tagged(std::initializer_list<uint64_t> tags) {
  std::vector<NewTask> tasks;
  for (uint64_t tag : tags) tasks.push_back({tag, Blob("p" + std::to_string(tag)), {}, {}});
  return tasks;
}

Effects Send(CoreHarness& core, CallerId stream, const PutSpec& spec, std::vector<NewTask> tasks) {
  return core.Do([&](Broker& broker) { broker.PutStream(stream, spec, tasks); });
}

struct ProducerTest : ::testing::Test {
  ProducerTest() {
    core.Create("q");
    core.Do([](Broker& broker) { EXPECT_TRUE(broker.AttachProducer(kStream, 77, "p").ok()); });
  }
  CoreHarness core;
};

TEST_F(ProducerTest, APutRepeatedWithItsTagIsOneTask) {
  auto first = Send(core, kStream, core.Spec("q"), Tagged({1, 2}));
  auto again = Send(core, kStream, core.Spec("q"), Tagged({1, 2, 3}));
  ASSERT_EQ(first.put_acks.size(), 2u);
  ASSERT_EQ(again.put_acks.size(), 3u);
  EXPECT_EQ(first.put_acks[0].task, again.put_acks[0].task);
  EXPECT_EQ(core.Stats("q").put_total, 3u);
}

TEST_F(ProducerTest, ItIsOneTaskOnAnotherStreamAndAfterARestart) {
  auto first = Send(core, kStream, core.Spec("q"), Tagged({1}));
  core.Do([](Broker& broker) {
    broker.CallerGone(kStream);
    EXPECT_TRUE(broker.AttachProducer(CallerId{51}, 77, "p").ok());
  });
  auto again = Send(core, CallerId{51}, core.Spec("q"), Tagged({1}));
  EXPECT_EQ(again.put_acks[0].task, first.put_acks[0].task);
  core.Restart();
  core.Do([](Broker& broker) { EXPECT_TRUE(broker.AttachProducer(CallerId{52}, 77, "p").ok()); });
  again = Send(core, CallerId{52}, core.Spec("q"), Tagged({1}));
  EXPECT_EQ(again.put_acks[0].task, first.put_acks[0].task);
  EXPECT_EQ(core.Stats("q").put_total, 1u);
}

TEST_F(ProducerTest, TagsBelowTheAcknowledgedOneAreForgotten) {
  Send(core, kStream, core.Spec("q"), Tagged({1, 2, 3}));
  core.Do([](Broker& broker) { broker.ProducerAcked(kStream, 3); });
  auto again = Send(core, kStream, core.Spec("q"), Tagged({1, 2, 3}));
  ASSERT_EQ(again.put_acks.size(), 1u);
  EXPECT_EQ(again.put_acks[0].tag, 3u);
  EXPECT_EQ(core.Stats("q").put_total, 3u);
}

TEST_F(ProducerTest, EachTaskIsRefusedOrParkedByItself) {
  core.Create("small", {.maxsize = 1});
  auto spec = core.Spec("small");
  spec.timeout_ms = 100;
  auto effects = Send(core, kStream, spec, Tagged({1, 2}));
  ASSERT_EQ(effects.put_acks.size(), 1u);
  EXPECT_EQ(core.broker().ParkedOf(kStream).calls, 1u);
  effects = core.Advance(100);
  ASSERT_EQ(effects.put_refusals.size(), 1u);
  EXPECT_EQ(effects.put_refusals[0].tag, 2u);
  EXPECT_EQ(effects.put_refusals[0].status.code(), absl::StatusCode::kDeadlineExceeded);
  // What was refused may be tried again under its tag.
  core.Get("small");
  effects = Send(core, kStream, spec, Tagged({2}));
  EXPECT_EQ(effects.put_acks.size(), 1u);
}

TEST_F(ProducerTest, UnknownQueueRefusesEveryTag) {
  auto effects = Send(core, kStream, core.Spec("nope"), Tagged({1, 2}));
  ASSERT_EQ(effects.put_refusals.size(), 2u);
  EXPECT_EQ(effects.put_refusals[0].status.code(), absl::StatusCode::kNotFound);
}

TEST_F(ProducerTest, ParkedPutsOfABrokenStreamAreDroppedAndAcceptedWhenSentAgain) {
  core.Create("small", {.maxsize = 1});
  Send(core, kStream, core.Spec("small"), Tagged({1, 2}));
  core.Do([](Broker& broker) {
    broker.CallerGone(kStream);
    EXPECT_TRUE(broker.AttachProducer(CallerId{51}, 77, "p").ok());
  });
  EXPECT_EQ(core.Stats("small").parked_puts, 0u);
  auto effects = Send(core, CallerId{51}, core.Spec("small"), Tagged({1, 2}));
  EXPECT_EQ(effects.put_acks.size(), 1u);
  EXPECT_EQ(core.Stats("small").parked_puts, 1u);
}

TEST_F(ProducerTest, WatchedResultsComeOnTheStreamAndOnTheNextOneIfAskedFor) {
  auto spec = core.Spec("q");
  spec.watch = true;
  spec.policy.result_ttl_ms = 60'000;
  auto put = Send(core, kStream, spec, Tagged({1, 2}));
  auto got = core.Get("q", 2);
  const LeaseRef lease{got[0].task, got[0].token};
  auto effects = core.Do([&](Broker& broker) { EXPECT_TRUE(broker.Done("q", {&lease, 1}, "r1", "t").ok()); });
  ASSERT_EQ(effects.results.size(), 1u);
  EXPECT_EQ(effects.results[0].tag, 1u);
  EXPECT_EQ(effects.results[0].payload.view(), "r1");
  core.Do([](Broker& broker) { broker.CallerGone(kStream); });
  EXPECT_TRUE(core.Done("q", got[1], "r2").ok());
  effects = core.Do([&](Broker& broker) {
    EXPECT_TRUE(broker.AttachProducer(CallerId{51}, 77, "p").ok());
    broker.WatchResult(CallerId{51}, 2, put.put_acks[1].task);
    broker.WatchResult(CallerId{51}, 9, TaskId{12345});
  });
  ASSERT_EQ(effects.results.size(), 2u);
  EXPECT_EQ(effects.results[0].payload.view(), "r2");
  EXPECT_EQ(effects.results[1].outcome, Outcome::kUnfinished);
  ASSERT_NE(effects.results[1].error, nullptr);
}

TEST(ProducerLimit, OneThatComesAndGoesDoesNotPushOutOthers) {
  Limits limits;
  limits.producers_detached_max = 3;
  CoreHarness core(limits);
  core.Create("q");
  const auto put = [&](uint64_t producer, CallerId stream) {
    auto effects = core.Do([&](Broker& broker) {
      EXPECT_TRUE(broker.AttachProducer(stream, producer, "p").ok());
      std::vector<NewTask> tasks(1);
      tasks[0].tag = 1;
      broker.PutStream(stream, core.Spec("q"), tasks);
    });
    return effects.put_acks.at(0).task;
  };
  const TaskId quiet = put(1, CallerId{10});
  core.Do([](Broker& broker) { broker.CallerGone(CallerId{10}); });
  for (uint64_t i = 0; i < 20; ++i) {
    put(2, CallerId{100 + i});
    core.Advance(1);
    core.Do([&](Broker& broker) { broker.CallerGone(CallerId{100 + i}); });
  }
  EXPECT_EQ(put(1, CallerId{11}), quiet) << "its put was forgotten, and is two tasks now";
  // But there is a bound.
  core.Do([](Broker& broker) { broker.CallerGone(CallerId{11}); });
  for (uint64_t i = 0; i < 5; ++i) {
    core.Advance(1);
    put(20 + i, CallerId{200 + i});
    core.Do([&](Broker& broker) { broker.CallerGone(CallerId{200 + i}); });
  }
  EXPECT_NE(put(1, CallerId{12}), quiet);
}

TEST_F(ProducerTest, IsForgottenLongAfterItsStreamEndedButNotBefore) {
  auto first = Send(core, kStream, core.Spec("q"), Tagged({1}));
  core.Do([](Broker& broker) { broker.CallerGone(kStream); });
  core.Advance(599'000);
  core.Do([](Broker& broker) { EXPECT_TRUE(broker.AttachProducer(CallerId{51}, 77, "p").ok()); });
  EXPECT_EQ(Send(core, CallerId{51}, core.Spec("q"), Tagged({1})).put_acks[0].task, first.put_acks[0].task);
  core.Do([](Broker& broker) { broker.CallerGone(CallerId{51}); });
  core.Advance(601'000);
  core.Do([](Broker& broker) { EXPECT_TRUE(broker.AttachProducer(CallerId{52}, 77, "p").ok()); });
  EXPECT_NE(Send(core, CallerId{52}, core.Spec("q"), Tagged({1})).put_acks[0].task, first.put_acks[0].task);
  // The tasks of the forgotten one live on.
  EXPECT_EQ(core.Get("q", 10).size(), 2u);
}

}  // namespace
}  // namespace joinq::core
