// The frames between daemon and child: a broken child must not break the daemon.
#include <algorithm>

#include "tests/fuzz/fuzz.h"
#include "worker/child/frames.h"

namespace joinq {
namespace {

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
  }
}

std::vector<std::string> Seeds() {
  TaskHeader task{};
  task.task_id = 7;
  std::string frame;
  EncodeTask(task, "application/json", "[1,2]", frame);
  ResultFrame result{};
  result.header.type = FrameType::kResult;
  result.header.verdict = ResultVerdict::kFailed;
  result.message = "no";
  result.detail = "why";
  result.payload = "{}";
  std::string whole(PrepareResult(result) - result.payload.size(), '\0');
  EncodeResultHead(result, whole.data());
  whole += result.payload;
  return {frame, frame + frame, whole, whole + frame};
}

}  // namespace
}  // namespace joinq

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  joinq::fuzz::MaybeWriteSeeds(*argc, *argv, joinq::Seeds());
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view in = joinq::fuzz::Text(data, size);
  joinq::TakeAll<joinq::TaskFrame>(in, joinq::TakeTask);
  joinq::TakeAll<joinq::ResultFrame>(in, joinq::TakeResult);
  return 0;
}
