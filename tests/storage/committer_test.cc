#include "server/storage/committer.h"

#include <gtest/gtest.h>

#include <atomic>

#include "server/storage/memory_store.h"

namespace joinq::storage {
namespace {

TEST(Committer, CommitsInOrderAndTellsOnceEach) {
  MemoryStore store;
  auto acquired = store.Acquire(0, "test");
  ASSERT_TRUE(acquired.ok());
  std::atomic<int> told{0};
  Committer committer(&store, 0, acquired->epoch, [&] { told.fetch_add(1); });
  for (uint64_t n = 1; n <= 100; ++n) {
    Batch batch;
    batch.entry_number = n;
    batch.entry = "e" + std::to_string(n);
    committer.Submit(&batch);
    EXPECT_TRUE(batch.empty());
    EXPECT_TRUE(committer.busy());
    committer.Wait();
    CommitResult result;
    ASSERT_TRUE(committer.Take(&result));
    EXPECT_EQ(result.outcome, CommitOutcome::kDurable);
    EXPECT_FALSE(committer.Take(&result));
    EXPECT_FALSE(committer.busy());
  }
  uint64_t seen = 0;
  EXPECT_TRUE(store
                  .ScanEntries(0, 0,
                               [&](uint64_t n, std::string_view) {
                                 EXPECT_EQ(n, ++seen);
                                 return absl::OkStatus();
                               })
                  .ok());
  EXPECT_EQ(seen, 100u);
}

TEST(Committer, ReportsAStoreThatFails) {
  MemoryStore store;
  ASSERT_TRUE(store.Acquire(0, "old").ok());
  ASSERT_TRUE(store.Acquire(0, "new").ok());
  Committer committer(&store, 0, /*epoch=*/1, [] {});
  Batch batch;
  batch.entry_number = 1;
  batch.entry = "x";
  committer.Submit(&batch);
  committer.Wait();
  CommitResult result;
  ASSERT_TRUE(committer.Take(&result));
  EXPECT_EQ(result.outcome, CommitOutcome::kFenced);
}

}  // namespace
}  // namespace joinq::storage
