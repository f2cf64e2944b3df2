// The parts that keep and cut what children write.
#include <gmock/gmock.h>

#include <random>

#include "worker/output/output_lines.h"
#include "worker/output/output_splitter.h"
#include "worker/output/output_store.h"

namespace joinq {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

TEST(OutputStoreTest, KeepsTheEndOfEachTaskAndForgetsTheLeastRecentlyWritten) {
  OutputStore store(10, 1200);
  store.Append(1, 1, "0123456789");
  store.Append(1, 1, "abc");
  EXPECT_EQ(store.Find(1)->end, "3456789abc");
  EXPECT_EQ(store.Find(1)->written, 13u);
  for (uint64_t id = 2; id <= 4; ++id) store.Append(id, 1, "x");
  store.Append(1, 1, "d");
  store.Append(5, 1, std::string(100, 'y') + "z");
  EXPECT_EQ(store.Find(5)->end, "yyyyyyyyyz");
  EXPECT_FALSE(store.Find(2)) << "the least recently written";
  EXPECT_TRUE(store.Find(1));
  EXPECT_LE(store.bytes(), 1200u);
}

TEST(OutputStoreTest, AnotherDeliveryBeginsAnew) {
  OutputStore store;
  store.Append(1, 1, "first");
  store.Append(1, 2, "second");
  EXPECT_EQ(store.Find(1)->end, "second");
  EXPECT_EQ(store.Find(1)->delivery, 2u);
}

TEST(OutputStoreTest, StaysBoundedWhateverComes) {
  OutputStore store;
  const std::string much(3 << 20, 'x');
  for (uint64_t id = 1; id < 100'000; ++id) {
    store.Append(id, 1, id % 1000 == 0 ? much : "x");
    ASSERT_LE(store.bytes(), OutputStore::kTotalBytes);
  }
}

std::vector<std::pair<uint64_t, std::string>> Joined(const std::string& stream, const OutputKey& key,
                                                     uint64_t running, std::mt19937& random) {
  OutputSplitter splitter;
  std::vector<std::pair<uint64_t, std::string>> pieces;
  for (size_t at = 0; at < stream.size();) {
    const size_t size = std::min<size_t>(stream.size() - at, 1 + random() % 30);
    splitter.Feed(key, std::string_view(stream).substr(at, size), running, running,
                  [&](uint64_t number, std::string_view text) {
                    if (pieces.empty() || pieces.back().first != number) pieces.emplace_back(number, "");
                    pieces.back().second += text;
                  });
    at += size;
  }
  return pieces;
}

TEST(OutputSplitterTest, MarksSayWhoseIsWhat) {
  OutputKey key{};
  std::memcpy(key.data(), "aab-the-key-0123", key.size());
  auto mark = [&](uint64_t number) {
    const OutputMark whole{key, number};
    return std::string(reinterpret_cast<const char*>(&whole), sizeof whole);
  };
  OutputSplitter splitter;
  std::vector<std::pair<uint64_t, std::string>> pieces;
  splitter.Feed(key, "one" + mark(1) + "two" + mark(2) + mark(3) + "four", 4, 4,
                [&](uint64_t number, std::string_view text) { pieces.emplace_back(number, text); });
  EXPECT_THAT(pieces, ElementsAre(Pair(1, "one"), Pair(2, "two"), Pair(4, "four")));
  pieces.clear();
  splitter.Feed(key, "five" + mark(5) + "six", 5, 5,
                [&](uint64_t number, std::string_view text) { pieces.emplace_back(number, text); });
  EXPECT_THAT(pieces, ElementsAre(Pair(5, "five"), Pair(6, "six"))) << "5 ended before the read";
}

TEST(OutputSplitterTest, WhatWasReadWhileTasksChangedWaitsForItsMark) {
  OutputKey key{};
  std::memcpy(key.data(), "aab-the-key-0123", key.size());
  OutputSplitter splitter;
  std::vector<std::pair<uint64_t, std::string>> pieces;
  const auto take = [&](uint64_t number, std::string_view text) { pieces.emplace_back(number, text); };
  splitter.Feed(key, "whose?", 7, 8, take);
  EXPECT_THAT(pieces, IsEmpty());
  const OutputMark mark{key, 8};
  splitter.Feed(key, std::string_view(reinterpret_cast<const char*>(&mark), sizeof mark), 8, 8, take);
  EXPECT_THAT(pieces, ElementsAre(Pair(8, "whose?")));
  splitter.Feed(key, "the last", 9, 10, take);
  splitter.Finish(10, take);
  EXPECT_THAT(pieces, ElementsAre(Pair(8, "whose?"), Pair(10, "the last")));
}

TEST(OutputSplitterTest, NothingIsLostHoweverItIsCut) {
  OutputKey key{};
  std::memcpy(key.data(), "aab-the-key-0123", key.size());
  std::mt19937 random(3);
  for (int round = 0; round < 500; ++round) {
    std::string stream, text;
    for (int i = 0; i < 10; ++i) {
      const std::string words = random() % 2 ? "aaaab-the-key" : "aab-the-key-0122 x";
      stream += words;
      text += words;
      if (random() % 2 == 0) continue;
      const OutputMark mark{key, 6};
      stream.append(reinterpret_cast<const char*>(&mark), sizeof mark);
    }
    stream += "!";
    text += "!";
    const auto pieces = Joined(stream, key, 7, random);
    std::string all;
    for (const auto& piece : pieces) all += piece.second;
    ASSERT_EQ(all, text);
  }
}

TEST(OutputLinesTest, LinesAreCutAndATaskThatWritesTooMuchIsStopped) {
  OutputLines lines;
  std::vector<std::pair<uint64_t, std::string>> seen;
  auto line = [&](uint64_t id, std::string_view text) { seen.emplace_back(id, text); };
  lines.Add(1, "a\nb", line);
  lines.Add(1, "c\n\npart", line);
  lines.Add(2, "x\n", line);
  EXPECT_THAT(seen, ElementsAre(Pair(1, "a"), Pair(1, "bc"), Pair(1, ""), Pair(1, "part"), Pair(2, "x")));
  seen.clear();
  for (int i = 0; i < 1000; ++i) lines.Add(2, std::string(10'000, 'y'), line);
  size_t bytes = 0;
  for (const auto& [id, text] : seen) bytes += text.size();
  EXPECT_LE(bytes, OutputLines::kTaskBytes + OutputLines::kLineBytes);
  EXPECT_EQ(seen.back().second, "[more of its output is not logged]");
  lines.Add(3, "heard again\n", line);
  EXPECT_THAT(seen.back(), Pair(3, "heard again"));
}

}  // namespace
}  // namespace joinq
