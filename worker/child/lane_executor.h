// An executor that knows whose code it runs.
#pragma once

#include <stdio_ext.h>

#include <boost/asio/any_io_executor.hpp>
#include <cstdio>
#include <utility>

#include "worker/child/output_marks.h"
#include "worker/child/task_call.h"
#include "worker/process/status_page.h"

namespace joinq {

// While it lives, the code that runs is of the lane's task: so that a crash is blamed on that
// one, and what is written is known to be its own.
class InLane {
 public:
  // Of frame `number`: it may have ended, and left this behind.
  InLane(StatusPage& page, const StatusLane& lane, uint64_t number, const OutputMarks& marks)
      : page_(page), marks_(marks), number_(number) {
    before_ = page_.current.load(std::memory_order_relaxed);
    Turn(lane.number.load(std::memory_order_relaxed) == number ? number : kNobody);
  }
  ~InLane() {
    if (__fpending(stdout) > 0) fflush(stdout);
    marks_.Write(number_, /*always=*/false);
    Turn(before_);
  }
  InLane(const InLane&) = delete;
  InLane& operator=(const InLane&) = delete;

 private:
  void Turn(uint64_t number) {
    page_.current_ns.store(MonotonicNs(), std::memory_order_relaxed);
    page_.current.store(number, std::memory_order_release);
  }

  StatusPage& page_;
  const OutputMarks& marks_;
  const uint64_t number_;
  uint64_t before_;
};

// Models asio::execution::executor: all that runs by it is of frame `number` in the lane. What lies behind it
// must outlive it.
class LaneExecutor {
 public:
  LaneExecutor(boost::asio::any_io_executor inner, StatusPage& page, const StatusLane& lane, uint64_t number,
               const OutputMarks& marks)
      : inner_(std::move(inner)), page_(&page), lane_(&lane), number_(number), marks_(&marks) {}

  template <typename F>
  void execute(F&& function) const {
    inner_.execute([page = page_, lane = lane_, number = number_, marks = marks_,
                    function = std::forward<F>(function)]() mutable {
      const InLane in_lane(*page, *lane, number, *marks);
      std::move(function)();
    });
  }

  template <typename Property>
  requires boost::asio::can_query_v<const boost::asio::any_io_executor&, Property>
  decltype(auto) query(const Property& property) const { return boost::asio::query(inner_, property); }
  template <typename Property>
  requires boost::asio::can_require_v<const boost::asio::any_io_executor&, Property> LaneExecutor
  require(const Property& property)
  const { return LaneExecutor(boost::asio::require(inner_, property), *page_, *lane_, number_, *marks_); }
  template <typename Property>
  requires boost::asio::can_prefer_v<const boost::asio::any_io_executor&, Property> LaneExecutor
  prefer(const Property& property)
  const { return LaneExecutor(boost::asio::prefer(inner_, property), *page_, *lane_, number_, *marks_); }
  friend bool operator==(const LaneExecutor& a, const LaneExecutor& b) noexcept {
    return a.inner_ == b.inner_ && a.lane_ == b.lane_ && a.number_ == b.number_;
  }

 private:
  boost::asio::any_io_executor inner_;
  StatusPage* page_;
  const StatusLane* lane_;
  uint64_t number_;
  const OutputMarks* marks_;
};

}  // namespace joinq
