// Frames and messages between a child and a runner program.
#include "worker/child/runner_frames.h"

#include <gmock/gmock.h>

namespace joinq {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Lengths(uint32_t header, uint32_t payload) {
  std::string out;
  for (uint32_t length : {header, payload}) {
    for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(length >> shift & 0xff);
  }
  return out;
}

TEST(RunnerFramesTest, AFrameIsTwoBigEndianLengthsAJsonObjectAndThePayload) {
  std::string out;
  AppendRunnerFrame({{"a", 1}}, "xyz", out);
  EXPECT_EQ(out, Lengths(7, 3) + "{\"a\":1}xyz");
}

TEST(RunnerFramesTest, BytesThatAreNoTextAreReplacedInAHeader) {
  std::string out;
  AppendRunnerFrame({{"a", "\xff"}}, "", out);
  EXPECT_EQ(out.substr(8), "{\"a\":\"\xef\xbf\xbd\"}");
}

TEST(RunnerFramesTest, EveryPrefixOfAFrameIsIncompleteAndStaysUntouched) {
  std::string two;
  AppendRunnerFrame({{"type", "x"}}, "payload", two);
  const size_t one = two.size();
  AppendRunnerFrame({{"type", "y"}}, "", two);
  for (size_t size = 0; size < one; ++size) {
    std::string_view in(two.data(), size);
    RunnerFrame frame;
    EXPECT_EQ(TakeRunnerFrame(in, frame), Parse::kIncomplete) << size;
    EXPECT_EQ(in.size(), size);
  }
  std::string_view in(two);
  RunnerFrame frame;
  ASSERT_EQ(TakeRunnerFrame(in, frame), Parse::kFrame);
  EXPECT_EQ(frame.payload, "payload");
  ASSERT_EQ(TakeRunnerFrame(in, frame), Parse::kFrame);
  EXPECT_EQ(frame.header, "{\"type\":\"y\"}");
  EXPECT_TRUE(in.empty());
}

TEST(RunnerFramesTest, ALengthPastItsLimitIsMalformedAsSoonAsItIsThere) {
  const struct {
    std::string bytes;
    const char* why;
  } cases[] = {
      {"Hell", "header of 1214606444 bytes, at most 1048576"},
      {Lengths(kRunnerHeaderBytesMax + 1, 0).substr(0, 4), "header of 1048577 bytes"},
      {Lengths(2, kRunnerFrameBytesMax - 8 - 1), "claims 16777217 bytes, at most 16777216"},
      {Lengths(2, 0xffffffff), "at most 16777216"},
  };
  for (const auto& [bytes, why] : cases) {
    std::string_view in(bytes);
    RunnerFrame frame;
    EXPECT_EQ(TakeRunnerFrame(in, frame), Parse::kMalformed) << why;
    EXPECT_THAT(DescribeMalformed(in), HasSubstr(why));
  }
  EXPECT_THAT(DescribeMalformed("Hell\x01"), HasSubstr("begins with \"Hell\\x01\""));
  const std::string largest = Lengths(2, kRunnerFrameBytesMax - 8 - 2);
  std::string_view in(largest);
  RunnerFrame frame;
  EXPECT_EQ(TakeRunnerFrame(in, frame), Parse::kIncomplete);
}

TEST(RunnerMessageTest, AHelloNamesVersionAndHandlers) {
  const auto message = ReadRunnerMessage(R"({"type":"hello","protocol":1,"handlers":["a","b"],"new":{}})");
  ASSERT_TRUE(message.ok()) << message.status();
  const auto& hello = std::get<RunnerHello>(*message);
  EXPECT_EQ(hello.protocol, 1);
  EXPECT_THAT(hello.handlers, ElementsAre("a", "b"));
  EXPECT_FALSE(hello.signal);
}

TEST(RunnerMessageTest, OfAnotherVersionOnlyTheVersionIsRead) {
  const auto message = ReadRunnerMessage(R"({"type":"hello","protocol":2,"handlers":{"unknown":"form"}})");
  ASSERT_TRUE(message.ok()) << message.status();
  EXPECT_EQ(std::get<RunnerHello>(*message).protocol, 2);
}

TEST(RunnerMessageTest, AResultIsDoneOrFailed) {
  auto message = ReadRunnerMessage(R"({"type":"result","id":"7","status":"done","content_type":"text"})");
  ASSERT_TRUE(message.ok()) << message.status();
  EXPECT_TRUE(std::get<RunnerResult>(*message).done);
  EXPECT_EQ(std::get<RunnerResult>(*message).content_type, "text");
  message = ReadRunnerMessage(
      R"({"type":"result","id":"7","status":"failed","message":"m","detail":"d","final":true,"kind":"bad_arguments"})");
  ASSERT_TRUE(message.ok()) << message.status();
  const auto& failed = std::get<RunnerResult>(*message);
  EXPECT_FALSE(failed.done);
  EXPECT_EQ(failed.message + failed.detail, "md");
  EXPECT_TRUE(failed.final);
  EXPECT_EQ(failed.kind, RunnerResult::Kind::kBadArguments);
}

TEST(RunnerMessageTest, WhatIsWrongIsSaidWithItsField) {
  const struct {
    const char* header;
    const char* why;
  } cases[] = {
      {"", "no JSON object"},
      {"[1]", "no JSON object; it begins with \"[1]\""},
      {"{\"type\":\"log\"", "no JSON object"},
      {"{}", "\"type\" of a message is missing"},
      {R"({"type":1})", "\"type\" of a message is not a string"},
      {R"({"type":"hullo"})", "no message has the type \"hullo\""},
      {R"({"type":"hello","handlers":[]})", "\"protocol\" of a hello is missing"},
      {R"({"type":"hello","protocol":"1"})", "\"protocol\" of a hello is not a whole number"},
      {R"({"type":"hello","protocol":1})", "\"handlers\" of a hello is missing"},
      {R"({"type":"hello","protocol":1,"handlers":[1]})", "not an array of strings"},
      {R"({"type":"hello","protocol":1,"handlers":[],"signal":1})",
       "\"signal\" of a hello is neither true nor"},
      {R"({"type":"result","status":"done"})", "\"id\" of a result is missing"},
      {R"({"type":"result","id":7,"status":"done"})", "\"id\" of a result is not a string"},
      {R"({"type":"result","id":"7"})", "\"status\" of a result is missing"},
      {R"({"type":"result","id":"7","status":"good"})", "neither \"done\" nor \"failed\""},
      {R"({"type":"result","id":"7","status":"failed"})", "\"message\" of a result is missing"},
      {R"({"type":"result","id":"7","status":"failed","message":"","kind":"bad"})",
       "\"kind\" of a result is none of"},
      {R"({"type":"result","id":"7","status":"failed","message":"","final":0})", "\"final\" of a result"},
      {R"({"type":"log"})", "\"text\" of a log is missing"},
  };
  for (const auto& [header, why] : cases) {
    const auto message = ReadRunnerMessage(header);
    ASSERT_FALSE(message.ok()) << header;
    EXPECT_THAT(std::string(message.status().message()), HasSubstr(why)) << header;
  }
}

TEST(RunnerMessageTest, DeepNestingIsHarmless) {
  const std::string deep(1 << 20, '[');
  EXPECT_FALSE(ReadRunnerMessage(deep).ok());
  const std::string closed =
      "{\"type\":\"progress\",\"x\":" + std::string(200'000, '[') + std::string(200'000, ']') + "}";
  EXPECT_TRUE(ReadRunnerMessage(closed).ok());
}

}  // namespace
}  // namespace joinq
