// The proof must be able to fail: each of these breaks the broker on purpose, and the
// oracle has to see it within a bounded number of seeds, for the right reason.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/sim/world.h"

namespace joinq::sim {
namespace {

constexpr uint64_t kSeedsMax = 60;

struct Broken {
  const char* name;
  Sabotage sabotage;
  const char* expected;  // a regular expression that the report must match
};

class TheOracle : public ::testing::TestWithParam<Broken> {};

TEST_P(TheOracle, Reports) {
  Options options;
  options.steps = 400;
  options.sabotage = GetParam().sabotage;
  std::string last;
  for (uint64_t seed = 1; seed <= kSeedsMax; ++seed) {
    const Verdict verdict = RunSeed(seed, options);
    if (verdict.problem.empty()) continue;
    last = verdict.problem;
    if (::testing::Matches(::testing::ContainsRegex(GetParam().expected))(last)) return;
  }
  FAIL() << kSeedsMax << " seeds did not show that " << GetParam().name << "; the last report: " << last;
}

INSTANTIATE_TEST_SUITE_P(
    Sees, TheOracle,
    ::testing::Values(
        Broken{"EndsAreNotWritten", Sabotage::kLoseEnds, "after its end was acknowledged|does not add up"},
        Broken{"PutsAreNotWritten", Sabotage::kLosePuts, "its put was acknowledged|does not add up"},
        Broken{"LeasesAreNotMarked", Sabotage::kLoseMarks, "was on disk"},
        Broken{"RequestIdsAreNotWritten", Sabotage::kLoseRequestIds, "became two tasks"},
        Broken{"AnswersGoOutBeforeTheCommit", Sabotage::kReleaseEarly,
               "its put was acknowledged|after its end was acknowledged|was over"},
        Broken{"NothingIsSynced", Sabotage::kForgetSync,
               "its put was acknowledged|after its end was acknowledged|was over|nobody deleted it"},
        Broken{"TokensGoBack", Sabotage::kStaleToken, "token that is not greater"},
        Broken{"JoinsLie", Sabotage::kJoinLies, "join of .* is answered OK"},
        Broken{"RepliesAreDropped", Sabotage::kDropReplies,
               "was not answered by its deadline|still waits|never answered"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(TheWorld, IsTheSameForTheSameSeed) {
  for (uint64_t seed : {3, 7, 11}) {
    const Verdict first = RunSeed(seed, {.steps = 300});
    const Verdict second = RunSeed(seed, {.steps = 300});
    EXPECT_EQ(first.problem, "");
    EXPECT_EQ(first.step, second.step);
    EXPECT_EQ(first.totals.Text(), second.totals.Text());
  }
}

TEST(TheTotals, HaveFloors) {
  Totals totals;
  totals.seeds = 100;
  EXPECT_NE(totals.TooLittle(), "");
}

TEST(SimDisk, LosesOnlyATailOfWhatWasNotSynced) {
  Random random(1);
  bool lost = false;
  for (int run = 0; run < 50; ++run) {
    SimDisk disk;
    SimStore store(&disk, &random);
    const auto acquired = store.Acquire(0, "test");
    for (uint64_t n = 1; n <= 6; ++n) {
      storage::Batch batch;
      batch.entry = "entry";
      batch.entry_number = n;
      batch.sync = n == 3;
      ASSERT_EQ(store.Commit(0, acquired->epoch, n, batch).outcome, storage::CommitOutcome::kDurable);
    }
    disk.LoseTail(&random);
    const auto& entries = disk.visible().entries;
    ASSERT_GE(entries.size(), 3u);
    EXPECT_EQ(entries.rbegin()->first, entries.size());  // no hole
    EXPECT_EQ(disk.commits(), entries.size());
    EXPECT_EQ(disk.visible().next_entry, entries.size() + 1);
    lost |= entries.size() < 6;
  }
  EXPECT_TRUE(lost);
}

}  // namespace
}  // namespace joinq::sim
