#include "worker/child/frames.h"

#include <gmock/gmock.h>

#include <random>

#include "worker/process/status_page.h"
#include "worker/text.h"

namespace joinq {
namespace {

std::string Encoded(ResultFrame frame) {
  std::string out(PrepareResult(frame), '\0');
  const size_t head = EncodeResultHead(frame, out.data());
  out.replace(head, std::string::npos, frame.payload);
  return out;
}

TEST(FramesTest, TaskRoundTrip) {
  TaskHeader header{};
  header.task_id = 1ull << 60;
  header.epoch = 3;
  header.sequence = 4;
  header.attempt = 5;
  header.handler = 6;
  header.queue = 7;
  std::string first, second;
  EncodeTask(header, "msgpack", "", std::string("a\0b", 3), first);
  EncodeTask(header, "", "", "", second);
  const std::string both = first + second;
  std::string_view in = both;
  TaskFrame frame;
  ASSERT_EQ(TakeTask(in, frame), Parse::kFrame);
  EXPECT_EQ(frame.header.task_id, header.task_id);
  EXPECT_EQ(frame.header.epoch, 3u);
  EXPECT_EQ(frame.header.sequence, 4u);
  EXPECT_EQ(frame.header.attempt, 5u);
  EXPECT_EQ(frame.header.handler, 6u);
  EXPECT_EQ(frame.header.queue, 7u);
  EXPECT_EQ(frame.content_type, "msgpack");
  EXPECT_EQ(frame.payload, std::string_view("a\0b", 3));
  ASSERT_EQ(TakeTask(in, frame), Parse::kFrame);
  EXPECT_EQ(frame.payload, "");
  EXPECT_EQ(TakeTask(in, frame), Parse::kIncomplete);
}

TEST(FramesTest, HeadersGoWithATask) {
  std::string block, out;
  AppendHeaderPair("a", "1", block);
  AppendHeaderPair("", std::string(4096, 'v'), block);
  TaskHeader header{};
  header.header_count = 2;
  EncodeTask(header, "", block, "payload", out);
  std::string_view in = out;
  TaskFrame frame;
  ASSERT_EQ(TakeTask(in, frame), Parse::kFrame);
  EXPECT_EQ(frame.payload, "payload");
  std::string_view name, value;
  ASSERT_TRUE(TakeHeaderPair(frame.headers, name, value));
  EXPECT_EQ(name, "a");
  EXPECT_EQ(value, "1");
  ASSERT_TRUE(TakeHeaderPair(frame.headers, name, value));
  EXPECT_EQ(value.size(), 4096u);
  EXPECT_FALSE(TakeHeaderPair(frame.headers, name, value));
  // A block that claims more than there is.
  out[sizeof(TaskHeader) + 3] = 1;
  in = out;
  EXPECT_EQ(TakeTask(in, frame), Parse::kMalformed);
}

TEST(FramesTest, ALargePayloadIsItsPlace) {
  TaskHeader header{};
  header.task_id = 9;
  std::string block, out;
  AppendHeaderPair("a", "1", block);
  header.header_count = 1;
  EncodeLargeTask(header, "type", block, {7, 100'000}, out);
  std::string_view in = out;
  TaskFrame frame;
  ASSERT_EQ(TakeTask(in, frame), Parse::kFrame);
  EXPECT_EQ(frame.header.type, FrameType::kLargeTask);
  EXPECT_EQ(frame.content_type, "type");
  EXPECT_EQ(frame.headers, block);
  EXPECT_EQ(frame.payload, "");
  EXPECT_EQ(frame.place.memory, 7u);
  EXPECT_EQ(frame.place.bytes, 100'000u);
  out += "x";
  ++out[0];
  in = out;
  EXPECT_EQ(TakeTask(in, frame), Parse::kMalformed);

  ResultFrame result{};
  result.header.type = FrameType::kResult;
  result.header.large = 1;
  result.follow_ups = "more";
  result.place = {3, 70'000};
  std::string encoded = Encoded(result);
  in = encoded;
  ResultFrame back;
  ASSERT_EQ(TakeResult(in, back), Parse::kFrame);
  EXPECT_EQ(back.follow_ups, "more");
  EXPECT_EQ(back.payload, "");
  EXPECT_EQ(back.place.memory, 3u);
  EXPECT_EQ(back.place.bytes, 70'000u);
  --encoded[0];
  in = encoded;
  EXPECT_EQ(TakeResult(in, back), Parse::kMalformed);
}

TEST(FramesTest, ProgressIsTheNewestAndToldOnce) {
  UniqueFd fd;
  auto page = SharedStatusPage::Create(fd);
  ASSERT_TRUE(page.ok());
  EXPECT_TRUE(WriteProgress(**page, 0, 7, "first"));
  EXPECT_FALSE(WriteProgress(**page, 0, 8, std::string(5000, 'x')));
  uint64_t number = 0;
  std::string text;
  ASSERT_TRUE(ReadProgress(**page, 0, number, text));
  EXPECT_EQ(number, 8u);
  EXPECT_EQ(text, std::string(4096, 'x'));
  EXPECT_TRUE(WriteProgress(**page, 0, 8, "third"));
}

TEST(FramesTest, ResultRoundTripCutsTexts) {
  ResultFrame frame{};
  frame.header.type = FrameType::kResult;
  frame.header.verdict = ResultVerdict::kFailed;
  frame.header.failure_kind = 4;
  frame.header.final = 1;
  frame.header.task_id = 9;
  frame.header.service_us = 10;
  const std::string message(10'000, 'm'), detail = std::string(20'000, 'd') + "end";
  frame.message = message;
  frame.detail = detail;
  frame.payload = "p";
  const std::string encoded = Encoded(frame);
  std::string_view in = encoded;
  ResultFrame back;
  ASSERT_EQ(TakeResult(in, back), Parse::kFrame);
  EXPECT_TRUE(in.empty());
  EXPECT_EQ(back.message.size(), kErrorMessageBytesMax);
  EXPECT_EQ(back.detail.size(), kErrorDetailBytesMax);
  EXPECT_TRUE(back.detail.ends_with("end"));  // the tail is what matters
  EXPECT_EQ(back.payload, "p");
  EXPECT_EQ(back.header.failure_kind, 4);
  EXPECT_EQ(back.header.final, 1);
}

TEST(FramesTest, EveryPrefixIsIncomplete) {
  ResultFrame frame{};
  frame.header.type = FrameType::kResult;
  frame.message = "why";
  frame.payload = "payload";
  const std::string encoded = Encoded(frame);
  for (size_t size = 0; size < encoded.size(); ++size) {
    std::string_view in(encoded.data(), size);
    ResultFrame back;
    EXPECT_EQ(TakeResult(in, back), Parse::kIncomplete) << size;
    EXPECT_EQ(in.size(), size);
  }
}

TEST(FramesTest, RefusesWhatIsNoFrame) {
  ResultFrame frame{};
  frame.header.type = FrameType::kResult;
  const std::string good = Encoded(frame);
  auto parse = [](std::string bytes) {
    std::string_view in = bytes;
    ResultFrame back;
    return TakeResult(in, back);
  };
  auto with = [&good](size_t at, uint8_t value) {
    std::string bytes = good;
    bytes[at] = static_cast<char>(value);
    return bytes;
  };
  EXPECT_EQ(parse(with(0, 4)), Parse::kMalformed);     // shorter than a header
  EXPECT_EQ(parse(with(3, 0xff)), Parse::kMalformed);  // longer than any
  EXPECT_EQ(parse(with(4, 77)), Parse::kMalformed);    // type
  EXPECT_EQ(parse(with(5, 77)), Parse::kMalformed);    // verdict
  EXPECT_EQ(parse(with(offsetof(ResultHeader, message_bytes), 1)),
            Parse::kMalformed);  // texts beyond the end
}

TEST(FramesTest, NoiseNeverReadsBeyondItsEnd) {
  std::mt19937 random(1);
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes(random() % 100, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    if (bytes.size() >= 4) {
      const uint32_t length = random() % 120;
      std::memcpy(bytes.data(), &length, sizeof length);
    }
    std::string_view in = bytes, in2 = bytes;
    TaskFrame task;
    ResultFrame result;
    if (TakeTask(in, task) == Parse::kFrame) {
      EXPECT_LE(task.payload.size(), bytes.size());
    }
    if (TakeResult(in2, result) == Parse::kFrame) {
      EXPECT_LE(result.payload.size() + result.message.size() + result.detail.size(), bytes.size());
    }
  }
}

TEST(StatusPageTest, PeekGivesOnlyWhatIsNewAndStable) {
  UniqueFd fd;
  auto page = SharedStatusPage::Create(fd);
  ASSERT_TRUE(page.ok());
  std::string out;
  EXPECT_FALSE(PeekOutbox(**page, 0, out));
  std::memcpy((*page)->outbox_bytes, "abcdef", 6);
  (*page)->outbox = PackOutbox(100, 6);
  EXPECT_FALSE(PeekOutbox(**page, 99, out));  // earlier bytes are still in the socket
  EXPECT_TRUE(PeekOutbox(**page, 102, out));
  EXPECT_EQ(out, "cdef");
  EXPECT_FALSE(PeekOutbox(**page, 106, out));
  (*page)->outbox = PackOutbox(100, kOutboxBytes + 1);  // a child gone mad
  EXPECT_FALSE(PeekOutbox(**page, 100, out));
}

TEST(TextTest, CleansWhatIsNoUtf8) {
  EXPECT_EQ(CleanUtf8("gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80"), "gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80");
  EXPECT_EQ(CleanUtf8("a\xff\xc3"), "a??");
  EXPECT_EQ(CleanUtf8("\xc0\x80\xed\xa0\x80\xf5"), "??????");
  EXPECT_EQ(OneLine("two\nlines"), "two lines");
}

}  // namespace
}  // namespace joinq
