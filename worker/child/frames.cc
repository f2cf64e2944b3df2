#include "worker/child/frames.h"

#include <algorithm>

namespace joinq {
namespace {

template <typename Header>
Parse TakeHeader(std::string_view in, Header& header) {
  if (in.size() < sizeof(uint32_t)) return Parse::kIncomplete;
  const uint32_t length = ClaimedLength(in);
  if (length < sizeof(Header) || length > kFrameBytesMax) return Parse::kMalformed;
  if (in.size() < length) return Parse::kIncomplete;
  std::memcpy(&header, in.data(), sizeof header);
  return Parse::kFrame;
}

std::string_view BytesOf(const PayloadPlace& place) {
  return {reinterpret_cast<const char*>(&place), sizeof place};
}

// False if `in` is no place.
bool TakePlace(std::string_view& in, PayloadPlace& place) {
  if (in.size() != sizeof place) return false;
  std::memcpy(&place, in.data(), sizeof place);
  in = {};
  return true;
}

void Encode(TaskHeader header, std::string_view content_type, std::string_view headers,
            std::string_view payload, std::string& out) {
  content_type = content_type.substr(0, 255);
  const auto header_bytes = static_cast<uint32_t>(headers.size());
  const size_t block = header.header_count > 0 ? sizeof header_bytes + headers.size() : 0;
  header.length = static_cast<uint32_t>(sizeof header + content_type.size() + block + payload.size());
  header.content_type_bytes = static_cast<uint8_t>(content_type.size());
  out.assign(reinterpret_cast<const char*>(&header), sizeof header);
  out.append(content_type);
  if (block > 0) {
    out.append(reinterpret_cast<const char*>(&header_bytes), sizeof header_bytes);
    out.append(headers);
  }
  out.append(payload);
}

size_t Put(char* out, std::string_view text) {
  if (!text.empty()) std::memcpy(out, text.data(), text.size());
  return text.size();
}

}  // namespace

void EncodeTask(TaskHeader header, std::string_view content_type, std::string_view headers,
                std::string_view payload, std::string& out) {
  header.type = FrameType::kTask;
  Encode(header, content_type, headers, payload, out);
}

void EncodeLargeTask(TaskHeader header, std::string_view content_type, std::string_view headers,
                     PayloadPlace place, std::string& out) {
  header.type = FrameType::kLargeTask;
  Encode(header, content_type, headers, BytesOf(place), out);
}

void AppendHeaderPair(std::string_view name, std::string_view value, std::string& block) {
  for (std::string_view part : {name, value}) {
    const auto bytes = static_cast<uint16_t>(std::min<size_t>(part.size(), 0xffff));
    block.append(reinterpret_cast<const char*>(&bytes), sizeof bytes);
    block.append(part.substr(0, bytes));
  }
}

bool TakeHeaderPair(std::string_view& block, std::string_view& name, std::string_view& value) {
  std::string_view rest = block;
  for (std::string_view* part : {&name, &value}) {
    uint16_t bytes;
    if (rest.size() < sizeof bytes) return false;
    std::memcpy(&bytes, rest.data(), sizeof bytes);
    rest.remove_prefix(sizeof bytes);
    if (rest.size() < bytes) return false;
    *part = rest.substr(0, bytes);
    rest.remove_prefix(bytes);
  }
  block = rest;
  return true;
}

size_t PrepareResult(ResultFrame& frame) {
  frame.content_type = frame.content_type.substr(0, 255);
  frame.message = frame.message.substr(0, kErrorMessageBytesMax);
  if (frame.detail.size() > kErrorDetailBytesMax) {
    frame.detail.remove_prefix(frame.detail.size() - kErrorDetailBytesMax);
  }
  auto& header = frame.header;
  header.content_type_bytes = static_cast<uint8_t>(frame.content_type.size());
  header.message_bytes = static_cast<uint16_t>(frame.message.size());
  header.detail_bytes = static_cast<uint16_t>(frame.detail.size());
  header.follow_up_bytes = static_cast<uint32_t>(frame.follow_ups.size());
  header.length = static_cast<uint32_t>(sizeof header + frame.content_type.size() + frame.message.size() +
                                        frame.detail.size() + frame.follow_ups.size() +
                                        (header.large ? sizeof frame.place : frame.payload.size()));
  return header.length;
}

size_t EncodeResultHead(const ResultFrame& frame, char* out) {
  std::memcpy(out, &frame.header, sizeof frame.header);
  size_t at = sizeof frame.header;
  at += Put(out + at, frame.content_type);
  at += Put(out + at, frame.message);
  at += Put(out + at, frame.detail);
  at += Put(out + at, frame.follow_ups);
  if (frame.header.large) at += Put(out + at, BytesOf(frame.place));
  return at;
}

Parse TakeTask(std::string_view& in, TaskFrame& frame) {
  if (Parse parse = TakeHeader(in, frame.header); parse != Parse::kFrame) return parse;
  const auto& header = frame.header;
  const bool large = header.type == FrameType::kLargeTask;
  if ((header.type != FrameType::kTask && !large) ||
      sizeof header + header.content_type_bytes > header.length) {
    return Parse::kMalformed;
  }
  std::string_view rest = in.substr(sizeof header, header.length - sizeof header);
  frame.content_type = rest.substr(0, header.content_type_bytes);
  rest.remove_prefix(header.content_type_bytes);
  frame.headers = {};
  if (header.header_count > 0) {
    const size_t bytes = rest.size() < sizeof(uint32_t) ? rest.size() : ClaimedLength(rest);
    if (rest.size() < sizeof(uint32_t) + bytes) return Parse::kMalformed;
    frame.headers = rest.substr(sizeof(uint32_t), bytes);
    rest.remove_prefix(sizeof(uint32_t) + bytes);
  }
  if (large && !TakePlace(rest, frame.place)) return Parse::kMalformed;
  frame.payload = rest;
  in.remove_prefix(header.length);
  return Parse::kFrame;
}

Parse TakeResult(std::string_view& in, ResultFrame& frame) {
  if (Parse parse = TakeHeader(in, frame.header); parse != Parse::kFrame) return parse;
  const auto& header = frame.header;
  const size_t texts = size_t{header.content_type_bytes} + header.message_bytes + header.detail_bytes +
                       size_t{header.follow_up_bytes};
  if ((header.type != FrameType::kResult && header.type != FrameType::kReady &&
       header.type != FrameType::kProgress && header.type != FrameType::kStartFailed) ||
      header.verdict > ResultVerdict::kSkipped || sizeof header + texts > header.length) {
    return Parse::kMalformed;
  }
  std::string_view rest = in.substr(sizeof header, header.length - sizeof header);
  auto take = [&rest](size_t bytes) {
    std::string_view part = rest.substr(0, bytes);
    rest.remove_prefix(bytes);
    return part;
  };
  frame.content_type = take(header.content_type_bytes);
  frame.message = take(header.message_bytes);
  frame.detail = take(header.detail_bytes);
  frame.follow_ups = take(header.follow_up_bytes);
  if (header.large && !TakePlace(rest, frame.place)) return Parse::kMalformed;
  frame.payload = rest;
  in.remove_prefix(header.length);
  return Parse::kFrame;
}

}  // namespace joinq
