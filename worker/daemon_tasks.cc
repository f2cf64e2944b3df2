// Tasks: from deliveries to children, from results to completions.
#include <boost/asio/post.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "spdlog/spdlog.h"
#include "worker/child/frames.h"
#include "worker/daemon.h"
#include "worker/text.h"

namespace joinq {
namespace {
// Completions the broker does not acknowledge hold credit back beyond this many times the most in hand.
constexpr size_t kPendingFactor = 16;
constexpr uint32_t kChildrenMax = 1024;
constexpr auto kSendAgain = std::chrono::milliseconds(10);

uint64_t DeadlineNs(uint32_t ms) {
  if (ms == 0) return 0;
  const auto at = std::chrono::steady_clock::now() + std::chrono::milliseconds(ms);
  return static_cast<uint64_t>(std::chrono::nanoseconds(at.time_since_epoch()).count());
}

}  // namespace

void Daemon::OnResponse(const v1::WorkResponse& response) {
  for (const auto& group : response.groups()) TakeGroup(group);
  for (const auto& lease : response.cancels()) Cancel(lease, /*terminate=*/false);
  for (const auto& lease : response.terminates()) Cancel(lease, /*terminate=*/true);
  for (const auto& ask : response.log_asks()) boost::asio::post(io_, [this, ask] { AnswerLog(ask); });
  for (uint64_t task_id : response.stale_task_ids())
    spdlog::debug("completion of task {} was stale", task_id);
  const bool told =
      response.action() == v1::WORKER_ACTION_PAUSE || response.action() == v1::WORKER_ACTION_RESUME;
  if (told) SetPaused(response.action() == v1::WORKER_ACTION_PAUSE);
  if (response.action() == v1::WORKER_ACTION_RESIZE) {
    const uint32_t children = std::clamp(response.children(), 1u, kChildrenMax);
    boost::asio::post(io_, [this, children] {
      absl::MutexLock lock(&mutex_);
      Resize(children);
      link_->Flush();
    });
  }
  if (response.groups_size() > 0 || response.cancels_size() > 0 || response.terminates_size() > 0 ||
      response.completions_acked() > 0 || told)
    Dispatch();
  if (told) link_->Flush();
  if (response.drain()) {
    boost::asio::post(io_, [this] { StartDrain("asked by the broker"); });
  }
}

void Daemon::TakeGroup(const v1::DeliveryGroup& group) {
  const auto handler = handler_index_.find(group.handler());
  const auto queue = queue_index_.find(group.queue());
  TaskHeader header{};
  header.handler = handler == handler_index_.end() ? kNoIndex : handler->second;
  header.queue = queue == queue_index_.end() ? kNoIndex : queue->second;
  header.epoch = group.epoch();
  TimeLimit limit{group.soft_time_limit_ms(), group.time_limit_ms()};
  if (header.handler != kNoIndex) limit = limit.Tightened(time_limits_[header.handler]);
  header.hard_ms = limit.hard_ms;
  header.soft_ms = limit.soft_ms;
  HoldTo(limit);
  const bool apart = group.fresh_process();
  std::string headers;
  for (const auto& delivery : group.tasks()) {
    const Pool::Ticket ticket = pool_.Add(delivery.task_id(), group.epoch(), delivery.sequence());
    const bool unwanted = !taking() || pool_.overfull();
    if (unwanted || header.handler == kNoIndex) {
      pool_.RemoveWaiting(ticket);
      if (unwanted) {
        Complete(ticket, v1::Completion::RELEASED, 0);
      } else {
        Fail(Complete(ticket, v1::Completion::FAILED, 4096), v1::FAILURE_KIND_UNKNOWN_HANDLER,
             absl::StrCat("no handler \"", group.handler(), "\" on worker ", options_.name,
                          "; it has: ", HandlersServed()),
             "", true);
      }
      continue;
    }
    auto& task = pool_.task(ticket);
    task.handler = header.handler;
    task.limit = limit;
    header.deadline_ns = task.deadline_ns = DeadlineNs(delivery.deadline_ms());
    HoldTo({0, delivery.deadline_ms()});
    header.task_id = delivery.task_id();
    header.sequence = delivery.sequence();
    header.attempt = delivery.attempt();
    headers.clear();
    for (const auto& each : delivery.headers()) AppendHeaderPair(each.name(), each.value(), headers);
    header.header_count = static_cast<uint16_t>(delivery.headers_size());
    Frame(header, group.content_type(), headers, delivery.payload(), task);
    pool_.Framed(ticket);
    if (apart) pool_.SetApart(ticket);
  }
}

void Daemon::Dispatch() {
  assignments_.clear();
  pool_.Dispatch(assignments_);
  uint64_t now = 0;
  WatchWaiting(now);
  for (size_t i = 0; i < assignments_.size(); ++i) {
    const auto [slot, ticket] = assignments_[i];
    const ChildPtr& child = children_[slot];
    child->channel.Append(pool_.task(ticket).frame, MemoryOf(pool_.task(ticket)));
    // Consecutive ones for a child go out with one call.
    if (i + 1 < assignments_.size() && assignments_[i + 1].child == slot) continue;
    SendTo(child);
    WatchSent(slot, now);
  }
  WantChildren();
  if (link_->connected() && link_->pending_completions() < kPendingFactor * options_.prefetch_max) {
    link_->AddCredit(pool_.TakeCredit());
  }
  LifeChanged();
}

void Daemon::SendTo(const ChildPtr& child) {
  if (child->waiting_writable || child->dead) return;
  const auto sent = child->channel.Send();
  if (sent == ChildChannel::Sent::kAll || sent == ChildChannel::Sent::kBroken)
    return;  // its end will be reported
  child->waiting_writable = true;
  boost::asio::post(io_, [this, child, sent] {
    if (sent == ChildChannel::Sent::kBlocked) return WatchWritable(child);
    child->send_timer.expires_after(kSendAgain);
    child->send_timer.async_wait([this, child](boost::system::error_code error) {
      if (!error && !child->dead) SendAgain(child);
    });
  });
}

void Daemon::TakeResults(Child& child) {
  DrainOutput(child);  // first, while it is known who runs
  std::string_view in = child.channel.input();
  ResultFrame frame;
  Parse parse;
  std::string wrong;
  bool any_skipped = false;
  for (const char* frame_start = in.data(); (parse = TakeResult(in, frame)) == Parse::kFrame;
       frame_start = in.data()) {
    if (frame.header.type == FrameType::kReady) {
      OnReady(child);
      continue;
    }
    if (frame.header.type == FrameType::kStartFailed) {
      child.start_error = OneLine(frame.message);
      spdlog::error("child {}: {}", child.channel.pid(), child.start_error);
      continue;
    }
    if (frame.header.type == FrameType::kProgress) {
      OnProgress(child);
      continue;
    }
    if (child.single && frame.header.verdict != ResultVerdict::kSkipped) {
      // Kept until its exit status is known.
      if (child.answer.empty()) child.answer.assign(frame_start, frame.header.length);
      continue;
    }
    TakeLarge(child, frame);
    bool expected = false;
    const bool skipped = frame.header.verdict == ResultVerdict::kSkipped;
    any_skipped |= skipped;
    const auto ticket = child.ready ? pool_.Answered(child.slot, frame.header.number, frame.header.task_id,
                                                     skipped, frame.header.service_us, expected)
                                    : std::nullopt;
    if (!expected) {
      wrong = absl::StrCat("an answer for task ", frame.header.task_id, " that it does not owe");
      parse = Parse::kMalformed;
      break;
    }
    if (!child.answered) OnStart(true, "");
    child.answered = true;
    if (frame.header.retire != 0) pool_.Retire(child.slot);
    if (!ticket) continue;
    EndOutput(child, frame.header.task_id);
    TakeAnswer(child, *ticket, frame, nullptr);
  }
  if (parse == Parse::kMalformed) {
    spdlog::error("child {} broke the protocol ({}); killing it", child.channel.pid(),
                  wrong.empty() ? "bytes that are no frame" : wrong);
    in = {};
    child.end = EndReason::kBrokeProtocol;
    child.end_number = 0;
    if (child.ready && !child.single) pool_.Retire(child.slot);
    KillNow(child);
  }
  child.channel.KeepInput(in);
  if (any_skipped) StopWaiting();  // those that were cancelled meanwhile
  // What a recall brought back late.
  if (!taking()) Release(pool_.TakeWaiting());
}

void Daemon::OnReady(Child& child) {
  if (child.ready || child.end != EndReason::kNo) return;
  child.ready = true;
  if (child.single) return;
  child.end_timer.cancel();  // it was not to start for ever
  places_[child.slot].ready = true;
  --starting_;
  pool_.ChildReady(child.slot);
  SayServing();
}

void Daemon::TakeAnswer(Child& child, Pool::Ticket ticket, const ResultFrame& frame,
                        const v1::ProcessInfo* process) {
  v1::Completion* completion;
  if (frame.header.verdict == ResultVerdict::kDone) {
    completion = &Complete(ticket, v1::Completion::DONE, frame.payload.size() + frame.follow_ups.size());
    if (!frame.follow_ups.empty()) AddFollowUps(frame.follow_ups, *completion);
    completion->mutable_result()->assign(frame.payload);
    if (!frame.content_type.empty()) completion->set_content_type(CleanUtf8(frame.content_type));
    ++done_total_;
  } else if (IsPastTime(child.end) && pool_.task(ticket).number == child.end_number) {
    completion = &FailPastTime(child, ticket, WithOutput(std::string(frame.detail), pool_.task(ticket)));
  } else {
    std::string detail = WithOutput(std::string(frame.detail), pool_.task(ticket));
    completion = &Complete(ticket, v1::Completion::FAILED, frame.message.size() + detail.size());
    Fail(*completion, static_cast<v1::FailureKind>(frame.header.failure_kind), std::string(frame.message),
         std::move(detail), frame.header.final != 0);
  }
  if (process != nullptr) *completion->mutable_process() = *process;
}

v1::Completion& Daemon::Complete(Pool::Ticket ticket, v1::Completion::Verdict verdict, size_t bytes) {
  const auto& task = pool_.task(ticket);
  static thread_local v1::Completion unwanted;
  if (task.dropped) {
    unwanted.Clear();
    Stopped(task, verdict == v1::Completion::RELEASED ? v1::WORK_END_KILLED : EndOfAnswered(task));
  }
  auto& completion = task.dropped ? unwanted : *link_->AddCompletion(bytes);
  completion.set_task_id(task.id);
  completion.set_epoch(task.epoch);
  completion.set_sequence(task.sequence);
  completion.set_verdict(verdict);
  pool_.Free(ticket);
  return completion;
}

void Daemon::Fail(v1::Completion& completion, v1::FailureKind kind, std::string message, std::string detail,
                  bool final) {
  auto& error = *completion.mutable_error();
  error.set_kind(kind);
  error.set_message(OneLine(message.substr(0, kErrorMessageBytesMax)));
  error.set_detail(CleanUtf8(detail));
  error.set_final(final);
  ++failed_total_;
}

void Daemon::Release(const std::vector<Pool::Ticket>& tickets) {
  for (Pool::Ticket ticket : tickets) Complete(ticket, v1::Completion::RELEASED, 0);
}

void Daemon::Recall(const ChildPtr& child) {
  StatusPage& page = child->channel.page();
  const auto range = pool_.Recallable(child->slot, page.begun.load(std::memory_order_seq_cst));
  if (range.empty()) return;
  page.recall_to.store(range.to, std::memory_order_seq_cst);
  page.recall_from.store(range.from, std::memory_order_seq_cst);
  pool_.Recalled(child->slot, range, page.begun.load(std::memory_order_seq_cst));
}

bool Daemon::DropUnlessRunning(Pool::Ticket ticket) {
  auto& task = pool_.task(ticket);
  if (task.place == Pool::Task::Place::kSent) Recall(children_[task.child]);
  if (task.place == Pool::Task::Place::kWaiting) {
    pool_.RemoveWaiting(ticket);
    Stopped(task, v1::WORK_END_NOT_RUNNING);
    pool_.Free(ticket);
    return true;
  }
  task.dropped = true;
  return false;
}

void Daemon::Lost(const v1::Lease& lease) {
  const auto ticket = pool_.Find(lease.task_id(), lease.epoch(), lease.sequence());
  if (ticket) DropUnlessRunning(*ticket);
}

}  // namespace joinq
