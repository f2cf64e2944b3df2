// Sessions of clients, follow-ups, progress: what hangs on a lease.
#include "tests/support/core_harness.h"

namespace joinq::core {
namespace {

using testing::CoreHarness;
using testing::ReplyTo;

constexpr CallerId kStream{1};

SessionProfile Client(uint64_t id) {
  SessionProfile profile;
  profile.id = id;
  profile.name = "c";
  return profile;
}
void Attach(CoreHarness& core, CallerId stream, uint64_t id, std::vector<LeaseRef> held = {}) {
  core.Do([&](Broker& broker) { ASSERT_TRUE(broker.AttachClient(stream, Client(id), held).ok()); });
}
std::vector<Delivery> GetWith(CoreHarness& core, uint64_t session, uint32_t max = 1) {
  GetSpec get;
  get.session_id = session;
  get.no_wait = true;
  get.max_tasks = max;
  auto effects = core.Do([&](Broker& broker) { broker.Get(CallerId{50}, "q", get); });
  Reply* reply = const_cast<Reply*>(ReplyTo(effects, CallerId{50}));
  return reply == nullptr ? std::vector<Delivery>{} : std::move(reply->deliveries);
}

TEST(ClientSession, ItsLeasesLastAsLongAsItIsHeardFrom) {
  CoreHarness core;
  core.Create("q");
  core.Put("q", "x");
  Attach(core, kStream, 5);
  const Delivery taken = GetWith(core, 5).at(0);
  EXPECT_EQ(taken.lease_ms, 0u);
  const LeaseRef lease{taken.task, taken.token};
  core.Do([&](Broker& broker) { broker.ClientReceived(kStream, {&lease, 1}); });
  for (int i = 0; i < 100; ++i) {
    core.Advance(1900);
    core.Do([](Broker& broker) { broker.SessionHeard(kStream); });
  }
  EXPECT_TRUE(core.Done("q", taken).ok());
}

TEST(ClientSession, ALeaseThatNeverArrivedEndsAfterTheQueuesLeaseTimeAtNoCost) {
  CoreHarness core;
  core.Create("q", {.lease_ms = 5000});
  PutSpec spec = core.Spec("q");
  spec.policy.max_crashes = 1;
  core.Put(spec, "x");
  Attach(core, kStream, 5);
  GetWith(core, 5);
  for (int i = 0; i < 4; ++i) {
    core.Advance(1300);
    core.Do([](Broker& broker) { broker.SessionHeard(kStream); });
  }
  EXPECT_EQ(core.Get("q").size(), 1u);
}

TEST(ClientSession, WhatItDroppedGoesBackAtOnce) {
  CoreHarness core;
  core.Create("q");
  core.Put("q", "x");
  Attach(core, kStream, 5);
  const Delivery taken = GetWith(core, 5).at(0);
  const LeaseRef lease{taken.task, taken.token};
  core.Do([&](Broker& broker) { broker.ClientDropped(kStream, {&lease, 1}); });
  EXPECT_EQ(core.Get("q").size(), 1u);
}

TEST(ClientSession, WhenItsStreamBreaksTheTasksGoBackAfterTheGrace) {
  CoreHarness core;
  core.Create("q");
  PutSpec spec = core.Spec("q");
  core.Put(spec, "x");
  Attach(core, kStream, 5);
  GetWith(core, 5);
  core.Do([](Broker& broker) { broker.CallerGone(kStream); });
  core.Advance(1500);
  core.Advance(1400);
  EXPECT_TRUE(core.Get("q").empty());
  core.Advance(200);
  EXPECT_EQ(core.Get("q").size(), 1u);
}

TEST(ClientSession, ThatComesBackInTimeKeepsWhatItSaysItHolds) {
  CoreHarness core;
  core.Create("q");
  core.Put("q", "1");
  core.Put("q", "2");
  Attach(core, kStream, 5);
  auto taken = GetWith(core, 5, 2);
  core.Do([](Broker& broker) { broker.CallerGone(kStream); });
  Attach(core, CallerId{2}, 5, {{taken[0].task, taken[0].token}});
  EXPECT_EQ(core.Stats("q").leased, 1u) << "the other one never arrived";
  EXPECT_EQ(core.Get("q").at(0).payload.view(), "2");
  EXPECT_TRUE(core.Done("q", taken[0]).ok());
}

TEST(ClientSession, ThatLeavesInOrderGivesItsTasksBackAtOnceAtNoCost) {
  CoreHarness core;
  core.Create("q");
  PutSpec spec = core.Spec("q");
  spec.policy.max_crashes = 1;
  core.Put(spec, "x");
  Attach(core, kStream, 5);
  GetWith(core, 5);
  core.Do([](Broker& broker) { broker.ClientLeaves(kStream); });
  EXPECT_EQ(core.Get("q").size(), 1u);
}

TEST(ClientSession, AGetNeedsOneThatIsAlive) {
  CoreHarness core;
  core.Create("q");
  core.Put("q", "x");
  GetSpec get;
  get.session_id = 77;
  auto effects = core.Do([&](Broker& broker) { broker.Get(CallerId{50}, "q", get); });
  EXPECT_THAT(std::string(ReplyTo(effects, CallerId{50})->status.message()),
              ::testing::HasSubstr("there is no session 77"));
  EXPECT_EQ(core.Stats("q").ready, 1u);
}

TEST(ClientSession, AndAWorkersAreNotTheSame) {
  CoreHarness core;
  Attach(core, kStream, 5);
  SessionProfile worker = Client(5);
  worker.queues = {"q"};
  core.Do([&](Broker& broker) { EXPECT_FALSE(broker.AttachWorker(CallerId{9}, worker, {}).ok()); });
}

FollowUp To(CoreHarness& core, const std::string& queue, const std::string& payload) {
  FollowUp follow_up;
  follow_up.spec = core.Spec(queue);
  follow_up.tasks.emplace_back().payload = Blob(payload);
  return follow_up;
}

TEST(FollowUps, ArePutInTheSameStepAndAJoinSeesNoGap) {
  CoreHarness core;
  core.Create("q");
  core.Put("q", "first");
  const Delivery taken = core.Get("q").at(0);
  core.Do([](Broker& broker) { broker.Join(CallerId{8}, "q", 0, false); });
  std::vector<TaskId> ids;
  auto effects = core.Do([&](Broker& broker) {
    const LeaseRef lease{taken.task, taken.token};
    std::vector<FollowUp> follow_ups;
    follow_ups.push_back(To(core, "q", "second"));
    EXPECT_TRUE(broker.Done("q", {&lease, 1}, {}, {}, std::move(follow_ups), &ids).ok());
  });
  EXPECT_EQ(ids.size(), 1u);
  EXPECT_EQ(ReplyTo(effects, CallerId{8}), nullptr) << "the chain is not finished";
  core.Restart();
  EXPECT_EQ(core.Get("q").at(0).payload.view(), "second");
}

TEST(FollowUps, OneThatIsRefusedRefusesTheCompletionAndTheLeaseStays) {
  CoreHarness core;
  core.Create("q");
  core.Put("q", "first");
  const Delivery taken = core.Get("q").at(0);
  core.Do([&](Broker& broker) {
    const LeaseRef lease{taken.task, taken.token};
    std::vector<FollowUp> follow_ups;
    follow_ups.push_back(To(core, "q", "second"));
    follow_ups.push_back(To(core, "nowhere", "third"));
    const absl::Status no = broker.Done("q", {&lease, 1}, {}, {}, std::move(follow_ups), nullptr);
    EXPECT_THAT(std::string(no.message()), ::testing::HasSubstr("nowhere"));
  });
  EXPECT_EQ(core.Stats("q").put_total, 1u);
  EXPECT_TRUE(core.Done("q", taken).ok());
}

TEST(FollowUps, ArePutWhateverTheBoundOfTheirQueue) {
  CoreHarness core;
  core.Create("q", {.maxsize = 1});
  core.Put("q", "first");
  const Delivery taken = core.Get("q").at(0);
  core.Put("q", "fills it");
  core.Do([&](Broker& broker) {
    const LeaseRef lease{taken.task, taken.token};
    std::vector<FollowUp> follow_ups;
    follow_ups.push_back(To(core, "q", "second"));
    EXPECT_TRUE(broker.Done("q", {&lease, 1}, {}, {}, std::move(follow_ups)).ok());
  });
  EXPECT_EQ(core.Stats("q").ready, 2u);
}

TEST(FollowUps, MayCarryTheUniqueKeyOfTheTaskThatEnds) {
  CoreHarness core;
  core.Create("q");
  std::vector<NewTask> tasks(1);
  tasks[0].unique_key = "k";
  core.Do([&](Broker& broker) { broker.Put(CallerId{3}, core.Spec("q"), std::move(tasks)); });
  const Delivery taken = core.Get("q").at(0);
  core.Do([&](Broker& broker) {
    const LeaseRef lease{taken.task, taken.token};
    std::vector<FollowUp> follow_ups;
    follow_ups.push_back(To(core, "q", "next"));
    follow_ups[0].tasks[0].unique_key = "k";
    EXPECT_TRUE(broker.Done("q", {&lease, 1}, {}, {}, std::move(follow_ups)).ok());
  });
  EXPECT_EQ(core.Stats("q").ready, 1u);
  core.Restart();
  EXPECT_EQ(core.Get("q").at(0).payload.view(), "next");
}

TEST(Progress, IsTheNewestReportOfTheHolderOnly) {
  CoreHarness core;
  core.Create("q");
  core.Put("q", "x");
  const Delivery taken = core.Get("q").at(0);
  LeaseRef lease{taken.task, taken.token};
  core.Do([&](Broker& broker) {
    EXPECT_TRUE(broker.ReportProgress("q", lease, "10 %").ok());
    EXPECT_TRUE(broker.ReportProgress("q", lease, "20 %").ok());
    EXPECT_FALSE(broker.ReportProgress("q", lease, std::string(4097, 'x')).ok());
    ++lease.token.sequence;
    EXPECT_FALSE(broker.ReportProgress("q", lease, "99 %").ok());
    EXPECT_EQ(broker.GetTask(taken.task)->progress, "20 %");
  });
}

}  // namespace
}  // namespace joinq::core
