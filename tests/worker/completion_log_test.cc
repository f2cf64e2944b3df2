#include "worker/link/completion_log.h"

#include <gmock/gmock.h>

namespace joinq {
namespace {

using ::testing::ElementsAre;

void Add(CompletionLog& log, uint64_t id, size_t bytes = 0) {
  log.Add(bytes)->set_task_id(id);
}

std::vector<uint64_t> Ids(const v1::WorkRequest& request) {
  std::vector<uint64_t> ids;
  for (const auto& completion : request.completions()) ids.push_back(completion.task_id());
  return ids;
}

TEST(CompletionLogTest, NumbersWhenSentAndForgetsWhenAcknowledged) {
  CompletionLog log;
  Add(log, 1);
  Add(log, 2);
  auto* first = log.Send();
  EXPECT_EQ(first->completions_seq(), 1u);
  EXPECT_THAT(Ids(*first), ElementsAre(1, 2));
  EXPECT_FALSE(log.has_unsent());
  Add(log, 3);  // never into a message that was sent
  EXPECT_THAT(Ids(*log.Send()), ElementsAre(3));
  EXPECT_EQ(log.pending(), 3u);
  log.Acked(1);
  EXPECT_EQ(log.pending(), 1u);
  log.Acked(2);
  EXPECT_EQ(log.pending(), 0u);
  Add(log, 4);
  auto* reused = log.Send();
  EXPECT_EQ(reused->completions_seq(), 3u);
  EXPECT_THAT(Ids(*reused), ElementsAre(4));
}

TEST(CompletionLogTest, SendsAgainInOrderAfterABreak) {
  CompletionLog log;
  for (uint64_t id = 1; id <= 3; ++id) {
    Add(log, id);
    log.Send()->set_credit(5);
  }
  Add(log, 4);
  log.Broken();
  log.Seen(1);
  auto* again = log.Send();
  EXPECT_EQ(again->completions_seq(), 2u);
  EXPECT_EQ(again->credit(), 0u);  // that credit is void
  EXPECT_EQ(log.Send()->completions_seq(), 3u);
  auto* fresh = log.Send();
  EXPECT_EQ(fresh->completions_seq(), 4u);
  EXPECT_THAT(Ids(*fresh), ElementsAre(4));
  EXPECT_FALSE(log.has_unsent());
  // The first was seen, but is not durable yet: a second break may bring it back.
  EXPECT_EQ(log.pending(), 4u);
  log.Broken();
  EXPECT_EQ(log.Send()->completions_seq(), 1u);
  log.Acked(1);
  EXPECT_EQ(log.pending(), 3u);
}

TEST(CompletionLogTest, SplitsByBytesAndCount) {
  CompletionLog log;
  for (uint64_t id = 1; id <= 4; ++id) Add(log, id, 400 << 10);
  EXPECT_THAT(Ids(*log.Send()), ElementsAre(1, 2));
  EXPECT_THAT(Ids(*log.Send()), ElementsAre(3, 4));
  Add(log, 5, 3 << 20);  // larger than a message should be: alone
  Add(log, 6);
  EXPECT_THAT(Ids(*log.Send()), ElementsAre(5));
  EXPECT_THAT(Ids(*log.Send()), ElementsAre(6));
  std::vector<uint64_t> pending;
  log.ForEachPending([&](const v1::Completion& completion) { pending.push_back(completion.task_id()); });
  EXPECT_THAT(pending, ElementsAre(1, 2, 3, 4, 5, 6));
}

}  // namespace
}  // namespace joinq
