#include "client/src/pending_puts.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace joinq::internal {
namespace {

using State = PendingPut::State;

PendingPut Unacked(uint64_t cookie) {
  PendingPut put;
  put.cookie = cookie;
  put.state = State::kUnacked;
  return put;
}

void Acknowledge(PendingPuts* puts, uint64_t tag) {
  puts->Find(tag)->state = State::kAwaiting;
  puts->Acked(tag);
}

TEST(PendingPutsTest, TagsAscendAndEnd) {
  PendingPuts puts;
  EXPECT_EQ(puts.Add(Unacked(7)), 1u);
  EXPECT_EQ(puts.Add(Unacked(8)), 2u);
  EXPECT_EQ(puts.Find(2)->cookie, 8u);
  EXPECT_EQ(puts.Find(3), nullptr);
  EXPECT_EQ(puts.AckedBelow(), 1u);
  puts.Erase(1);
  EXPECT_EQ(puts.Find(1), nullptr);
  EXPECT_EQ(puts.AckedBelow(), 2u);
  Acknowledge(&puts, 2);
  EXPECT_EQ(puts.AckedBelow(), 3u);
  EXPECT_EQ(puts.live(), 1u);
}

TEST(PendingPutsTest, OneSlowPutDoesNotHoldTheRing) {
  PendingPuts puts;
  puts.Add(Unacked(1));
  for (uint64_t i = 2; i <= 300'000; ++i) {
    puts.Erase(puts.Add(Unacked(i)));
  }
  ASSERT_NE(puts.Find(1), nullptr);
  EXPECT_EQ(puts.Find(1)->cookie, 1u);
  EXPECT_EQ(puts.AckedBelow(), 1u);
  Acknowledge(&puts, 1);
  EXPECT_EQ(puts.AckedBelow(), 300'001u);
  puts.Erase(1);
  EXPECT_EQ(puts.live(), 0u);
}

TEST(PendingPutsTest, AgreesWithAMap) {
  PendingPuts puts;
  std::map<uint64_t, State> model;
  std::mt19937_64 random(1);
  for (int step = 0; step < 600'000; ++step) {
    const auto what = random() % 8;
    if (what < 4 || model.empty()) {
      model[puts.Add(Unacked(step))] = State::kUnacked;
      continue;
    }
    auto it = model.lower_bound(random() % puts.next_tag());
    if (it == model.end()) it = std::prev(it);
    if (what == 4 && it->second == State::kUnacked) {
      Acknowledge(&puts, it->first);
      it->second = State::kAwaiting;
    } else if (model.size() > 70'000 || what > 5) {
      puts.Erase(it->first);
      model.erase(it);
    }
    ASSERT_EQ(puts.live(), model.size());
  }
  uint64_t lowest = puts.next_tag();
  for (const auto& [tag, state] : model) {
    ASSERT_EQ(puts.Find(tag)->state, state);
    if (state == State::kUnacked && tag < lowest) lowest = tag;
  }
  EXPECT_EQ(puts.AckedBelow(), lowest);
  auto expected = model.begin();
  puts.ForEach([&](uint64_t tag, PendingPut&) {
    ASSERT_EQ(tag, expected->first);
    ++expected;
  });
  EXPECT_EQ(expected, model.end());
  puts.Clear();
  EXPECT_EQ(puts.live(), 0u);
  EXPECT_EQ(puts.Find(lowest), nullptr);
  EXPECT_EQ(puts.AckedBelow(), puts.next_tag());
}

}  // namespace
}  // namespace joinq::internal
