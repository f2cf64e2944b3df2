// The frames between daemon and child: a broken child must not break the daemon.
#include <algorithm>

#include "tests/fuzz/fuzz.h"
#include "worker/child/frames.h"

namespace joinq {
namespace {

std::string Encoded(const TaskFrame& frame) {
  std::string out;
  if (frame.header.type == FrameType::kLargeTask) {
    EncodeLargeTask(frame.header, frame.content_type, frame.headers, frame.place, out);
  } else {
    EncodeTask(frame.header, frame.content_type, frame.headers, frame.payload, out);
  }
  return out;
}

std::string Encoded(ResultFrame frame) {
  std::string out(PrepareResult(frame) - frame.payload.size(), '\0');
  if (EncodeResultHead(frame, out.data()) != out.size()) std::abort();
  return out.append(frame.payload);
}

// What was taken can be sent on, and is taken again as the same.
template <typename Frame>
void CheckRoundTrip(const Frame& frame, Parse (*take)(std::string_view&, Frame&)) {
  const std::string once = Encoded(frame);
  std::string_view in = once;
  Frame again{};
  if (take(in, again) != Parse::kFrame || !in.empty() || Encoded(again) != once) std::abort();
  if (again.content_type != frame.content_type || again.payload != frame.payload) std::abort();
  if (again.place.memory != frame.place.memory || again.place.bytes != frame.place.bytes) std::abort();
}

// As a child reads them: what is left over is left alone.
void CheckHeaders(const TaskFrame& frame) {
  std::string_view block = frame.headers, name, value;
  std::string again;
  while (TakeHeaderPair(block, name, value)) AppendHeaderPair(name, value, again);
  if (std::string_view(again) != frame.headers.substr(0, again.size())) std::abort();
}
void CheckHeaders(const ResultFrame&) {}

// Takes frames off `in` until it cannot; each must come from inside the input.
template <typename Frame>
void TakeAll(std::string_view in, Parse (*take)(std::string_view&, Frame&)) {
  const std::string_view all = in;
  for (;;) {
    Frame frame{};
    const size_t before = in.size();
    if (take(in, frame) != Parse::kFrame) {
      if (in.size() != before) std::abort();
      return;
    }
    if (in.size() >= before) std::abort();
    if (!frame.payload.empty() &&
        (frame.payload.data() < all.data() || frame.payload.data() + frame.payload.size() > in.data())) {
      std::abort();
    }
    CheckRoundTrip(frame, take);
    CheckHeaders(frame);
  }
}

std::vector<std::string> Seeds() {
  TaskHeader task{};
  task.task_id = 7;
  std::string frame;
  std::string headers;
  AppendHeaderPair("tenant", "a", headers);
  AppendHeaderPair("", "nameless", headers);
  task.header_count = 2;
  EncodeTask(task, "application/json", headers, "[1,2]", frame);
  ResultFrame result{};
  result.header.type = FrameType::kResult;
  result.header.verdict = ResultVerdict::kFailed;
  result.message = "no";
  result.detail = "why";
  result.follow_ups = "more";
  result.payload = "{}";
  const std::string whole = Encoded(result);
  ResultFrame ready{};
  ready.header.type = FrameType::kReady;
  const std::string greeting = Encoded(ready);
  std::string large;
  EncodeLargeTask(task, "application/json", headers, {3, 100'000}, large);
  result.payload = {};
  result.header.large = result.header.fresh_memory = 1;
  result.place = {1, 70'000};
  return {frame,         frame + frame,  whole, whole + frame, greeting + whole + whole,
          large + frame, Encoded(result)};
}

}  // namespace
}  // namespace joinq

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  joinq::fuzz::MaybeWriteSeeds(*argc, *argv, joinq::Seeds);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view in = joinq::fuzz::Text(data, size);
  joinq::TakeAll<joinq::TaskFrame>(in, joinq::TakeTask);
  joinq::TakeAll<joinq::ResultFrame>(in, joinq::TakeResult);
  return 0;
}
