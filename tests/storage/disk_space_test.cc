#include "server/storage/disk_space.h"

#include <gtest/gtest.h>
#include <sys/mount.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <vector>

#include "tests/storage/temp_directory.h"

namespace joinq::storage {
namespace {

constexpr uint64_t kMiB = 1 << 20, kGiB = 1 << 30;

TEST(DiskSpace, MarksDependOnTheSizeOfTheDisk) {
  const DiskMarks large = MarksFor({}, 1000 * kGiB);
  EXPECT_EQ(large.low, kGiB);
  EXPECT_EQ(large.critical, 256 * kMiB);
  const DiskMarks small = MarksFor({}, 400 * kMiB);
  EXPECT_EQ(small.low, 40 * kMiB);
  EXPECT_EQ(small.critical, 10 * kMiB);
}

TEST(DiskSpace, MarksCanBeSetAndTurnedOff) {
  EXPECT_EQ(MarksFor({.low = 5 * kGiB, .critical = kGiB}, kGiB).low, 5 * kGiB);
  EXPECT_EQ(MarksFor({.low = 5 * kGiB, .critical = kGiB}, kGiB).critical, kGiB);
  EXPECT_EQ(MarksFor({.low = kMiB, .critical = {}}, 1000 * kGiB).critical, kMiB);  // not above low
  const DiskMarks off = MarksFor({.low = 0, .critical = 0}, kGiB);
  EXPECT_EQ(LevelOf(DiskLevel::kOk, 0, off), DiskLevel::kOk);
  EXPECT_EQ(LevelOf(DiskLevel::kCritical, 0, off), DiskLevel::kOk);
  EXPECT_EQ(MarksFor({.low = 0, .critical = {}}, 1000 * kGiB).critical, 256 * kMiB);
}

TEST(DiskSpace, ALevelIsLeftOnlyWellAboveItsMark) {
  const DiskMarks marks{.low = 1000, .critical = 100};
  using enum DiskLevel;
  struct Case {
    DiskLevel before;
    uint64_t free;
    DiskLevel after;
  };
  for (const auto& [before, free, after] : std::vector<Case>{{kOk, 1001, kOk},
                                                             {kOk, 1000, kOk},
                                                             {kOk, 999, kLow},
                                                             {kLow, 1250, kLow},
                                                             {kLow, 1251, kOk},
                                                             {kOk, 99, kCritical},
                                                             {kLow, 100, kLow},
                                                             {kLow, 99, kCritical},
                                                             {kCritical, 125, kCritical},
                                                             {kCritical, 126, kLow},
                                                             {kCritical, 1250, kLow},
                                                             {kCritical, 1251, kOk},
                                                             {kOk, 0, kCritical}}) {
    EXPECT_EQ(LevelOf(before, free, marks), after) << NameOf(before) << " " << free;
  }
}

TEST(DiskWatch, TellsOfChangesOnly) {
  absl::StatusOr<DiskSpace> space = DiskSpace{900, 10'000};
  std::vector<DiskLevel> told;
  DiskWatch watch(
      {.low = 1000, .critical = 100}, [&] { return space; }, [&](DiskLevel level) { told.push_back(level); });
  for (uint64_t free : {5000, 900, 950, 50, 60, 5000}) {
    space = DiskSpace{free, 10'000};
    watch.Check();
    EXPECT_EQ(watch.state().free_bytes, free);
  }
  space = absl::UnavailableError("the disk is gone");
  watch.Check();
  EXPECT_EQ(watch.state().level, DiskLevel::kOk);
  EXPECT_EQ(told, (std::vector<DiskLevel>{DiskLevel::kLow, DiskLevel::kCritical, DiskLevel::kOk}));
}

TEST(DiskWatch, LooksAgainBeforeAShareOfTheRoomIsWritten) {
  uint64_t free = 64'000, looks = 0;
  std::vector<DiskLevel> told;
  DiskWatch watch(
      {.low = 10'000, .critical = 1000},
      [&] {
        ++looks;
        return DiskSpace{free, 100'000};
      },
      [&](DiskLevel level) { told.push_back(level); });
  watch.Check();
  watch.Writing(600);
  watch.Writing(400);
  EXPECT_EQ(looks, 1u);
  while (told.empty() && free > 0) {
    watch.Writing(100);
    free -= 100;
  }
  EXPECT_EQ(told, (std::vector<DiskLevel>{DiskLevel::kLow}));
  EXPECT_GT(free, 8000u);
  EXPECT_LT(looks, 200u);
  watch.Writing(free - 500);  // what is about to be written counts
  EXPECT_EQ(watch.state().level, DiskLevel::kCritical);
  watch.Stop();
  free = 100'000;
  watch.Check();
  EXPECT_EQ(told.size(), 2u) << "told after it was stopped";
}

TEST(DiskWatch, LetsTheBallastGoAndTakesItUpAgain) {
  TempDirectory temp;
  Ballast ballast(temp.path, 4096);
  const std::string file = temp.path + "/JOINQ_BALLAST";
  uint64_t free = 100'000;
  DiskWatch watch(
      {.low = 10'000, .critical = 5000},
      [&] {
        return DiskSpace{free, 1'000'000};
      },
      [](DiskLevel) {}, &ballast);
  watch.Check();
  EXPECT_TRUE(ballast.held());
  EXPECT_EQ(std::filesystem::file_size(file), 4096u);
  free = 6000;
  watch.Check();
  EXPECT_TRUE(std::filesystem::exists(file)) << "let go while the disk is only low";
  free = 4999;
  watch.Check();
  EXPECT_FALSE(std::filesystem::exists(file));
  free = 12'501 + 4096;  // enough to be ok; not without what the ballast takes
  watch.Check();
  EXPECT_EQ(watch.state().level, DiskLevel::kOk);
  EXPECT_FALSE(ballast.held());
  free = 30'000;
  watch.Check();
  EXPECT_TRUE(Ballast(temp.path, 4096).held()) << "found by the next start";
}

TEST(DiskWatch, SeesASmallDiskFillAndEmpty) {
  TempDirectory temp;
  if (::mount("none", temp.path.c_str(), "tmpfs", 0, "size=16m") != 0) {
    GTEST_SKIP() << "cannot mount a tmpfs: " << std::strerror(errno);
  }
  DiskLevel level = DiskLevel::kOk;
  DiskWatch watch(
      {}, [&] { return AskDiskSpace(temp.path); }, [&](DiskLevel now) { level = now; });
  watch.Check();
  EXPECT_EQ(level, DiskLevel::kOk);
  EXPECT_GT(watch.state().free_bytes, 15 * kMiB);
  auto write = [&](size_t bytes) {
    std::ofstream(temp.path + "/file", std::ios::app) << std::string(bytes, 'x') << std::flush;
    watch.Check();
  };
  write(15 * kMiB);
  EXPECT_EQ(level, DiskLevel::kLow);
  write(kMiB);
  EXPECT_EQ(level, DiskLevel::kCritical);
  std::filesystem::remove(temp.path + "/file");
  watch.Check();
  EXPECT_EQ(level, DiskLevel::kOk);
  EXPECT_FALSE(AskDiskSpace(temp.path + "/missing").ok());
  ::umount(temp.path.c_str());
}

}  // namespace
}  // namespace joinq::storage
