// Flipped bits, torn ends and missing files: what is tolerated, refused and salvaged.
#include <gmock/gmock.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>

#include "server/storage/data_directory.h"
#include "server/storage/rocksdb_store.h"
#include "tests/storage/temp_directory.h"

namespace joinq::storage {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kEntries = 200;
constexpr size_t kEntryBytes = 1000;

class DamageTest : public ::testing::Test {
 protected:
  DamageTest() {
    auto store = OpenRocksDbStore(data_);
    EXPECT_TRUE(store.ok()) << store.status();
    auto acquired = (*store)->Acquire(0, "test");
    EXPECT_TRUE(acquired.ok());
    for (int i = 1; i <= kEntries; ++i) {
      Batch batch;
      batch.entry_number = i;
      batch.entry = std::string(kEntryBytes, static_cast<char>('a' + i % 26));
      batch.row_puts = {{"t" + std::to_string(i), "row"}};
      EXPECT_EQ((*store)->Commit(0, acquired->epoch, i, batch).outcome, CommitOutcome::kDurable);
    }
  }
  std::vector<fs::path> Files(const std::string& extension) {
    std::vector<fs::path> found;
    for (const auto& file : fs::directory_iterator(data_ + "/db")) {
      if (file.path().extension() == extension && file.file_size() > 0) found.push_back(file.path());
    }
    return found;
  }
  fs::path Largest(const std::string& extension) {
    const auto files = Files(extension);
    EXPECT_FALSE(files.empty()) << extension;
    return *std::max_element(files.begin(), files.end(), [](const auto& a, const auto& b) {
      return fs::file_size(a) < fs::file_size(b);
    });
  }
  // A backup writes what is in memory into tables first.
  void MakeTables() {
    auto store = OpenRocksDbStore(data_);
    ASSERT_TRUE(store.ok());
    ASSERT_TRUE((*store)->Backup(data_ + "-copy").ok());
    store->reset();
    ASSERT_FALSE(Files(".sst").empty());
  }
  static void Flip(const fs::path& path, uintmax_t at) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(at));
    const auto byte = static_cast<char>(file.get() ^ 0x40);
    file.seekp(static_cast<std::streamoff>(at));
    file.put(byte);
    ASSERT_TRUE(file.good());
  }
  // What a broker does at its start; an error if anything is damaged.
  absl::Status Read(bool salvage) {
    auto store = OpenRocksDbStore(data_, salvage);
    if (!store.ok()) return store.status();
    auto acquired = (*store)->Acquire(0, "test");
    if (!acquired.ok()) return acquired.status();
    epoch_ = acquired->epoch;
    next_entry_ = acquired->next_entry;
    rows_ = entries_ = 0;
    absl::Status status = (*store)->ScanRows(0, [this](std::string_view, std::string_view) {
      ++rows_;
      return absl::OkStatus();
    });
    if (!status.ok()) return status;
    return (*store)->ScanEntries(0, 0, [this](uint64_t number, std::string_view entry) {
      EXPECT_EQ(entry, std::string(kEntryBytes, static_cast<char>('a' + number % 26)));
      ++entries_;
      return absl::OkStatus();
    });
  }
  void ExpectRefusedThenSalvaged(int least, int most) {
    const absl::Status refused = Read(/*salvage=*/false);
    EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss) << refused;
    EXPECT_THAT(std::string(refused.message()), HasSubstr("joinqd --salvage"));
    EXPECT_THAT(std::string(refused.message()), Not(HasSubstr("\n")));
    ASSERT_TRUE(Read(/*salvage=*/true).ok());
    EXPECT_GE(entries_ + rows_, least);
    EXPECT_LE(entries_ + rows_, most);
    EXPECT_GE(epoch_, 1'000'000u);
    const uint64_t salvaged = next_entry_;
    EXPECT_GT(salvaged, uint64_t{1} << 32);
    // From now on it is sound, and does not jump again.
    EXPECT_TRUE(Read(/*salvage=*/false).ok());
    EXPECT_EQ(next_entry_, salvaged);
    EXPECT_LT(epoch_, 2'000'000u);
  }

  TempDirectory temp_;
  const std::string data_ = temp_.path + "/data";
  int rows_ = 0, entries_ = 0;
  uint64_t epoch_ = 0, next_entry_ = 0;
};

TEST_F(DamageTest, ATornEndOfTheLogIsTolerated) {
  const fs::path log = Largest(".log");
  fs::resize_file(log, fs::file_size(log) - kEntryBytes / 2);
  ASSERT_TRUE(Read(/*salvage=*/false).ok());
  EXPECT_EQ(entries_, kEntries - 1);
  EXPECT_EQ(rows_, kEntries - 1);
  EXPECT_EQ(next_entry_, static_cast<uint64_t>(kEntries));
  // The torn log stays, with newer ones after it, until its records are in tables.
  for (uint64_t epoch = epoch_; epoch < 5;) {
    ASSERT_TRUE(Read(/*salvage=*/false).ok());
    EXPECT_EQ(entries_, kEntries - 1);
    EXPECT_EQ(epoch_, ++epoch);
  }
}

