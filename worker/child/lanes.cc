#include "worker/child/lanes.h"

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <deque>

#include "worker/child/lane_executor.h"
#include "worker/child/task_reader.h"
#include "worker/child/task_signals.h"

namespace joinq {
namespace {

namespace asio = boost::asio;

constexpr int kFramesPerTurn = 16;

class Lanes {
 public:
  Lanes(const ChildPlace& place, ChildWork& work, uint32_t lanes, size_t payload_bytes_in_frame)
      : place_(place),
        page_(place.page),
        work_(work),
        marks_(place.page, place.output),
        reader_(place.channel),
        sender_(place.channel, place.page, payload_bytes_in_frame),
        readable_(io_, dup(place.channel)),
        asked_(io_) {
    for (uint32_t i = 0; i < lanes; ++i) lanes_.emplace_back(i, *this);
  }

  int Run() {
    if (!StartChild(sender_, work_.registry)) return 1;
    asked_.add(kAskSignal);
    WatchAsked();
    Pump();
    // What has ended does not wait for what runs next.
    for (;;) {
      EndTwin();
      {
        const std::lock_guard lock(sender_.mutex());
        if (!sender_.Flush()) return 1;
      }
      if (over_ || io_.run_one() == 0) return exit_status_;
    }
  }

 private:
  struct Lane {
    Lane(uint32_t index, Lanes& lanes)
        : page(lanes.page_.lanes[index]), call(lanes.page_, index, lanes.sender_, lanes.work_) {}
    StatusLane& page;
    TaskCall call;
    std::string frame;  // what the task's views point to
    TaskPayload payload;
    asio::cancellation_signal cancel;
    bool busy = false;
    bool asynchronous = false;
    bool cancelled = false;
  };

  // Begins what has arrived while a lane is free, then waits for more. After some frames
  // others have their turn, and what is answered is sent.
  void Pump() {
    if (pump_posted_) return;
    for (int frames = 0; !over_; ++frames) {
      if (frames == kFramesPerTurn) return PumpLater();
      const auto lane =
          std::find_if(lanes_.begin(), lanes_.end(), [](const Lane& each) { return !each.busy; });
      if (lane == lanes_.end() || (place_.single && number_ > 0)) return;  // its end pumps again
      TaskFrame frame;
      switch (reader_.Next(frame)) {
        case Parse::kFrame:
          Start(*lane, frame);
          break;
        case Parse::kIncomplete:
          if (!Read()) return;
          break;
        case Parse::kMalformed:
          return End(1);
      }
    }
  }

  // The frame with its views into `kept`, but for a payload in shared memory.
  static TaskFrame Keep(const TaskFrame& frame, std::string& kept) {
    kept.assign(frame.content_type).append(frame.headers).append(frame.payload);
    std::string_view rest = kept;
    TaskFrame own = frame;
    for (std::string_view* part : {&own.content_type, &own.headers, &own.payload}) {
      const size_t bytes = part->size();
      *part = rest.substr(0, bytes);
      rest.remove_prefix(bytes);
    }
    return own;
  }
  void PumpLater() {
    if (std::exchange(pump_posted_, true)) return;
    asio::post(io_, [this] {
      pump_posted_ = false;
      Pump();
    });
  }
  // False: nothing has come; or no more will.
  bool Read() {
    if (ended_) return false;
    const TaskReader::Got got = reader_.Receive(MSG_DONTWAIT);
    if (got == TaskReader::Got::kSome) return true;
    if (got == TaskReader::Got::kNothing) {
      if (std::exchange(waiting_, true)) return false;
      readable_.async_wait(asio::posix::stream_descriptor::wait_read,
                           [this](boost::system::error_code error) {
                             waiting_ = false;
                             if (!error) Pump();
                           });
      return false;
    }
    ended_ = true;
    EndIfDone(got == TaskReader::Got::kEnd ? 0 : 1);
    return false;
  }

