#include "worker/child/child_main.h"

#include <signal.h>
#include <stdio_ext.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#include <cerrno>
#include <cstdio>
#include <limits>
#include <new>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "joinq/v1/task.pb.h"
#include "worker/child/exec_handler.h"
#include "worker/child/frames.h"
#include "worker/child/result_sender.h"
#include "worker/child/runner.h"
#include "worker/child/task_control.h"
#include "worker/output/output_splitter.h"
#include "worker/process/child_limits.h"

namespace joinq {
namespace {

constexpr size_t kReadBytes = 128 << 10;
constexpr size_t kFlushBytes = 32 << 10;
constexpr uint64_t kFlushAfterNs = 200'000;
constexpr uint64_t kWriteNsMin = 500;  // no task writes to a pipe in less

uint64_t NowNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

// What went wrong, or "".
std::string RunInitializers(const Registry& registry) {
  try {
    for (const auto& initialize : registry.initializers()) initialize();
    return "";
  } catch (const std::exception& error) {
    return absl::StrCat("its initializer failed: ", error.what());
  } catch (...) {
    return "its initializer threw something that is no std::exception";
  }
}

class Child {
 public:
  Child(const ChildPlace& place, const Registry& registry, const ChildSettings& settings)
      : channel_(place.channel),
        output_pipe_(place.output),
        page_(place.page),
        single_(place.single),
        handlers_(place.handlers),
        registry_(registry),
        queues_(settings.queues),
        limits_(settings.limits),
        sender_(place.channel, place.page),
        control_(page_, sender_) {}

  int Run() {
    ResultFrame ready{};
    const std::string error = RunInitializers(registry_);
    ready.header.type = error.empty() ? FrameType::kReady : FrameType::kStartFailed;
    ready.message = error;
    if (!sender_.Add(ready, 0) || !sender_.Flush() || !error.empty()) return 1;
    std::string buffer(kReadBytes, '\0');
    size_t filled = 0;
    for (;;) {
      const ssize_t got = recv(channel_, buffer.data() + filled, buffer.size() - filled, 0);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return got == 0 ? 0 : 1;
      filled += static_cast<size_t>(got);
      std::string_view in(buffer.data(), filled);
      if (!RunAll(in) || !sender_.Flush()) return 1;
      if (single_ && number_ > 0) return failed_ ? 1 : 0;
      // What is left is the beginning of a frame; make sure that all of it fits.
      std::memmove(buffer.data(), in.data(), in.size());
      filled = in.size();
      const size_t claimed = ClaimedLength(std::string_view(buffer.data(), filled));
      if (claimed > buffer.size() || (filled == 0 && buffer.size() > kReadBytes)) {
        buffer.resize(std::max(claimed, kReadBytes));
        buffer.shrink_to_fit();
      }
    }
  }

