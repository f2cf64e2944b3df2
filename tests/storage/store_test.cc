// What every store must do, run on each of them; and what only a disk can do wrong.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include "server/storage/data_directory.h"
#include "server/storage/memory_store.h"
#include "server/storage/rocksdb_store.h"
#include "tests/storage/temp_directory.h"

namespace joinq::storage {
namespace {

namespace fs = std::filesystem;

// A place that a store can be opened on again and again.
class Place {
 public:
  virtual ~Place() = default;
  virtual std::unique_ptr<Store> Open() = 0;
};

class MemoryPlace final : public Place {
 public:
  std::unique_ptr<Store> Open() override { return std::make_unique<MemoryStore>(disk_); }

 private:
  std::shared_ptr<MemoryStore::Disk> disk_ = std::make_shared<MemoryStore::Disk>();
};

class RocksPlace final : public Place {
 public:
  std::unique_ptr<Store> Open() override {
    auto store = OpenRocksDbStore(directory_.path + "/data");
    EXPECT_TRUE(store.ok()) << store.status();
    return store.ok() ? *std::move(store) : nullptr;
  }

 private:
  TempDirectory directory_;
};

class AnyStore : public ::testing::TestWithParam<std::string> {
 protected:
  AnyStore() {
    if (GetParam() == "memory") {
      place_ = std::make_unique<MemoryPlace>();
    } else {
      place_ = std::make_unique<RocksPlace>();
    }
    Reopen();
  }
  void Reopen() {
    store_.reset();
    store_ = place_->Open();
    ASSERT_NE(store_, nullptr);
    auto acquired = store_->Acquire(0, "test");
    ASSERT_TRUE(acquired.ok());
    EXPECT_GT(acquired->epoch, epoch_);
    epoch_ = acquired->epoch;
    next_entry_ = acquired->next_entry;
    seq_ = 0;
  }
  void Commit(const Batch& batch) {
    ASSERT_EQ(store_->Commit(0, epoch_, ++seq_, batch).outcome, CommitOutcome::kDurable);
  }
  Batch Entry(std::string text) {
    Batch batch;
    batch.entry_number = next_entry_++;
    batch.entry = std::move(text);
    return batch;
  }
  std::map<uint64_t, std::string> Entries(uint64_t from = 0) {
    std::map<uint64_t, std::string> entries;
    EXPECT_TRUE(store_
                    ->ScanEntries(0, from,
                                  [&](uint64_t n, std::string_view e) {
                                    entries[n] = std::string(e);
                                    return absl::OkStatus();
                                  })
                    .ok());
    return entries;
  }
  std::map<std::string, std::string> Rows() {
    std::map<std::string, std::string> rows;
    EXPECT_TRUE(store_
                    ->ScanRows(0,
                               [&](std::string_view k, std::string_view v) {
                                 rows[std::string(k)] = std::string(v);
                                 return absl::OkStatus();
                               })
                    .ok());
    return rows;
  }

