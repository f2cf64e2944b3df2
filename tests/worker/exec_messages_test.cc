#include "worker/child/exec_messages.h"

#include <gmock/gmock.h>

namespace joinq {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ExecMessagesTest, APutHasTheFieldsOfATask) {
  const auto message = ReadExecMessage(
      R"({"type": "put", "queue": "next", "handler": "add", "payload": [1, 2], "content_type": "t",
          "delay_ms": 1500, "ttl_ms": 2, "result_ttl_ms": 3, "retry_delay_ms": 4, "max_attempts": 5,
          "max_crashes": 6, "priority": -7, "unique_key": "k", "headers": [["a", "b"]], "unknown": {}})");
  ASSERT_TRUE(message.ok()) << message.status();
  const auto& put = std::get<ExecPut>(*message);
  EXPECT_EQ(put.queue, "next");
  EXPECT_EQ(put.handler, "add");
  EXPECT_EQ(put.payload, "[1,2]");
  EXPECT_EQ(put.options.content_type, "t");
  EXPECT_EQ(put.options.delay.count(), 1500);
  EXPECT_EQ(put.options.ttl.count(), 2);
  EXPECT_EQ(put.options.result_ttl.count(), 3);
  EXPECT_EQ(put.options.retry_delay.count(), 4);
  EXPECT_EQ(put.options.max_attempts, 5u);
  EXPECT_EQ(put.options.max_crashes, 6u);
  EXPECT_EQ(put.options.priority, -7);
  EXPECT_EQ(put.options.unique_key, "k");
  EXPECT_THAT(put.options.headers, ElementsAre(std::pair<std::string, std::string>("a", "b")));
}

TEST(ExecMessagesTest, APayloadIsTextOrJsonOrBytes) {
  auto payload = [](const std::string& fields) {
    const auto message = ReadExecMessage(R"({"type": "put", "queue": "q")" + fields + "}");
    return message.ok() ? std::get<ExecPut>(*message).payload : std::string(message.status().message());
  };
  EXPECT_EQ(payload(""), "");
  EXPECT_EQ(payload(R"(, "payload": "a \u00fc")"), "a \u00fc");
  EXPECT_EQ(payload(R"(, "payload": {"a": null})"), R"({"a":null})");
  EXPECT_EQ(payload(R"(, "payload_base64": "AAH/")"), std::string("\0\1\xff", 3));
  EXPECT_THAT(payload(R"(, "payload_base64": "!")"), HasSubstr("\"payload_base64\" of a put is not base64"));
  EXPECT_THAT(payload(R"(, "payload": "", "payload_base64": "AAH/")"), HasSubstr("there, and"));
}

TEST(ExecMessagesTest, WhatIsWrongIsNamed) {
  auto wrong = [](std::string_view line) {
    const auto message = ReadExecMessage(line);
    return message.ok() ? "" : std::string(message.status().message());
  };
  EXPECT_THAT(wrong("half way"), HasSubstr("is no JSON object; it begins with \"half way\""));
  EXPECT_THAT(wrong("[]"), HasSubstr("is no JSON object"));
  EXPECT_THAT(wrong("{\"type\": \"\xff\"}"), HasSubstr("is no JSON object"));
  EXPECT_THAT(wrong("{}"), HasSubstr("\"type\" of a message is missing"));
  EXPECT_THAT(wrong(R"({"type": "result"})"), HasSubstr("has the type \"result\", which no message has"));
  EXPECT_THAT(wrong(R"({"type": "progress"})"), HasSubstr("\"text\" of a progress is missing"));
  EXPECT_THAT(wrong(R"({"type": "put"})"), HasSubstr("\"queue\" of a put is missing"));
  EXPECT_THAT(wrong(R"({"type": "put", "queue": 1})"), HasSubstr("\"queue\" of a put is not a string"));
  for (const char* number : {"-1", "1.5", "4294967296", "\"1\""}) {
    EXPECT_THAT(wrong(std::string(R"({"type": "put", "queue": "q", "delay_ms": )") + number + "}"),
                HasSubstr("\"delay_ms\" of a put is not a whole number from 0 to 4294967295"));
  }
  EXPECT_THAT(wrong(R"({"type": "put", "queue": "q", "headers": {"a": "b"}})"),
              HasSubstr("not an array of [name, value]"));
}

TEST(ExecMessagesTest, LinesComeInPieces) {
  ExecLines lines;
  std::vector<std::string> taken;
  auto take = [&](std::string_view line) {
    taken.emplace_back(line);
    return line != "bad";
  };
  EXPECT_TRUE(lines.Add("on", take));
  EXPECT_TRUE(lines.Add("e\n\ntwo\nth", take));
  EXPECT_THAT(taken, ElementsAre("one", "two"));
  EXPECT_EQ(lines.rest(), "th");
  EXPECT_FALSE(lines.Add("ree\nbad\nnever\n", take));
  EXPECT_THAT(taken, ElementsAre("one", "two", "three", "bad"));
  ExecLines long_ones;
  EXPECT_TRUE(long_ones.Add(std::string(kExecLineBytesMax, 'x'), take));
  EXPECT_FALSE(long_ones.Add("x", take));
}

}  // namespace
}  // namespace joinq