  void Start(Lane& lane, const TaskFrame& frame) {
    const uint64_t now = MonotonicNs();
    if (!BeginFrame(page_, lane.page, ++number_, now)) {
      ResultFrame skipped = SkippedResult(frame, number_);
      Add(skipped, now);
      lane.page.number.store(0, std::memory_order_release);
      return;
    }
    lane.busy = true;
    ++busy_;
    lane.asynchronous = lane.cancelled = false;
    auto payload = reader_.Payload(frame);
    if (!payload.ok() && number_ > 1) return GiveBack(lane, frame);
    const TaskFrame kept = Keep(frame, lane.frame);
    if (!lane.call.Begin(kept, payload.status(), number_, now)) return Finish(lane);
    lane.payload = *std::move(payload);
    if (lane.payload.memory == nullptr) lane.payload.bytes = kept.payload;
    const size_t handler = lane.call.handler();
    if (work_.registry.async_handler(handler)) {
      lane.asynchronous = true;
      const LaneExecutor executor(io_.get_executor(), page_, lane.page, number_, marks_);
      asio::co_spawn(
          asio::any_io_executor(executor), Call(lane),
          asio::bind_cancellation_slot(lane.cancel.slot(), [this, &lane](std::exception_ptr error) {
            if (error) lane.call.Fail(error);
            Finish(lane);
            PumpLater();
          }));
      return;
    }
    {
      const InLane in_lane(page_, lane.page, number_, marks_);
      try {
        lane.call.Succeed(work_.registry.handler(handler)(lane.call.context(), lane.payload.bytes));
      } catch (...) {
        lane.call.Fail(std::current_exception());
      }
    }
    Finish(lane);
  }

  // Earlier tasks may have used up what its payload needs; another child has it.
  void GiveBack(Lane& lane, const TaskFrame& frame) {
    ResultFrame result = SkippedResult(frame, number_);
    result.header.retire = 1;
    Add(result, MonotonicNs());
    lane.page.number.store(0, std::memory_order_release);
    lane.busy = false;
    --busy_;
    EndIfDone(0);
  }

  asio::awaitable<void> Call(Lane& lane) {
    lane.call.Succeed(
        co_await work_.registry.async_handler(lane.call.handler())(lane.call.context(), lane.payload.bytes));
  }

  void Finish(Lane& lane) {
    EndTwin();
    marks_.Write(lane.call.number(), false);
    const uint64_t now = MonotonicNs();
    // First the result, then the end: a death in between must find one of them.
    Add(lane.call.Finish(now, lane.asynchronous), now);
    lane.page.number.store(0, std::memory_order_release);
    lane.payload = {};
    lane.busy = false;
    --busy_;
    if (place_.single) return End(lane.call.failed() ? 1 : 0);
    EndIfDone(0);
  }

  void Add(ResultFrame& result, uint64_t now) {
    const std::lock_guard lock(sender_.mutex());
    if (!sender_.Add(result, now)) End(1);
  }

  // The daemon sends the signal once it has said in the page who is meant.
  void WatchAsked() {
    asked_.async_wait([this](boost::system::error_code error, int) {
      if (error) return;
      for (Lane& lane : lanes_) {
        if (!lane.busy || lane.cancelled || !lane.call.asked_to_end()) continue;
        lane.cancelled = true;
        lane.cancel.emit(asio::cancellation_type::terminal);
      }
      WatchAsked();
    });
  }

  void EndIfDone(int exit_status) {
    if (ended_ && busy_ == 0) End(exit_status);
  }
  void End(int exit_status) {
    if (!over_) exit_status_ = exit_status;
    over_ = true;
  }

  const ChildPlace& place_;
  StatusPage& page_;
  ChildWork& work_;
  const OutputMarks marks_;
  TaskReader reader_;
  ResultSender sender_;
  asio::io_context io_{1};
  asio::posix::stream_descriptor readable_;  // a duplicate, to wait on
  asio::signal_set asked_;
  std::deque<Lane> lanes_;
  uint64_t number_ = 0;  // of the newest frame
  uint32_t busy_ = 0;
  bool waiting_ = false;
  bool pump_posted_ = false;
  bool ended_ = false;  // nothing more comes
  bool over_ = false;
  int exit_status_ = 0;
};

}  // namespace

int RunLanes(const ChildPlace& place, ChildWork& work, uint32_t lanes, size_t payload_bytes_in_frame) {
  // Never destroyed: the process ends, with whatever handlers have left.
  return (new Lanes(place, work, lanes, payload_bytes_in_frame))->Run();
}

}  // namespace joinq
