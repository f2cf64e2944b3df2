// One lane of a child: a task at a time, from its frame to its result.
#pragma once

#include <exception>
#include <string>
#include <vector>

#include "worker/child/frames.h"
#include "worker/child/leftovers.h"
#include "worker/child/registry.h"
#include "worker/child/task_control.h"
#include "worker/limits.h"
#include "worker/process/status_page.h"

namespace joinq {

// What all lanes of a child share.
struct ChildWork {
  const Registry& registry;
  const std::vector<uint16_t>& handlers;  // by their index in task frames
  const std::vector<std::string>& queues;
  const ChildLimits limits;
  bool used_up = false;  // another child should go on from here
  Leftovers leftovers = {};
};

// Begin, then Succeed or Fail, then Finish. Only TaskContext's methods may be called by other threads.
class TaskCall {
 public:
  // `lane` is its index in the page.
  TaskCall(StatusPage& page, uint32_t lane, ResultSender& sender, ChildWork& work)
      : work_(work), control_(page, lane, sender) {}

  // The frame's views must stay until Finish. `payload` says why there is none. False: no handler
  // is to be called; it has failed.
  bool Begin(const TaskFrame& frame, const absl::Status& payload, uint64_t number, uint64_t now_ns);
  const TaskContext& context() const { return context_; }
  size_t handler() const { return handler_; }  // in the registry
  void Succeed(HandlerResult output);
  void Fail(std::exception_ptr error);
  // The result, valid until the next Begin. A child whose handler was asked to end is to be
  // replaced, as that may have left something running; not if it is `asynchronous`.
  ResultFrame& Finish(uint64_t end_ns, bool asynchronous);

  bool failed() const { return result_.header.verdict == ResultVerdict::kFailed; }
  uint64_t number() const { return number_; }
  // Whether the daemon has asked the running task to end.
  bool asked_to_end() const { return control_.cancelled() || control_.soft_time_limit_passed(); }

 private:
  std::chrono::steady_clock::time_point DeadlineOf(const TaskHeader& header) const;
  std::string SoftLimitText() const;
  void Fail(v1::FailureKind kind, std::string message, std::string detail, bool final);

  ChildWork& work_;
  ChildTaskControl control_;
  TaskContext context_;
  std::vector<HeaderView> headers_;
  size_t handler_ = 0;
  uint64_t number_ = 0;
  uint64_t start_ns_ = 0;
  TimeLimit time_limit_;
  ResultFrame result_{};
  HandlerResult output_;
  std::string follow_ups_;
  std::string message_;
  std::string detail_;
};

// The frame begins in `lane`. False: it was recalled, and must not run.
inline bool BeginFrame(StatusPage& page, StatusLane& lane, uint64_t number, uint64_t now_ns) {
  lane.start_ns.store(now_ns, std::memory_order_relaxed);
  lane.number.store(number, std::memory_order_release);
  page.begun_ns.store(now_ns, std::memory_order_relaxed);
  page.begun.store(number, std::memory_order_seq_cst);
  return !(page.recall_from.load(std::memory_order_seq_cst) <= number &&
           number < page.recall_to.load(std::memory_order_seq_cst));
}

uint64_t MonotonicNs();

// A handler that forks and returns in the new process as well would make that a second child
// on the same channel. EndTwin ends it without a trace; it does nothing in the child itself.
void WatchForTwins();
void EndTwin();

// Runs the initializers, and tells the daemon how that ended. False: this child will never be ready.
bool StartChild(ResultSender& sender, const Registry& registry);

inline ResultFrame SkippedResult(const TaskFrame& frame, uint64_t number) {
  ResultFrame result{};
  result.header.type = FrameType::kResult;
  result.header.task_id = frame.header.task_id;
  result.header.number = number;
  result.header.verdict = ResultVerdict::kSkipped;
  return result;
}

}  // namespace joinq
