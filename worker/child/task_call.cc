#include "worker/child/task_call.h"

#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>
#include <limits>
#include <new>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "joinq/v1/task.pb.h"
#include "worker/child/exec_handler.h"
#include "worker/child/runner.h"
#include "worker/process/child_limits.h"
#include "worker/process/zygote.h"

namespace joinq {
namespace {

bool is_twin = false;

const char* What(const std::exception& error) {
  return error.what() == nullptr ? "an exception that does not say what it is" : error.what();
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

}  // namespace

void WatchForTwins() {
  pthread_atfork(nullptr, nullptr, [] { is_twin = true; });
}

void EndTwin() {
  if (is_twin) _exit(0);
}

uint64_t MonotonicNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

bool StartChild(ResultSender& sender, const Registry& registry) {
  const std::string error = RunInitializers(registry);
  ResultFrame start{};
  start.header.type = error.empty() ? FrameType::kReady : FrameType::kStartFailed;
  start.message = error;
  return sender.Add(start, 0) && sender.Flush() && error.empty();
}

bool TaskCall::Begin(const TaskFrame& frame, const absl::Status& payload, uint64_t number, uint64_t now_ns) {
  const auto& header = frame.header;
  number_ = number;
  start_ns_ = now_ns;
  result_ = {};
  result_.header.type = FrameType::kResult;
  result_.header.task_id = header.task_id;
  result_.header.number = number;
  control_.Begin(number);
  handler_ = header.handler < work_.handlers.size() ? work_.handlers[header.handler] : kNoHandler;
  if (handler_ >= work_.registry.size()) {
    Fail(v1::FAILURE_KIND_UNKNOWN_HANDLER, "no such handler in this child", "", true);
    return false;
  }
  if (header.deadline_ns > 0 && now_ns >= header.deadline_ns) {
    Fail(v1::FAILURE_KIND_TIME_LIMIT, "its deadline passed before it could begin", "", true);
    return false;
  }
  if (!payload.ok()) {
    work_.used_up = true;
    Fail(absl::IsResourceExhausted(payload) ? v1::FAILURE_KIND_OUT_OF_MEMORY : v1::FAILURE_KIND_HANDLER_ERROR,
         std::string(payload.message()), "", false);
    return false;
  }
  context_.task_id = header.task_id;
  context_.epoch = header.epoch;
  context_.sequence = header.sequence;
  context_.attempt = header.attempt;
  context_.handler = work_.registry.name(handler_);
  context_.content_type = frame.content_type;
  context_.queue =
      header.queue < work_.queues.size() ? std::string_view(work_.queues[header.queue]) : std::string_view();
  context_.deadline = DeadlineOf(header);
  time_limit_ = {header.soft_ms, header.hard_ms};
  headers_.clear();
  std::string_view headers = frame.headers;
  for (HeaderView each; TakeHeaderPair(headers, each.name, each.value);) headers_.push_back(each);
  context_.headers = headers_;
  context_.control = &control_;
  return true;
}

std::chrono::steady_clock::time_point TaskCall::DeadlineOf(const TaskHeader& header) const {
  using std::chrono::nanoseconds;
  auto deadline = std::chrono::steady_clock::time_point::max();
  if (header.deadline_ns > 0)
    deadline = std::chrono::steady_clock::time_point(nanoseconds(header.deadline_ns));
  if (header.hard_ms > 0) {
    deadline = std::min(deadline, std::chrono::steady_clock::time_point(
                                      nanoseconds(start_ns_) + std::chrono::milliseconds(header.hard_ms)));
  }
  return deadline;
}

void TaskCall::Succeed(HandlerResult output) {
  output_ = std::move(output);
  result_.header.verdict = ResultVerdict::kDone;
  result_.payload = output_.payload;
  result_.content_type = output_.content_type;
  follow_ups_ = control_.TakeFollowUps();
  result_.follow_ups = follow_ups_;
  if (output_.payload.size() > kResultBytesMax) {
    Fail(v1::FAILURE_KIND_HANDLER_ERROR,
         absl::StrCat("the result has ", output_.payload.size(), " bytes; at most ", kResultBytesMax,
                      " are allowed"),
         "", true);
  }
}

void TaskCall::Fail(std::exception_ptr error) {
  try {
    std::rethrow_exception(std::move(error));
  } catch (const DecodeError& error) {
    Fail(v1::FAILURE_KIND_BAD_ARGUMENTS, absl::StrCat(work_.registry.name(handler_), ": ", What(error)), "",
         true);
  } catch (const SoftTimeLimitPassed&) {
    Fail(v1::FAILURE_KIND_TIME_LIMIT, SoftLimitText(), "", false);
  } catch (const LimitError& error) {
    const bool soft = error.kind() == LimitError::Kind::kSoftTime;
    Fail(v1::FAILURE_KIND_TIME_LIMIT, soft ? absl::StrCat(SoftLimitText(), "; ", What(error)) : What(error),
         error.detail(), false);
  } catch (const RunnerCrash& error) {
    Fail(v1::FAILURE_KIND_CRASH, What(error), error.detail(), false);
  } catch (const HandlerError& error) {
    Fail(v1::FAILURE_KIND_HANDLER_ERROR, What(error), error.detail(), error.final());
  } catch (const boost::system::system_error& error) {
    // How a coroutine's wait ends when the task is asked to end.
    if (error.code() == boost::asio::error::operation_aborted && control_.soft_time_limit_passed()) {
      Fail(v1::FAILURE_KIND_TIME_LIMIT, SoftLimitText(), "", false);
    } else {
      Fail(v1::FAILURE_KIND_HANDLER_ERROR, What(error), "", false);
    }
  } catch (const std::bad_alloc&) {
    // What took the memory may hold it still.
    work_.used_up = true;
    Fail(v1::FAILURE_KIND_OUT_OF_MEMORY,
         work_.limits.memory_bytes == 0
             ? "out of memory"
             : absl::StrCat("out of memory: a child may have ", work_.limits.memory_bytes >> 20,
                            " MiB (--max-memory-per-child)"),
         "", false);
  } catch (const std::exception& error) {
    Fail(v1::FAILURE_KIND_HANDLER_ERROR, What(error), "", false);
  } catch (...) {
    Fail(v1::FAILURE_KIND_HANDLER_ERROR, "threw something that is no std::exception", "", false);
  }
}

ResultFrame& TaskCall::Finish(uint64_t end_ns, bool asynchronous) {
  const uint64_t service_us = (end_ns - start_ns_) / 1000;
  result_.header.service_us =
      static_cast<uint32_t>(std::min<uint64_t>(service_us, std::numeric_limits<uint32_t>::max()));
  if (work_.limits.cpu_seconds > 0 && CpuTimeMs() >= work_.limits.cpu_seconds * 500ull) work_.used_up = true;
  if (work_.leftovers.TooMany(end_ns)) work_.used_up = true;
  // What a task that was asked to end has left running ends with the child.
  const bool asked =
      !asynchronous && (control_.cancelled() || (control_.soft_time_limit_passed() && failed()));
  result_.header.retire = work_.used_up || asked;
  return result_;
}

std::string TaskCall::SoftLimitText() const {
  return absl::StrFormat("soft time limit of %g s passed; it ended after %.3f s",
                         time_limit_.soft_ms / 1000.0, static_cast<double>(MonotonicNs() - start_ns_) / 1e9);
}

void TaskCall::Fail(v1::FailureKind kind, std::string message, std::string detail, bool final) {
  message_ = std::move(message);
  detail_ = std::move(detail);
  result_.header.verdict = ResultVerdict::kFailed;
  result_.header.failure_kind = static_cast<uint8_t>(kind);
  result_.header.final = final;
  result_.message = message_;
  result_.detail = detail_;
  result_.payload = {};
  result_.follow_ups = {};
  result_.content_type = {};
}

}  // namespace joinq