 private:
  bool RunAll(std::string_view& in) {
    now_ns_ = NowNs();
    TaskFrame frame;
    for (;;) {
      switch (TakeTask(in, frame)) {
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
    ++number_;
    page_.start_ns.store(now_ns_, std::memory_order_relaxed);
    page_.begun.store(number_, std::memory_order_seq_cst);
    const bool skip = page_.recall_from.load(std::memory_order_seq_cst) <= number_ &&
                      number_ < page_.recall_to.load(std::memory_order_seq_cst);
    ResultFrame result{};
    result.header.type = FrameType::kResult;
    result.header.task_id = frame.header.task_id;
    if (skip) {
      result.header.verdict = ResultVerdict::kSkipped;
    } else {
      CallHandler(frame, result);
      if (__fpending(stdout) > 0) fflush(stdout);
      const uint64_t end_ns = NowNs();
      failed_ = result.header.verdict == ResultVerdict::kFailed;
      if (output_pipe_ >= 0 && (failed_ || end_ns - now_ns_ > kWriteNsMin)) MarkOutput(failed_);
      const uint64_t service_us = (end_ns - now_ns_) / 1000;
      result.header.service_us =
          static_cast<uint32_t>(std::min<uint64_t>(service_us, std::numeric_limits<uint32_t>::max()));
      now_ns_ = end_ns;
      if (limits_.cpu_seconds > 0 && CpuTimeMs() >= limits_.cpu_seconds * 500ull) used_up_ = true;
      // What a task that was asked to end has left running ends with the child.
      const bool asked = control_.cancelled() ||
                         (control_.soft_time_limit_passed() && result.header.verdict != ResultVerdict::kDone);
      result.header.retire = used_up_ || asked;
    }
    // First the result, then "done": a death in between must find one of them.
    if (!sender_.Add(result, now_ns_)) return false;
    page_.done.store(number_, std::memory_order_release);
    return true;
  }

  std::chrono::steady_clock::time_point DeadlineOf(const TaskHeader& header) const {
    using std::chrono::nanoseconds;
    auto deadline = std::chrono::steady_clock::time_point::max();
    if (header.deadline_ns > 0)
      deadline = std::chrono::steady_clock::time_point(nanoseconds(header.deadline_ns));
    if (header.hard_ms > 0) {
      deadline = std::min(deadline, std::chrono::steady_clock::time_point(
                                        nanoseconds(now_ns_) + std::chrono::milliseconds(header.hard_ms)));
    }
    return deadline;
  }

  // Leaves views into output_, message_ and detail_ in `result`.
  void CallHandler(const TaskFrame& frame, ResultFrame& result) {
    const auto& header = frame.header;
    const size_t handler = header.handler < handlers_.size() ? handlers_[header.handler] : kNoHandler;
    if (handler >= registry_.size()) {
      return Fail(result, v1::FAILURE_KIND_UNKNOWN_HANDLER, "no such handler in this child", "", true);
    }
    TaskContext context;
    context.task_id = header.task_id;
    context.epoch = header.epoch;
    context.sequence = header.sequence;
    context.attempt = header.attempt;
    context.handler = registry_.name(handler);
    context.content_type = frame.content_type;
    if (header.queue < queues_.size()) context.queue = queues_[header.queue];
    if (header.deadline_ns > 0 && now_ns_ >= header.deadline_ns) {
      return Fail(result, v1::FAILURE_KIND_TIME_LIMIT, "its deadline passed before it could begin", "", true);
    }
    context.deadline = DeadlineOf(header);
    const TimeLimit time_limit{header.soft_ms, header.hard_ms};
    headers_.clear();
    std::string_view headers = frame.headers;
    for (HeaderView each; TakeHeaderPair(headers, each.name, each.value);) headers_.push_back(each);
    context.headers = headers_;
    control_.Begin(number_);
    context.control = &control_;
    try {
      output_ = registry_.handler(handler)(context, frame.payload);
      result.header.verdict = ResultVerdict::kDone;
      result.payload = output_.payload;
      result.content_type = output_.content_type;
      follow_ups_ = control_.TakeFollowUps();
      result.follow_ups = follow_ups_;
      if (output_.payload.size() > kResultBytesMax) {
        Fail(result, v1::FAILURE_KIND_HANDLER_ERROR,
             absl::StrCat("the result has ", output_.payload.size(), " bytes; at most ", kResultBytesMax,
                          " are allowed"),
             "", true);
      }
    } catch (const DecodeError& error) {
      Fail(result, v1::FAILURE_KIND_BAD_ARGUMENTS, absl::StrCat(registry_.name(handler), ": ", error.what()),
           "", true);
    } catch (const SoftTimeLimitPassed&) {
      Fail(result, v1::FAILURE_KIND_TIME_LIMIT, SoftLimitText(time_limit), "", false);
    } catch (const LimitError& error) {
      const bool soft = error.kind() == LimitError::Kind::kSoftTime;
      Fail(result, v1::FAILURE_KIND_TIME_LIMIT,
           soft ? absl::StrCat(SoftLimitText(time_limit), "; ", error.what()) : error.what(), error.detail(),
           false);
    } catch (const RunnerCrash& error) {
      Fail(result, v1::FAILURE_KIND_CRASH, error.what(), error.detail(), false);
    } catch (const HandlerError& error) {
      Fail(result, v1::FAILURE_KIND_HANDLER_ERROR, error.what(), error.detail(), error.final());
    } catch (const std::bad_alloc&) {
      // What took the memory may hold it still.
      used_up_ = true;
      Fail(result, v1::FAILURE_KIND_OUT_OF_MEMORY,
           limits_.memory_bytes == 0
               ? "out of memory"
               : absl::StrCat("out of memory: a child may have ", limits_.memory_bytes >> 20,
                              " MiB (--max-memory-per-child)"),
           "", false);
    } catch (const std::exception& error) {
      Fail(result, v1::FAILURE_KIND_HANDLER_ERROR, error.what(), "", false);
    } catch (...) {
      Fail(result, v1::FAILURE_KIND_HANDLER_ERROR, "threw something that is no std::exception", "", false);
    }
  }

  // So that the daemon can tell what this task wrote from what the next one will. If
  // it has read all there is, it most likely knows already; but the words of a task that
  // failed go with its error, and must be its own.
  void MarkOutput(bool failed) const {
    int unread = 0;
    if (ioctl(output_pipe_, FIONREAD, &unread) != 0 || (unread == 0 && !failed)) return;
    const OutputMark mark{page_.output_key, number_};
    while (write(output_pipe_, &mark, sizeof mark) < 0 && errno == EINTR) {
    }
  }

  std::string SoftLimitText(TimeLimit limit) const {
    return absl::StrFormat("soft time limit of %g s passed; it ended after %.3f s", limit.soft_ms / 1000.0,
                           static_cast<double>(NowNs() - now_ns_) / 1e9);
  }

  void Fail(ResultFrame& result, v1::FailureKind kind, std::string message, std::string detail, bool final) {
    message_ = std::move(message);
    detail_ = std::move(detail);
    result.header.verdict = ResultVerdict::kFailed;
    result.header.failure_kind = static_cast<uint8_t>(kind);
    result.header.final = final;
    result.message = message_;
    result.detail = detail_;
    result.payload = {};
    result.follow_ups = {};
    result.content_type = {};
  }

  const int channel_;
  const int output_pipe_;
  StatusPage& page_;
  const bool single_;
  const std::vector<uint16_t>& handlers_;  // by their index in task frames
  const Registry& registry_;
  const std::vector<std::string>& queues_;
  const ChildLimits limits_;
  ResultSender sender_;
  ChildTaskControl control_;
  std::string follow_ups_;
  std::vector<HeaderView> headers_;
  bool used_up_ = false;  // another child should go on from here
  bool failed_ = false;   // the newest task
  uint64_t number_ = 0;   // of the newest frame
  uint64_t now_ns_ = 0;   // the clock, read once a task
  HandlerResult output_;
  std::string message_;
  std::string detail_;
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
  return Child(place, registry, settings).Run();
}

}  // namespace joinq