TEST_F(DamageTest, AFlippedBitInTheLogLosesThatCommitOnly) {
  const fs::path log = Largest(".log");
  Flip(log, fs::file_size(log) / 2);
  // The engine resumes at the next block of its log: neighbours may go as well.
  ExpectRefusedThenSalvaged(2 * (kEntries - 40), 2 * (kEntries - 1));
  EXPECT_EQ(entries_, rows_);
}

TEST_F(DamageTest, AFlippedBitInATableLosesThatTableOnly) {
  MakeTables();
  const fs::path table = Largest(".sst");  // the journal's
  Flip(table, fs::file_size(table) / 2);
  ExpectRefusedThenSalvaged(kEntries, kEntries);
  EXPECT_EQ(rows_, kEntries);
  EXPECT_EQ(entries_, 0);
  EXPECT_TRUE(fs::exists(data_ + "/db/lost/" + table.filename().string()));
}

TEST_F(DamageTest, ADamagedRowIsToldFromAMissingOne) {
  MakeTables();
  auto store = OpenRocksDbStore(data_);
  ASSERT_TRUE(store.ok());
  std::vector<fs::path> tables = Files(".sst");
  std::sort(tables.begin(), tables.end(),
            [](auto& a, auto& b) { return fs::file_size(a) < fs::file_size(b); });
  Flip(tables.at(tables.size() - 2), 100);  // the rows'; the journal's is larger
  const std::string damaged = "t7", missing = "z";
  const auto visit = [](size_t, std::string_view value) { ADD_FAILURE() << "found " << value; };
  EXPECT_EQ((*store)->ReadRows(0, {&damaged, 1}, visit).code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE((*store)->ReadRows(0, {&missing, 1}, visit).ok());
}

TEST_F(DamageTest, AMissingTableIsNoticed) {
  MakeTables();
  fs::remove(Largest(".sst"));
  ExpectRefusedThenSalvaged(kEntries, kEntries);
}

TEST_F(DamageTest, AMissingHeadIsNotTakenForANewDatabase) {
  fs::remove(data_ + "/db/CURRENT");
  ExpectRefusedThenSalvaged(2 * kEntries, 2 * kEntries);
}

TEST_F(DamageTest, AFlippedBitInTheManifestIsNoticed) {
  MakeTables();
  for (const auto& file : fs::directory_iterator(data_ + "/db")) {
    if (file.path().filename().string().rfind("MANIFEST", 0) == 0) Flip(file.path(), file.file_size() / 2);
  }
  ExpectRefusedThenSalvaged(2 * kEntries, 2 * kEntries);
}

// Nothing is in tables yet: the log is all there is.
TEST_F(DamageTest, AFlippedBitInTheManifestOfAYoungDirectoryLosesNothing) {
  for (const auto& file : fs::directory_iterator(data_ + "/db")) {
    if (file.path().filename().string().rfind("MANIFEST", 0) == 0) Flip(file.path(), file.file_size() / 2);
  }
  ExpectRefusedThenSalvaged(2 * kEntries, 2 * kEntries);
}

TEST_F(DamageTest, SalvageOfASoundDirectoryLosesNothing) {
  ASSERT_TRUE(Read(/*salvage=*/true).ok());
  EXPECT_EQ(entries_, kEntries);
  EXPECT_EQ(rows_, kEntries);
}

TEST_F(DamageTest, SalvageDoesNotOpenANewerFormat) {
  std::ofstream(data_ + "/JOINQ_FORMAT") << "2\n";
  for (bool salvage : {false, true}) {
    const absl::Status status = Read(salvage);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()), HasSubstr("format 2"));
  }
}

// After a repair entries are numbered far beyond the old ones; drops skip the gap.
TEST_F(DamageTest, DropsSkipTheGapThatASalvageLeaves) {
  auto store = OpenRocksDbStore(data_, /*salvage=*/true);
  ASSERT_TRUE(store.ok());
  auto acquired = (*store)->Acquire(0, "test");
  ASSERT_TRUE(acquired.ok());
  Batch batch;
  batch.entry_number = acquired->next_entry;
  batch.entry = "new";
  ASSERT_EQ((*store)->Commit(0, acquired->epoch, 1, batch).outcome, CommitOutcome::kDurable);
  batch.Clear();
  batch.drop_through = acquired->next_entry - 1;
  ASSERT_EQ((*store)->Commit(0, acquired->epoch, 2, batch).outcome, CommitOutcome::kDurable);
  std::set<uint64_t> left;
  EXPECT_TRUE((*store)
                  ->ScanEntries(0, 0,
                                [&](uint64_t number, std::string_view) {
                                  left.insert(number);
                                  return absl::OkStatus();
                                })
                  .ok());
  EXPECT_EQ(left, (std::set<uint64_t>{acquired->next_entry}));
}

}  // namespace
}  // namespace joinq::storage
