#include "worker/child/child_main.h"

#include <signal.h>
#include <stdio_ext.h>
#include <sys/random.h>

#include <cerrno>
#include <cstdio>

#include "worker/child/frames.h"
#include "worker/child/lanes.h"
#include "worker/child/output_marks.h"
#include "worker/child/result_sender.h"
#include "worker/child/task_call.h"
#include "worker/child/task_reader.h"
#include "worker/child/task_signals.h"

namespace joinq {
namespace {

constexpr size_t kFlushBytes = 32 << 10;
constexpr uint64_t kFlushAfterNs = 200'000;
constexpr uint64_t kWriteNsMin = 500;  // no task writes to a pipe in less

// One task at a time, without an event loop.
class Child {
 public:
  Child(const ChildPlace& place, ChildWork& work, size_t payload_bytes_in_frame)
      : reader_(place.channel),
        page_(place.page),
        single_(place.single),
        work_(work),
        marks_(place.page, place.output),
        sender_(place.channel, place.page, payload_bytes_in_frame),
        call_(place.page, 0, sender_, work) {}

  int Run() {
    if (!StartChild(sender_, work_.registry)) return 1;
    for (;;) {
      const TaskReader::Got got = reader_.Receive(0);
      if (got != TaskReader::Got::kSome) return got == TaskReader::Got::kEnd ? 0 : 1;
      if (!RunAll() || !sender_.Flush()) return 1;
      if (single_ && number_ > 0) return call_.failed() ? 1 : 0;
    }
  }

 private:
  bool RunAll() {
    now_ns_ = MonotonicNs();
    TaskFrame frame;
    for (;;) {
      switch (reader_.Next(frame)) {
        case Parse::kIncomplete:
          return true;
        case Parse::kMalformed:
          return false;
        case Parse::kFrame:
          break;
      }
      if (!RunOne(frame)) return false;
      if (single_) return true;
      if (sender_.gathered() >= kFlushBytes ||
          (sender_.gathered() > 0 && now_ns_ - sender_.first_ns() > kFlushAfterNs)) {
        if (!sender_.Flush()) return false;
      }
    }
  }

  bool RunOne(const TaskFrame& frame) {
    auto& lane = page_.lanes[0];
    if (!BeginFrame(page_, lane, ++number_, now_ns_)) {
      ResultFrame skipped = SkippedResult(frame, number_);
      if (!sender_.Add(skipped, now_ns_)) return false;
    } else {
      const auto payload = reader_.Payload(frame);
      if (!payload.ok() && number_ > 1) {
        // Earlier tasks may have used up what its payload needs; another child has it.
        ResultFrame result = SkippedResult(frame, number_);
        result.header.retire = 1;
        if (!sender_.Add(result, now_ns_)) return false;
        lane.number.store(0, std::memory_order_release);
        return true;
      }
      if (call_.Begin(frame, payload.status(), number_, now_ns_)) {
        try {
          call_.Succeed(work_.registry.handler(call_.handler())(call_.context(), payload->bytes));
        } catch (...) {
          call_.Fail(std::current_exception());
        }
      }
      EndTwin();
      if (__fpending(stdout) > 0) fflush(stdout);
      const uint64_t end_ns = MonotonicNs();
      if (call_.failed() || end_ns - now_ns_ > kWriteNsMin) marks_.Write(number_, call_.failed());
      now_ns_ = end_ns;
      // First the result, then the end: a death in between must find one of them.
      if (!sender_.Add(call_.Finish(end_ns, /*asynchronous=*/false), now_ns_)) return false;
    }
    lane.number.store(0, std::memory_order_release);
    return true;
  }

  TaskReader reader_;
  StatusPage& page_;
  const bool single_;
  ChildWork& work_;
  const OutputMarks marks_;
  ResultSender sender_;
  TaskCall call_;
  uint64_t number_ = 0;  // of the newest frame
  uint64_t now_ns_ = 0;  // the clock, read once a task
};

}  // namespace

int RunChild(const ChildPlace& place, const Registry& registry, const ChildSettings& settings) {
  // Asked to end, a handler shall see its blocking calls interrupted and nothing else.
  struct sigaction act {};
  act.sa_handler = [](int) {};
  sigaction(kAskSignal, &act, nullptr);
  // Lines arrive while a task runs, not when a buffer is full.
  setvbuf(stdout, nullptr, _IOLBF, 0);
  if (getrandom(place.page.output_key.data(), place.page.output_key.size(), 0) < 0) return 1;
  WatchForTwins();
  ChildWork work{registry, place.handlers, settings.queues, settings.limits};
  const uint32_t lanes = place.single ? 1 : settings.lanes;
  if (lanes > 1 || registry.has_async()) return RunLanes(place, work, lanes, settings.payload_bytes_in_frame);
  return Child(place, work, settings.payload_bytes_in_frame).Run();
}

}  // namespace joinq
