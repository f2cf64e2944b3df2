// Backups: whole, consistent while commits go on, and never mistaken for the original.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "server/storage/data_directory.h"
#include "server/storage/memory_store.h"
#include "server/storage/rocksdb_store.h"
#include "tests/storage/temp_directory.h"

namespace joinq::storage {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class BackupTest : public ::testing::Test {
 protected:
  BackupTest() {
    auto store = OpenRocksDbStore(data_);
    EXPECT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    auto acquired = store_->Acquire(0, "test");
    EXPECT_TRUE(acquired.ok());
    epoch_ = acquired->epoch;
  }
  void Commit(bool sync = true) {
    Batch batch;
    batch.entry_number = ++seq_;
    batch.entry = std::string(200, 'e');
    batch.row_puts = {{"ta", std::to_string(seq_)}, {"tb", std::to_string(seq_)}};
    batch.sync = sync;
    ASSERT_EQ(store_->Commit(0, epoch_, seq_, batch).outcome, CommitOutcome::kDurable);
  }
  static uint64_t EpochOf(const std::string& directory) {
    auto store = OpenRocksDbStore(directory);
    EXPECT_TRUE(store.ok()) << store.status();
    auto acquired = (*store)->Acquire(0, "test");
    EXPECT_TRUE(acquired.ok()) << acquired.status();
    return acquired->epoch;
  }
  // The newest entry; rows must be as new as it.
  static uint64_t HeadOf(const std::string& directory) {
    auto store = OpenRocksDbStore(directory);
    EXPECT_TRUE(store.ok()) << store.status();
    auto acquired = (*store)->Acquire(0, "test");
    EXPECT_TRUE(acquired.ok());
    const std::vector<std::string> keys = {"ta", "tb"};
    EXPECT_TRUE((*store)
                    ->ReadRows(0, keys,
                               [&](size_t, std::string_view value) {
                                 EXPECT_EQ(value, std::to_string(acquired->next_entry - 1));
                               })
                    .ok());
    return acquired->next_entry - 1;
  }

  TempDirectory temp_;
  const std::string data_ = temp_.path + "/data", backup_ = temp_.path + "/backup",
                    new_ = temp_.path + "/new";
  std::unique_ptr<Store> store_;
  uint64_t epoch_ = 0, seq_ = 0;
};

TEST_F(BackupTest, IsADataDirectoryOfItsOwn) {
  for (int i = 0; i < 10; ++i) Commit();
  auto bytes = store_->Backup(backup_);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(*bytes, *BytesIn(backup_));
  EXPECT_FALSE(fs::exists(backup_ + ".tmp"));
  Commit();
  EXPECT_EQ(HeadOf(backup_), 10u);
}

TEST_F(BackupTest, HandsOutNoEpochOfTheOriginals) {
  Commit();
  ASSERT_TRUE(store_->Backup(backup_).ok());
  for (int i = 0; i < 3; ++i) {
    store_.reset();
    epoch_ = EpochOf(data_);
  }
  const uint64_t first = EpochOf(backup_);
  EXPECT_GE(first, 1'000'000u);
  EXPECT_EQ(EpochOf(backup_), first + 1);  // once only
}

TEST_F(BackupTest, IsConsistentWhileCommitsGoOn) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "all threads but one are the engine's, which is not instrumented";
#endif
  std::atomic<bool> stop{false};
  std::thread committing([&] {
    while (!stop) Commit(/*sync=*/false);
  });
  std::vector<uint64_t> heads;
  for (int i = 0; i < 5; ++i) {
    const std::string to = backup_ + std::to_string(i);
    auto bytes = store_->Backup(to);
    EXPECT_TRUE(bytes.ok()) << bytes.status();
    heads.push_back(HeadOf(to));
  }
  stop = true;
  committing.join();
  EXPECT_TRUE(std::is_sorted(heads.begin(), heads.end()));
  EXPECT_GT(heads.back(), 0u);
  EXPECT_LE(heads.back(), seq_);
}

TEST_F(BackupTest, RefusesWhereItCannotBe) {
  fs::create_directory(backup_);
  for (const auto& [to, text] : std::vector<std::pair<std::string, std::string>>{
           {backup_, "exists"},
           {temp_.path + "/missing/backup", "missing is not a directory"},
           {data_ + "/backup", "inside the data directory"}}) {
    auto bytes = store_->Backup(to);
    EXPECT_EQ(bytes.status().code(), absl::StatusCode::kFailedPrecondition) << to;
    EXPECT_THAT(std::string(bytes.status().message()), HasSubstr(text));
  }
  fs::create_directory(new_ + ".tmp");
  EXPECT_THAT(std::string(store_->Backup(new_).status().message()), HasSubstr("did not end"));
  EXPECT_FALSE(fs::exists(new_));
  MemoryStore memory;
  EXPECT_EQ(memory.Backup(temp_.path + "/m").status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(BackupTest, RestoresIntoANewDirectory) {
  for (int i = 0; i < 7; ++i) Commit();
  ASSERT_TRUE(store_->Backup(backup_).ok());
  EXPECT_TRUE(RestoreBackup(backup_, new_).ok());
  // A copy: the backup stays what it was, whatever happens to the files.
  for (const auto& file : fs::directory_iterator(new_ + "/db")) EXPECT_EQ(fs::hard_link_count(file), 1u);
  EXPECT_EQ(HeadOf(new_), 7u);
  EXPECT_GE(EpochOf(new_), 1'000'000u);
  EXPECT_EQ(*GetOrigin(backup_), Origin::kRestored);

  EXPECT_THAT(std::string(RestoreBackup(backup_, new_).message()), HasSubstr("not empty"));
  EXPECT_THAT(std::string(RestoreBackup(temp_.path, temp_.path + "/x").message()),
              HasSubstr("not a joinq data directory"));
}

TEST_F(BackupTest, AnInterruptedRestoreIsNotOpenedAndCanBeRepeated) {
  Commit();
  ASSERT_TRUE(store_->Backup(backup_).ok());
  fs::create_directories(new_ + "/db");
  std::ofstream(new_ + "/db/000004.sst") << "half";
  ASSERT_TRUE(SetOrigin(new_, Origin::kRestored).ok());
  EXPECT_THAT(std::string(OpenRocksDbStore(new_).status().message()), HasSubstr("repeat --restore"));
  EXPECT_TRUE(RestoreBackup(backup_, new_).ok());
  EXPECT_EQ(HeadOf(new_), 1u);
}

TEST_F(BackupTest, ABackupInUseIsNotRestored) {
  Commit();
  ASSERT_TRUE(store_->Backup(backup_).ok());
  // Locks are a process's: somebody else must hold it.
  int ready[2], end[2];
  ASSERT_EQ(::pipe(ready) + ::pipe(end), 0);
  const std::string path = backup_ + "/db/LOCK";
  const pid_t child = ::fork();
  char byte = 0;
  if (child == 0) {
    ::close(end[1]);
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT, 0600);
    struct flock lock {};
    lock.l_type = F_WRLCK;
    byte = ::fcntl(fd, F_SETLK, &lock) == 0 ? 'y' : 'n';
    (void)!::write(ready[1], &byte, 1);
    (void)!::read(end[0], &byte, 1);
    ::_exit(0);
  }
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  EXPECT_EQ(byte, 'y');
  EXPECT_THAT(std::string(RestoreBackup(backup_, new_).message()), HasSubstr("in use"));
  for (int fd : {ready[0], ready[1], end[0], end[1]}) ::close(fd);
  ::waitpid(child, nullptr, 0);
}

}  // namespace
}  // namespace joinq::storage
