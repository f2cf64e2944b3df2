#include "server/storage/loader.h"

#include <gtest/gtest.h>

#include <future>
#include <map>

#include "server/storage/memory_store.h"

namespace joinq::storage {
namespace {

class LoaderTest : public ::testing::Test {
 protected:
  LoaderTest() {
    EXPECT_TRUE(store_.Acquire(0, "test").ok());
    Batch batch;
    batch.row_puts = {{"ta", "1"}, {"tb", ""}};
    EXPECT_EQ(store_.Commit(0, 1, 1, batch).outcome, CommitOutcome::kDurable);
  }
  MemoryStore store_;
};

TEST_F(LoaderTest, TellsWhatItFoundAndWhatItDidNot) {
  Loader loader(&store_, 0, 4);
  std::promise<LoadedRows> promise;
  std::vector<std::string> keys = {"tb", "tx", "ta"};
  ASSERT_TRUE(loader.Load(&keys, [&](LoadedRows rows) { promise.set_value(std::move(rows)); }));
  EXPECT_TRUE(keys.empty());
  const LoadedRows rows = promise.get_future().get();
  EXPECT_EQ(rows.keys, (std::vector<std::string>{"tb", "tx", "ta"}));
  EXPECT_EQ(rows.values[0].value(), "");
  EXPECT_EQ(rows.values[1].status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(rows.values[2].value(), "1");
}

// Rows of these keys cannot be read.
class BadRows final : public MemoryStore {
 public:
  absl::Status ReadRows(Partition partition, std::span<const std::string> keys,
                        const FoundVisitor& visit) override {
    absl::Status first;
    for (size_t i = 0; i < keys.size(); ++i) {
      if (auto it = bad.find(keys[i]); it != bad.end()) {
        if (first.ok()) first = it->second;
      } else {
        EXPECT_TRUE(MemoryStore::ReadRows(partition, keys.subspan(i, 1), [&](size_t, auto value) {
                      visit(i, value);
                    }).ok());
      }
    }
    return first;
  }
  std::map<std::string, absl::Status> bad;
};

TEST(Loader, TellsMissingDamagedAndUnreadableRowsApart) {
  BadRows store;
  ASSERT_TRUE(store.Acquire(0, "test").ok());
  Batch batch;
  batch.row_puts = {{"ta", "1"}, {"tb", "2"}, {"tc", "3"}};
  ASSERT_EQ(store.Commit(0, 1, 1, batch).outcome, CommitOutcome::kDurable);
  store.bad = {{"ta", absl::UnavailableError("I/O error")}, {"tc", absl::DataLossError("checksum")}};
  Loader loader(&store, 0, 4);
  std::promise<LoadedRows> promise;
  std::vector<std::string> keys = {"ta", "tb", "tc", "td"};
  ASSERT_TRUE(loader.Load(&keys, [&](LoadedRows rows) { promise.set_value(std::move(rows)); }));
  const LoadedRows rows = promise.get_future().get();
  EXPECT_EQ(rows.values[0].status(), absl::UnavailableError("I/O error"));
  EXPECT_EQ(rows.values[1].value(), "2");
  EXPECT_EQ(rows.values[2].status(), absl::DataLossError("checksum"));
  EXPECT_EQ(rows.values[3].status().code(), absl::StatusCode::kNotFound);
}

TEST_F(LoaderTest, IsBoundedAndServesInOrder) {
  Loader loader(&store_, 0, 2);
  std::promise<void> begun, go, all;
  std::vector<int> order;
  std::vector<std::string> keys = {"ta"};
  ASSERT_TRUE(loader.Load(&keys, [&](LoadedRows) {
    begun.set_value();
    go.get_future().wait();
    order.push_back(1);
  }));
  begun.get_future().wait();  // read, and no longer counted
  for (int i = 2; i <= 3; ++i) {
    keys = {"ta"};
    ASSERT_TRUE(loader.Load(&keys, [&, i](LoadedRows) {
      order.push_back(i);
      if (i == 3) all.set_value();
    }));
  }
  keys = {"tb"};
  EXPECT_FALSE(loader.Load(&keys, [](LoadedRows) { FAIL() << "was refused"; }));
  EXPECT_EQ(keys.size(), 1u);
  go.set_value();
  all.get_future().wait();
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
}

TEST_F(LoaderTest, EndsWithRequestsWaiting) {
  std::promise<void> begun, go;
  int called = 0;
  std::thread releaser;
  {
    Loader loader(&store_, 0, 100);
    for (int i = 0; i < 50; ++i) {
      std::vector<std::string> keys = {"ta"};
      ASSERT_TRUE(loader.Load(&keys, [&](LoadedRows) {
        if (called++ == 0) {
          begun.set_value();
          go.get_future().wait();
        }
      }));
    }
    begun.get_future().wait();
    releaser = std::thread([&] { go.set_value(); });
  }
  releaser.join();
  EXPECT_GE(called, 1);
}

}  // namespace
}  // namespace joinq::storage
