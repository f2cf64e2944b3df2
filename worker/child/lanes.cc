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
#include <cerrno>
#include <deque>

#include "worker/child/lane_executor.h"
#include "worker/child/task_signals.h"

namespace joinq {
namespace {

namespace asio = boost::asio;

constexpr size_t kReadBytes = 64 << 10;
constexpr int kEventsPerFlush = 64;

class Lanes {
 public:
  Lanes(const ChildPlace& place, ChildWork& work, uint32_t lanes)
      : place_(place),
        page_(place.page),
        work_(work),
        marks_(place.page, place.output),
        sender_(place.channel, place.page),
        readable_(io_, dup(place.channel)),
        asked_(io_) {
    for (uint32_t i = 0; i < lanes; ++i) lanes_.emplace_back(page_.lanes[i], *this);
  }

  int Run() {
    if (!StartChild(sender_, work_.registry)) return 1;
    asked_.add(kAskSignal);
    WatchAsked();
    Pump();
    for (;;) {
      {
        const std::lock_guard lock(sender_.mutex());
        if (!sender_.Flush()) return 1;
      }
      if (over_ || io_.run_one() == 0) return exit_status_;
      for (int i = 1; i < kEventsPerFlush && !over_ && io_.poll_one() > 0; ++i) {
      }
    }
  }

 private:
  struct Lane {
    Lane(StatusLane& place, Lanes& lanes)
        : page(place),
          call(place, lanes.sender_, lanes.work_),
          executor(LaneExecutor(lanes.io_.get_executor(), lanes.page_, place, lanes.marks_)) {}
    StatusLane& page;
    TaskCall call;
    asio::any_io_executor executor;
    std::string frame;  // its bytes
    std::string_view payload;
    asio::cancellation_signal cancel;
    bool busy = false;
    bool cancelled = false;
  };

  // Begins what has arrived while a lane is free, then waits for more.
  void Pump() {
    while (!over_) {
      const auto lane =
          std::find_if(lanes_.begin(), lanes_.end(), [](const Lane& each) { return !each.busy; });
      if (lane == lanes_.end() || (place_.single && number_ > 0)) return;  // its end pumps again
      std::string_view in(input_.data() + taken_, filled_ - taken_);
      const char* const begin = in.data();
      TaskFrame frame;
      switch (TakeTask(in, frame)) {
        case Parse::kFrame: {
          lane->frame.assign(begin, frame.header.length);
          taken_ += frame.header.length;
          std::string_view own = lane->frame;
          TakeTask(own, frame);
          Start(*lane, frame);
          break;
        }
        case Parse::kIncomplete:
          if (!Read()) return;
          break;
        case Parse::kMalformed:
          return End(1);
      }
    }
  }

  // False: nothing has come; or no more will.
  bool Read() {
    if (ended_) return false;
    std::memmove(input_.data(), input_.data() + taken_, filled_ - taken_);
    filled_ -= std::exchange(taken_, 0);
    const size_t claimed = ClaimedLength({input_.data(), filled_});
    const size_t size = std::max<size_t>(kReadBytes, claimed);
    if (size > input_.size() || (filled_ == 0 && input_.size() > size)) {
      input_.resize(size);
      input_.shrink_to_fit();
    }
    ssize_t got;
    do {
      got = recv(place_.channel, input_.data() + filled_, input_.size() - filled_, MSG_DONTWAIT);
    } while (got < 0 && errno == EINTR);
    if (got > 0) {
      filled_ += static_cast<size_t>(got);
      return true;
    }
    if (got < 0 && errno == EAGAIN) {
      if (std::exchange(waiting_, true)) return false;
      readable_.async_wait(asio::posix::stream_descriptor::wait_read,
                           [this](boost::system::error_code error) {
                             waiting_ = false;
                             if (!error) Pump();
                           });
      return false;
    }
    ended_ = true;
    EndIfDone(got == 0 ? 0 : 1);
    return false;
  }

  void Start(Lane& lane, const TaskFrame& frame) {
    const uint64_t now = MonotonicNs();
    if (!BeginFrame(page_, lane.page, ++number_, now)) {
      ResultFrame skipped = SkippedResult(frame);
      Add(skipped, now);
      lane.page.number.store(0, std::memory_order_release);
      return;
    }
    lane.busy = true;
    ++busy_;
    lane.cancelled = false;
    lane.payload = frame.payload;
    if (!lane.call.Begin(frame, number_, now)) return Finish(lane);
    const size_t handler = lane.call.handler();
    if (work_.registry.async_handler(handler)) {
      asio::co_spawn(
          lane.executor, Call(lane),
          asio::bind_cancellation_slot(lane.cancel.slot(), [this, &lane](std::exception_ptr error) {
            if (error) lane.call.Fail(error);
            Finish(lane);
            asio::post(io_, [this] { Pump(); });
          }));
      return;
    }
    {
      const InLane in_lane(page_, lane.page, marks_);
      try {
        lane.call.Succeed(work_.registry.handler(handler)(lane.call.context(), lane.payload));
      } catch (...) {
        lane.call.Fail(std::current_exception());
      }
    }
    Finish(lane);
  }

  asio::awaitable<void> Call(Lane& lane) {
    lane.call.Succeed(
        co_await work_.registry.async_handler(lane.call.handler())(lane.call.context(), lane.payload));
  }

  void Finish(Lane& lane) {
    const bool asynchronous = static_cast<bool>(work_.registry.async_handler(lane.call.handler()));
    marks_.Write(lane.call.number(), false);
    const uint64_t now = MonotonicNs();
    // First the result, then the end: a death in between must find one of them.
    Add(lane.call.Finish(now, asynchronous), now);
    lane.page.number.store(0, std::memory_order_release);
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
  ResultSender sender_;
  asio::io_context io_{1};
  asio::posix::stream_descriptor readable_;  // a duplicate, to wait on
  asio::signal_set asked_;
  std::deque<Lane> lanes_;
  std::string input_;
  size_t taken_ = 0;
  size_t filled_ = 0;
  uint64_t number_ = 0;  // of the newest frame
  uint32_t busy_ = 0;
  bool waiting_ = false;
  bool ended_ = false;  // nothing more comes
  bool over_ = false;
  int exit_status_ = 0;
};

}  // namespace

int RunLanes(const ChildPlace& place, ChildWork& work, uint32_t lanes) {
  // Never destroyed: the process ends, with whatever handlers have left.
  return (new Lanes(place, work, lanes))->Run();
}

}  // namespace joinq
