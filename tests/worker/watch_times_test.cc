#include "worker/pool/watch_times.h"

#include <gmock/gmock.h>

namespace joinq {
namespace {

using ::testing::ElementsAre;

TEST(WatchTimesTest, NothingIsDueWhileNothingWasWanted) {
  WatchTimes watch(3);
  EXPECT_EQ(watch.next(), WatchTimes::kNever);
  watch.RunDue(1'000'000, [](uint32_t) -> uint64_t {
    ADD_FAILURE();
    return 0;
  });
}

TEST(WatchTimesTest, TheEarliestCountsAndIsToldOnce) {
  WatchTimes watch(3);
  EXPECT_TRUE(watch.Want(1, 50));
  EXPECT_FALSE(watch.Want(2, 60));
  EXPECT_FALSE(watch.Want(1, 70)) << "later than what it has";
  EXPECT_TRUE(watch.Want(0, 40));
  EXPECT_EQ(watch.next(), 40u);
}

TEST(WatchTimesTest, OnlyDueOnesAreLookedAtAndSetTheirNextLook) {
  WatchTimes watch(4);
  watch.Want(0, 10);
  watch.Want(1, 20);
  watch.Want(2, 30);
  std::vector<uint32_t> looked;
  watch.RunDue(20, [&](uint32_t child) -> uint64_t {
    looked.push_back(child);
    return child == 0 ? 100 : WatchTimes::kNever;
  });
  EXPECT_THAT(looked, ElementsAre(0, 1));
  EXPECT_EQ(watch.next(), 30u);
  watch.RunDue(30, [](uint32_t) { return WatchTimes::kNever; });
  EXPECT_EQ(watch.next(), 100u);
}

TEST(WatchTimesTest, ALookMayWantAnother) {
  WatchTimes watch(2);
  watch.Want(0, 10);
  watch.RunDue(10, [&](uint32_t) {
    watch.Want(1, 15);
    return WatchTimes::kNever;
  });
  EXPECT_EQ(watch.next(), 15u);
}

}  // namespace
}  // namespace joinq