  std::unique_ptr<Place> place_;
  std::unique_ptr<Store> store_;
  uint64_t epoch_ = 0, next_entry_ = 1, seq_ = 0;
};

TEST_P(AnyStore, EntriesAndRowsAreThereAfterReopening) {
  Batch batch = Entry("one");
  batch.row_puts = {{"ta", "1"}, {"tb", "2"}};
  Commit(batch);
  Commit(Entry("two"));
  Reopen();
  EXPECT_EQ(Entries(), (std::map<uint64_t, std::string>{{1, "one"}, {2, "two"}}));
  EXPECT_EQ(Entries(2).size(), 1u);
  EXPECT_EQ(Rows(), (std::map<std::string, std::string>{{"ta", "1"}, {"tb", "2"}}));
  EXPECT_EQ(next_entry_, 3u);
}

TEST_P(AnyStore, DroppedEntriesStayDroppedAndTheirNumbersAreNotUsedAgain) {
  for (int i = 0; i < 5; ++i) Commit(Entry("e" + std::to_string(i)));
  Batch drop;
  drop.drop_through = 5;
  drop.row_puts = {{"t1", "x"}};
  Commit(drop);
  Reopen();
  EXPECT_TRUE(Entries().empty());
  EXPECT_EQ(next_entry_, 6u);
  Batch erase;
  erase.row_deletes = {"t1"};
  Commit(erase);
  Reopen();
  EXPECT_TRUE(Rows().empty());
}

TEST_P(AnyStore, TheSameCommitRepeatedIsOne) {
  Batch batch = Entry("one");
  Commit(batch);
  EXPECT_EQ(store_->Commit(0, epoch_, seq_, batch).outcome, CommitOutcome::kDurable);
  EXPECT_EQ(Entries().size(), 1u);
}

TEST_P(AnyStore, AnOldEpochIsFenced) {
  EXPECT_EQ(store_->Commit(0, epoch_ - 1, 1, Entry("old")).outcome, CommitOutcome::kFenced);
  EXPECT_TRUE(Entries().empty());
}

TEST_P(AnyStore, AVisitorsErrorEndsTheScan) {
  Commit(Entry("one"));
  Commit(Entry("two"));
  int seen = 0;
  auto status = store_->ScanEntries(0, 0, [&](uint64_t, std::string_view) {
    ++seen;
    return absl::DataLossError("enough");
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(seen, 1);
}

TEST_P(AnyStore, UnsyncedCommitsAreOrderedAmongTheOthers) {
  Batch batch = Entry("one");
  batch.sync = false;
  Commit(batch);
  Commit(Entry("two"));
  batch = Entry("three");
  batch.sync = false;
  Commit(batch);
  batch.Clear();
  EXPECT_TRUE(batch.sync);
  Reopen();
  EXPECT_EQ(Entries(), (std::map<uint64_t, std::string>{{1, "one"}, {2, "two"}, {3, "three"}}));
}

TEST_P(AnyStore, RowsAreReadInTheOrderOfTheirKeys) {
  Batch batch;
  for (int i = 0; i < 300; ++i) batch.row_puts.push_back({"t" + std::to_string(i), "v" + std::to_string(i)});
  Commit(batch);
  batch.Clear();
  batch.row_deletes = {"t7"};
  Commit(batch);
  std::vector<std::string> keys;
  for (int i = 299; i >= 0; --i) keys.push_back("t" + std::to_string(i));
  keys.insert(keys.begin(), {"nobody", ""});
  std::vector<std::string> found;
  size_t last = 0;
  EXPECT_TRUE(store_
                  ->ReadRows(0, keys,
                             [&](size_t index, std::string_view value) {
                               EXPECT_GT(index, last);
                               last = index;
                               EXPECT_EQ("v" + keys[index].substr(1), value);
                               found.emplace_back(value);
                             })
                  .ok());
  EXPECT_EQ(found.size(), 299u);
}

TEST_P(AnyStore, RowsAreReadWhileCommitsGoOn) {
  std::atomic<bool> stop{false};
  std::atomic<int> read{0};
  std::thread reader([&] {
    const std::vector<std::string> keys = {"ta", "tb"};
    while (!stop) {
      std::vector<std::string> values;
      ASSERT_TRUE(
          store_->ReadRows(0, keys, [&](size_t, std::string_view value) { values.emplace_back(value); })
              .ok());
      if (!values.empty()) ++read;
    }
  });
  for (int i = 0; i < 200 || read < 100; ++i) {
    Batch batch;
    batch.row_puts = {{"ta", std::to_string(i)}, {"tb", std::to_string(i)}};
    batch.sync = false;
    Commit(batch);
  }
  stop = true;
  reader.join();
}

INSTANTIATE_TEST_SUITE_P(Stores, AnyStore, ::testing::Values("memory", "rocksdb"),
                         [](const auto& info) { return info.param; });

TEST(RocksDbStore, DirectoryIsPrivate) {
  TempDirectory temp;
  auto store = OpenRocksDbStore(temp.path + "/a/data");
  ASSERT_TRUE(store.ok()) << store.status();
  struct stat info {};
  ASSERT_EQ(::stat((temp.path + "/a/data").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
}

// The files as they are without any closing: what the death of the process leaves.
TEST(RocksDbStore, UnsyncedCommitsSurviveTheDeathOfTheProcess) {
  TempDirectory temp;
  auto store = OpenRocksDbStore(temp.path + "/data");
  ASSERT_TRUE(store.ok());
  ASSERT_TRUE((*store)->Acquire(0, "test").ok());
  Batch batch;
  batch.entry_number = 1;
  batch.entry = "one";
  batch.sync = false;
  ASSERT_EQ((*store)->Commit(0, 1, 1, batch).outcome, CommitOutcome::kDurable);
  fs::copy(temp.path + "/data", temp.path + "/left", fs::copy_options::recursive);
  store = OpenRocksDbStore(temp.path + "/left");
  ASSERT_TRUE(store.ok()) << store.status();
  int seen = 0;
  EXPECT_TRUE((*store)
                  ->ScanEntries(0, 0,
                                [&](uint64_t, std::string_view) {
                                  ++seen;
                                  return absl::OkStatus();
                                })
                  .ok());
  EXPECT_EQ(seen, 1);
}

TEST(RocksDbStore, DroppedEntriesLeaveTheDisk) {
  constexpr size_t kBytes = 64 << 10;
  constexpr uint64_t kWindow = 256, kEntries = 8192;  // 16 MiB of 512
  TempDirectory temp;
  auto store = OpenRocksDbStore(temp.path + "/data");
  ASSERT_TRUE(store.ok());
  auto acquired = (*store)->Acquire(0, "test");
  ASSERT_TRUE(acquired.ok());
  uint64_t peak = 0;
  for (uint64_t n = 1; n <= kEntries; ++n) {
    Batch batch;
    batch.entry_number = n;
    batch.entry = std::string(kBytes, static_cast<char>('a' + n % 26));
    batch.drop_through = n > kWindow ? n - kWindow : 0;
    batch.sync = n % 64 == 0;
    ASSERT_EQ((*store)->Commit(0, acquired->epoch, n, batch).outcome, CommitOutcome::kDurable);
    if (n % 64 == 0) peak = std::max(peak, *BytesIn(temp.path));
  }
  EXPECT_LT(peak, 300u << 20);
  store->reset();
  store = OpenRocksDbStore(temp.path + "/data");
  ASSERT_TRUE(store.ok());
  acquired = (*store)->Acquire(0, "test");
  EXPECT_EQ(acquired->next_entry, kEntries + 1);
  uint64_t expected = kEntries - kWindow;
  EXPECT_TRUE((*store)
                  ->ScanEntries(0, 0,
                                [&](uint64_t number, std::string_view entry) {
                                  EXPECT_EQ(number, ++expected);
                                  EXPECT_EQ(entry.size(), kBytes);
                                  return absl::OkStatus();
                                })
                  .ok());
  EXPECT_EQ(expected, kEntries);
}

TEST(RocksDbStore, InUseIsSaidInOneLine) {
  TempDirectory temp;
  auto store = OpenRocksDbStore(temp.path + "/data");
  ASSERT_TRUE(store.ok());
  auto second = OpenRocksDbStore(temp.path + "/data");
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(second.status().message().find("in use"), absl::string_view::npos) << second.status();
}

TEST(RocksDbStore, AnotherFormatIsRefusedByName) {
  TempDirectory temp;
  ASSERT_TRUE(OpenRocksDbStore(temp.path + "/data").ok());
  std::ofstream(temp.path + "/data/JOINQ_FORMAT") << "2\n";
  auto store = OpenRocksDbStore(temp.path + "/data");
  EXPECT_EQ(store.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(store.status().message().find("format 2"), absl::string_view::npos) << store.status();
}

TEST(RocksDbStore, SomebodyElsesDirectoryIsLeftAlone) {
  TempDirectory temp;
  std::ofstream(temp.path + "/letter.txt") << "dear";
  auto store = OpenRocksDbStore(temp.path);
  EXPECT_EQ(store.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(std::distance(fs::directory_iterator(temp.path), fs::directory_iterator()), 1);
}

TEST(RocksDbStore, AFileIsNotADirectory) {
  TempDirectory temp;
  std::ofstream(temp.path + "/file") << "x";
  EXPECT_FALSE(OpenRocksDbStore(temp.path + "/file").ok());
}

}  // namespace
}  // namespace joinq::storage
