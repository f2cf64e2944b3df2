#include "worker/pool/pool.h"

#include <gmock/gmock.h>

#include "worker/pool/pool_size.h"
#include "worker/pool/respawn.h"

namespace joinq {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class PoolTest : public ::testing::Test {
 protected:
  Pool Make(uint32_t children, uint32_t prefetch_max = 2048) {
    PoolLimits limits;
    limits.children = children;
    limits.prefetch_max = prefetch_max;
    return Pool(limits);
  }
  static void Ready(Pool& pool, uint32_t children) {
    for (uint32_t child = 0; child < children; ++child) pool.ChildReady(child);
  }
  static Pool::Ticket Add(Pool& pool, uint64_t id, size_t bytes = 10) {
    const auto ticket = pool.Add(id, 1, id);
    pool.task(ticket).frame.assign(bytes, 'x');
    return ticket;
  }
  static std::vector<Pool::Assignment> Dispatch(Pool& pool) {
    std::vector<Pool::Assignment> out;
    pool.Dispatch(out);
    return out;
  }
  static void Finish(Pool& pool, Pool::Child child, uint64_t id, uint32_t us) {
    uint64_t number = 0;  // the oldest of that task
    for (Pool::Ticket ticket : pool.InHand()) {
      const auto& task = pool.task(ticket);
      const bool sent = task.id == id && task.place == Pool::Task::Place::kSent && task.child == child;
      if (sent && (number == 0 || task.number < number)) number = task.number;
    }
    bool expected = false;
    auto ticket = pool.Answered(child, number, id, false, us, expected);
    ASSERT_TRUE(expected);
    ASSERT_TRUE(ticket.has_value());
    pool.Free(*ticket);
  }
  // Makes the mean service time known: `us`.
  static void Teach(Pool& pool, uint32_t us) {
    for (uint64_t id = 1'000'000; id < 1'000'060; ++id) {
      Add(pool, id);
      const auto sent = Dispatch(pool);
      ASSERT_THAT(sent, SizeIs(1));
      Finish(pool, sent[0].child, id, us);
    }
  }
};

TEST_F(PoolTest, AChildIsSentNoMoreThanTheTasksOfItsLife) {
  PoolLimits limits;
  limits.child_tasks_max = 2;
  Pool pool(limits);
  Ready(pool, 1);
  for (uint64_t id = 1; id <= 3; ++id) Add(pool, id);
  EXPECT_THAT(Dispatch(pool), SizeIs(1));
  Finish(pool, 0, 1, 10);
  EXPECT_FALSE(pool.Spent(0));
  EXPECT_THAT(Dispatch(pool), SizeIs(1));
  // A frame that was taken back does not count.
  pool.Recalled(0, pool.Recallable(0, 1), 1);
  EXPECT_THAT(Dispatch(pool), SizeIs(1));
  EXPECT_FALSE(pool.Spent(0)) << "it runs its last one";
  EXPECT_THAT(Dispatch(pool), IsEmpty());
}

TEST_F(PoolTest, ARetiredChildGetsNothingNewAndBringsNoCredit) {
  Pool pool = Make(2);
  Ready(pool, 2);
  Add(pool, 1);
  const auto sent = Dispatch(pool);
  ASSERT_THAT(sent, SizeIs(1));
  pool.Retire(sent[0].child);
  EXPECT_EQ(pool.ready_children(), 1u);
  EXPECT_FALSE(pool.Spent(sent[0].child));
  EXPECT_EQ(pool.Sent(sent[0].child, 1), sent[0].ticket);
  EXPECT_FALSE(pool.Sent(sent[0].child, 2));
  Finish(pool, sent[0].child, 1, 10);
  EXPECT_TRUE(pool.Spent(sent[0].child));
  Add(pool, 2);
  EXPECT_NE(Dispatch(pool).at(0).child, sent[0].child);
  EXPECT_TRUE(pool.ChildDied(sent[0].child, 1).empty());
  EXPECT_EQ(pool.ready_children(), 1u) << "counted once";
}

TEST_F(PoolTest, AsksForNothingWithoutChildren) {
  Pool pool = Make(2);
  EXPECT_EQ(pool.TakeCredit(), 0u);
  pool.ChildReady(0);
  EXPECT_EQ(pool.TakeCredit(), 2u) << "the other one can be made";
  pool.ChildReady(1);
  EXPECT_EQ(pool.TakeCredit(), 0u);
}

TEST_F(PoolTest, AsksOnlyForThoseThereAreWhileNoneCanBeMade) {
  Pool pool = Make(4);
  pool.SetGrowing(false);
  Ready(pool, 1);
  EXPECT_EQ(pool.TakeCredit(), 1u);
  pool.SetGrowing(true);
  EXPECT_EQ(pool.TakeCredit(), 3u);
  pool.SetCapacity(6);
  EXPECT_EQ(pool.TakeCredit(), 2u);
  pool.SetCapacity(1);
  EXPECT_EQ(pool.TakeCredit(), 0u);
}

TEST_F(PoolTest, AsksForNothingAheadAfterItHandedBackUntilAChildAnswers) {
  Pool pool = Make(1);
  Ready(pool, 1);
  Teach(pool, 1);
  ASSERT_GT(pool.TakeCredit(), 100u);
  pool.VoidCredit();
  Add(pool, 1);
  Dispatch(pool);
  Add(pool, 2);
  for (auto ticket : pool.HandBack()) pool.Free(ticket);
  EXPECT_EQ(pool.TakeCredit(), 0u);
  Finish(pool, 0, 1, 1);
  EXPECT_GT(pool.TakeCredit(), 100u);
}

TEST_F(PoolTest, ATaskWithAChildOfItsOwnTakesNobodysPlace) {
  Pool pool = Make(1);
  Ready(pool, 1);
  EXPECT_EQ(pool.TakeCredit(), 1u);
  const auto apart = Add(pool, 1);
  pool.SetApart(apart);
  EXPECT_EQ(pool.TakeCredit(), 1u);
  EXPECT_THAT(Dispatch(pool), IsEmpty());
  const auto own = pool.AddSlot();
  EXPECT_EQ(pool.NextApart(own), apart);
  EXPECT_FALSE(pool.NextApart(own).has_value());
  EXPECT_EQ(pool.busy_children(), 0u);
  EXPECT_EQ(pool.in_hand(), 1u);
  EXPECT_EQ(pool.buffered(), 0u);
  Add(pool, 2);
  EXPECT_EQ(pool.buffered(), 1u);
  EXPECT_THAT(Dispatch(pool), SizeIs(1));
  EXPECT_EQ(pool.buffered(), 0u);
  // It died before it began: the task waits for another one.
  EXPECT_TRUE(pool.ChildDied(own, 0).empty());
  EXPECT_EQ(pool.waiting(), 0u);
  EXPECT_EQ(pool.waiting_apart(), 1u);
  EXPECT_EQ(pool.NextApart(own), apart);
  EXPECT_EQ(pool.ChildDied(own, 1), std::vector{apart});
  pool.Free(apart);
  EXPECT_EQ(pool.waiting_apart(), 0u);
}

TEST_F(PoolTest, TellsHowManyWereBusyAtOnce) {
  Pool pool = Make(3);
  Ready(pool, 3);
  Add(pool, 1);
  Add(pool, 2);
  Dispatch(pool);
  Finish(pool, 0, 1, 10);
  EXPECT_EQ(pool.TakeBusyPeak(), 2u);
  EXPECT_EQ(pool.TakeBusyPeak(), 1u);
  Finish(pool, 1, 2, 10);
  EXPECT_EQ(pool.TakeBusyPeak(), 1u);
  EXPECT_EQ(pool.TakeBusyPeak(), 0u);
}

TEST(PoolSizeTest, MakesChildrenWhenTasksWaitAndKeepsThem) {
  PoolSize size(1, 4, false);
  EXPECT_EQ(size.ToStart(0, 0, 0, 0), 1u) << "one is there from the start";
  EXPECT_EQ(size.ToStart(1, 1, 0, 1), 0u) << "it is on its way";
  EXPECT_EQ(size.ToStart(1, 0, 0, 2), 2u);
  EXPECT_EQ(size.ToStart(3, 2, 0, 5), 1u);
  EXPECT_EQ(size.ToStart(4, 0, 0, 1000), 0u);
  EXPECT_EQ(size.ToStart(1, 0, 1, 0), 1u) << "the only one is on its way out";
  EXPECT_EQ(size.ToStart(4, 0, 4, 1), 0u) << "which takes its time";
  EXPECT_EQ(size.Unneeded(4, 0), 0u);
  EXPECT_EQ(size.Beyond(4), 0u);
  size.Resize(2);
  EXPECT_EQ(size.Beyond(4), 2u);
  EXPECT_EQ(size.ToStart(1, 0, 0, 9), 1u);
}

TEST(PoolSizeTest, LetsGoWhatWasNotNeeded) {
  PoolSize size(2, 8, true);
  EXPECT_EQ(size.ToStart(0, 0, 0, 0), 2u);
  EXPECT_EQ(size.Unneeded(8, 5), 3u);
  EXPECT_EQ(size.Unneeded(8, 0), 6u);
  EXPECT_EQ(size.Unneeded(2, 0), 0u);
  size.Resize(1);
  EXPECT_EQ(size.least(), 1u);
}

TEST_F(PoolTest, OneAtATimeWhileTheServiceTimeIsUnknown) {
  Pool pool = Make(2);
  Ready(pool, 2);
  for (uint64_t id = 1; id <= 4; ++id) Add(pool, id);
  EXPECT_THAT(Dispatch(pool), SizeIs(2));
  EXPECT_EQ(pool.waiting(), 2u);
  EXPECT_EQ(pool.in_flight(0), 1u);
  EXPECT_EQ(pool.in_flight(1), 1u);
}

struct CreditCase {
  uint32_t service_us;
  uint32_t target;
  uint32_t in_child;
};
class PoolCreditTest : public PoolTest, public ::testing::WithParamInterface<CreditCase> {};

TEST_P(PoolCreditTest, FollowsTheServiceTime) {
  Pool pool = Make(2);
  Ready(pool, 2);
  Teach(pool, GetParam().service_us);
  EXPECT_EQ(pool.credit_target(), GetParam().target);
  for (uint64_t id = 1; id <= 3000; ++id) Add(pool, id);
  Dispatch(pool);
  EXPECT_EQ(pool.in_flight(0), GetParam().in_child);
  EXPECT_EQ(pool.in_flight(1), GetParam().in_child);
}

INSTANTIATE_TEST_SUITE_P(Times, PoolCreditTest,
                         ::testing::Values(CreditCase{0, 2048, 128}, CreditCase{10, 2000, 128},
                                           CreditCase{100, 200, 50}, CreditCase{500, 40, 10},
                                           CreditCase{999, 20, 5}, CreditCase{1000, 4, 1},
                                           CreditCase{2000, 4, 1}, CreditCase{10'000, 3, 1},
                                           CreditCase{89'000, 3, 1}, CreditCase{90'000, 2, 1},
                                           CreditCase{60'000'000, 2, 1}));

TEST_F(PoolTest, CreditNeverPassesPrefetchMaxNorFallsBelowOneAChild) {
  Pool small = Make(2, 100);
  Ready(small, 2);
  Teach(small, 0);
  EXPECT_EQ(small.credit_target(), 100u);
  Pool tiny = Make(8, 1);
  Ready(tiny, 8);
  EXPECT_EQ(tiny.credit_target(), 8u);
}

TEST_F(PoolTest, LargePayloadsLowerTheCredit) {
  Pool pool = Make(2);
  Ready(pool, 2);
  for (uint64_t id = 1; id <= 500; ++id) {
    Add(pool, id, 1 << 20);
    const auto sent = Dispatch(pool);
    ASSERT_THAT(sent, SizeIs(1));
    Finish(pool, sent[0].child, id, 1);
  }
  EXPECT_LE(pool.credit_target(), 65u);
  // And one child is not sent more than a MiB beyond the first frame.
  for (uint64_t id = 1001; id <= 1010; ++id) Add(pool, id, 1 << 20);
  EXPECT_THAT(Dispatch(pool), SizeIs(2));
}

TEST_F(PoolTest, KnowsWhenItsBytesAreTooMany) {
  PoolLimits limits;
  limits.bytes_max = 1000;
  Pool pool(limits);
  std::vector<Pool::Ticket> tickets;
  for (uint64_t id = 1; !pool.overfull(); ++id) {
    tickets.push_back(Add(pool, id, 500));
    pool.Framed(tickets.back());
  }
  EXPECT_EQ(tickets.size(), 9u);
  pool.RemoveWaiting(tickets.back());
  pool.Free(tickets.back());
  EXPECT_FALSE(pool.overfull());
}

TEST_F(PoolTest, CountsWhatWasAskedForExactly) {
  Pool pool = Make(2);
  Ready(pool, 2);
  EXPECT_EQ(pool.TakeCredit(), 2u);
  Add(pool, 1);
  EXPECT_EQ(pool.outstanding(), 1u);
  EXPECT_EQ(pool.TakeCredit(), 0u);
  pool.VoidCredit();  // the stream broke
  EXPECT_EQ(pool.TakeCredit(), 1u);
  pool.SetPaused(true);
  pool.VoidCredit();
  EXPECT_EQ(pool.TakeCredit(), 0u);
}

TEST_F(PoolTest, SharesABurstOutEvenly) {
  Pool pool = Make(4);
  Ready(pool, 4);
  Teach(pool, 1);
  for (uint64_t id = 1; id <= 100; ++id) Add(pool, id);
  Dispatch(pool);
  for (Pool::Child child = 0; child < 4; ++child) EXPECT_EQ(pool.in_flight(child), 25u);
}

TEST_F(PoolTest, RefusesAnswersNobodyOwes) {
  Pool pool = Make(1);
  Ready(pool, 1);
  bool expected = true;
  EXPECT_FALSE(pool.Answered(0, 1, 7, false, 1, expected));
  EXPECT_FALSE(expected);
  Add(pool, 1);
  Dispatch(pool);
  EXPECT_FALSE(pool.Answered(0, 1, 7, false, 1, expected));
  EXPECT_FALSE(expected);
  EXPECT_EQ(pool.in_flight(0), 1u);
}

TEST_F(PoolTest, ADeathBlamesOnlyTheTaskThatRan) {
  Pool pool = Make(2);
  Ready(pool, 1);
  Teach(pool, 1);  // frames 1..60
  for (uint64_t id = 1; id <= 5; ++id) Add(pool, id);
  Dispatch(pool);
  Finish(pool, 0, 1, 1);
  // Frame 62 (task 2) had begun.
  const auto running = pool.ChildDied(0, 62);
  ASSERT_EQ(running.size(), 1u);
  EXPECT_EQ(pool.task(running[0]).id, 2u);
  pool.Free(running[0]);
  EXPECT_EQ(pool.ready_children(), 0u);
  // The others go to the next child, in their order.
  pool.ChildReady(1);
  std::vector<uint64_t> ids;
  for (const auto& sent : Dispatch(pool)) ids.push_back(pool.task(sent.ticket).id);
  EXPECT_THAT(ids, ElementsAre(3, 4, 5));
}

TEST_F(PoolTest, ADeathBetweenTasksBlamesNobody) {
  Pool pool = Make(1);
  Ready(pool, 1);
  Add(pool, 1);
  Dispatch(pool);
  EXPECT_TRUE(pool.ChildDied(0, 0).empty());
  EXPECT_EQ(pool.waiting(), 1u);
  EXPECT_EQ(pool.in_hand(), 1u);
}

TEST_F(PoolTest, RecalledTasksRunElsewhere) {
  Pool pool = Make(2);
  Ready(pool, 1);
  Teach(pool, 1);
  for (uint64_t id = 1; id <= 4; ++id) Add(pool, id);
  Dispatch(pool);
  const auto range = pool.Recallable(0, 61);  // task 1 runs
  EXPECT_EQ(range.from, 62u);
  EXPECT_EQ(range.to, 65u);
  // Task 2 began while the recall was written: it may run or be skipped.
  pool.SetStalled(0);
  pool.Recalled(0, range, 62);
  EXPECT_EQ(pool.waiting(), 2u);
  EXPECT_EQ(pool.in_flight(0), 2u);
  EXPECT_THAT(Dispatch(pool), IsEmpty());  // stalled
  pool.ChildReady(1);
  std::vector<uint64_t> ids;
  for (const auto& sent : Dispatch(pool)) {
    EXPECT_EQ(sent.child, 1u);
    ids.push_back(pool.task(sent.ticket).id);
  }
  EXPECT_THAT(ids, ElementsAre(3, 4));
  Finish(pool, 0, 1, 1);
  bool expected = false;
  // Task 2 was skipped after all: it waits again. The recalled ones are only counted off.
  EXPECT_FALSE(pool.Answered(0, 62, 2, true, 0, expected).has_value());
  EXPECT_TRUE(expected);
  EXPECT_EQ(pool.waiting(), 1u);
  EXPECT_FALSE(pool.Answered(0, 63, 3, true, 0, expected).has_value());
  EXPECT_TRUE(expected);
  EXPECT_FALSE(pool.Answered(0, 64, 4, true, 0, expected).has_value());
  EXPECT_TRUE(expected);
  EXPECT_EQ(pool.in_flight(0), 0u);
  EXPECT_EQ(pool.in_hand(), 3u);
}

TEST_F(PoolTest, ADeathAfterARecallBlamesNoRecalledTask) {
  Pool pool = Make(1);
  Ready(pool, 1);
  Teach(pool, 1);
  for (uint64_t id = 1; id <= 3; ++id) Add(pool, id);
  Dispatch(pool);
  pool.Recalled(0, pool.Recallable(0, 61), 61);
  const auto running = pool.ChildDied(0, 61);
  ASSERT_EQ(running.size(), 1u);
  EXPECT_EQ(pool.task(running[0]).id, 1u);
  EXPECT_EQ(pool.waiting(), 2u);
}

class LanesTest : public PoolTest {
 protected:
  static Pool MakeLanes(uint32_t children, uint32_t lanes) {
    PoolLimits limits;
    limits.children = children;
    limits.lanes = lanes;
    Pool pool(limits);
    Ready(pool, children);
    return pool;
  }
  static std::vector<uint64_t> Ids(Pool& pool, const std::vector<Pool::Ticket>& tickets) {
    std::vector<uint64_t> ids;
    for (Pool::Ticket ticket : tickets) ids.push_back(pool.task(ticket).id);
    return ids;
  }
};

TEST_F(LanesTest, AChildGetsATaskForEachLane) {
  Pool pool = MakeLanes(2, 3);
  EXPECT_EQ(pool.credit_target(), 6u);
  for (uint64_t id = 1; id <= 8; ++id) Add(pool, id);
  EXPECT_THAT(Dispatch(pool), SizeIs(6));
  for (Pool::Child child : {0u, 1u}) EXPECT_EQ(pool.in_flight(child), 3u);
  EXPECT_EQ(pool.waiting(), 2u);
  EXPECT_EQ(pool.buffered(), 2u);
  EXPECT_EQ(pool.busy_children(), 2u);
}

TEST_F(LanesTest, AnswersComeInAnyOrder) {
  Pool pool = MakeLanes(1, 4);
  for (uint64_t id = 1; id <= 4; ++id) Add(pool, id);
  Dispatch(pool);
  for (uint64_t id : {3, 1, 4, 2}) {
    EXPECT_TRUE(pool.Sent(0, id)) << "frame " << id;
    Finish(pool, 0, id, 10);
    EXPECT_FALSE(pool.Sent(0, id)) << "frame " << id;
  }
  EXPECT_EQ(pool.in_hand(), 0u);
  EXPECT_EQ(pool.busy_children(), 0u);
  bool expected = true;
  EXPECT_FALSE(pool.Answered(0, 3, 3, false, 1, expected));
  EXPECT_FALSE(expected) << "answered twice";
}

TEST_F(LanesTest, AnAnswerIsOfTheDeliveryThatItIsFor) {
  Pool pool = MakeLanes(1, 2);
  const auto first = pool.Add(1, 1, 1);
  Dispatch(pool);
  pool.task(first).dropped = true;  // its lease is lost, its handler runs on
  const auto second = pool.Add(1, 1, 2);
  Dispatch(pool);
  bool expected = false;
  EXPECT_EQ(pool.Answered(0, 2, 1, false, 5, expected), second);
  EXPECT_TRUE(expected);
  EXPECT_TRUE(pool.Sent(0, 1));
  EXPECT_EQ(pool.Answered(0, 1, 1, false, 5, expected), first);
}

TEST_F(LanesTest, ADeathBlamesAllThatRanAndNoneThatWaited) {
  Pool pool = MakeLanes(1, 3);
  Teach(pool, 1);  // frames 1..60
  for (uint64_t id = 1; id <= 6; ++id) Add(pool, id);
  Dispatch(pool);
  Finish(pool, 0, 2, 1);
  // Frames 61 to 64 had begun: tasks 1, 3 and 4 ran.
  const auto running = pool.ChildDied(0, 64);
  EXPECT_THAT(Ids(pool, running), ElementsAre(1, 3, 4));
  for (Pool::Ticket ticket : running) pool.Free(ticket);
  EXPECT_THAT(Ids(pool, pool.TakeWaiting()), ElementsAre(5, 6));
  EXPECT_EQ(pool.busy_children(), 0u);
  EXPECT_EQ(pool.buffered(), 2u);
}

TEST_F(LanesTest, NoMoreAreToBlameThanCanHaveRun) {
  Pool pool = MakeLanes(1, 2);
  Teach(pool, 1);
  for (uint64_t id = 1; id <= 6; ++id) Add(pool, id);
  Dispatch(pool);
  // A status page written over by a wild handler.
  EXPECT_THAT(Ids(pool, pool.ChildDied(0, UINT64_MAX)), ElementsAre(1, 2));
}

TEST_F(LanesTest, RecalledFramesAreAnsweredBetweenOthers) {
  Pool pool = MakeLanes(2, 2);
  Teach(pool, 1);
  while (pool.in_flight(0) < 5) {
    Add(pool, 1 + pool.in_hand());
    Dispatch(pool);
  }
  std::vector<uint64_t> of_first;
  for (Pool::Ticket ticket : pool.InHand()) {
    if (pool.task(ticket).child == 0) of_first.push_back(pool.task(ticket).id);
  }
  const auto first = *pool.Find(of_first[0], 1, of_first[0]);
  const uint64_t begun = pool.task(first).number + 1;  // two of them run
  pool.Recalled(0, pool.Recallable(0, begun), begun);
  EXPECT_EQ(pool.in_flight(0), 2u);
  EXPECT_EQ(pool.waiting(), 3u);
  Finish(pool, 0, of_first[1], 1);
  bool expected = false;
  EXPECT_FALSE(pool.Answered(0, begun + 1, of_first[2], /*skipped=*/true, 0, expected));
  EXPECT_TRUE(expected);
  Finish(pool, 0, of_first[0], 1);
  EXPECT_EQ(pool.in_flight(0), 0u);
}

TEST_F(LanesTest, ThePeakCountsChildrenThatTheLanesInUseNeed) {
  Pool pool = MakeLanes(4, 4);
  for (uint64_t id = 1; id <= 5; ++id) Add(pool, id);
  Dispatch(pool);
  EXPECT_EQ(pool.TakeBusyPeak(), 2u) << "5 tasks fit in 2 children";
}

TEST_F(PoolTest, HandsBackWhatWaits) {
  Pool pool = Make(1);
  Ready(pool, 1);
  for (uint64_t id = 1; id <= 3; ++id) Add(pool, id);
  Dispatch(pool);
  std::vector<uint64_t> ids;
  for (auto ticket : pool.TakeWaiting()) {
    ids.push_back(pool.task(ticket).id);
    pool.Free(ticket);
  }
  EXPECT_THAT(ids, ElementsAre(2, 3));
  EXPECT_THAT(pool.InHand(), SizeIs(1));
  EXPECT_TRUE(pool.Find(1, 1, 1).has_value());
  EXPECT_FALSE(pool.Find(1, 1, 2).has_value());
  EXPECT_FALSE(pool.Find(3, 1, 3).has_value());
}

TEST(RespawnPolicyTest, BacksOffAndTrips) {
  RespawnPolicy policy(1);
  std::chrono::milliseconds last{0};
  for (int i = 0; i < 4; ++i) {
    last = policy.OnFailure();
    EXPECT_GE(last.count(), 50);
    EXPECT_FALSE(policy.tripped());
  }
  for (int i = 0; i < 20; ++i) last = policy.OnFailure();
  EXPECT_TRUE(policy.tripped());
  EXPECT_GE(last.count(), 5000);
  EXPECT_LE(last.count(), 10000);
  policy.OnHealthy();
  EXPECT_FALSE(policy.tripped());
  EXPECT_LE(policy.OnFailure().count(), 100);
}

}  // namespace
}  // namespace joinq
