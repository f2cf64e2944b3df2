// joinq.v1.WorkerService: the workers' stream.
#include <algorithm>

#include "server/rpc/convert.h"
#include "server/rpc/services.h"
#include "server/rpc/stream.h"
#include "server/rpc/unary.h"

namespace joinq::rpc {
namespace {

using Service = v1::WorkerService::AsyncService;

constexpr size_t kDeliveryBytes = 40, kLeaseBytes = 32;  // about, besides the payload

// What the deliveries of a group share.
struct Group {
  core::Name queue, handler, content_type;
  uint64_t epoch = 0;
  uint32_t time_limit_ms = 0, soft_time_limit_ms = 0;
  bool fresh_process = false;

  Group() = default;
  explicit Group(const core::Delivery& delivery)
      : queue(delivery.queue),
        handler(delivery.handler),
        content_type(delivery.content_type),
        epoch(delivery.token.epoch),
        time_limit_ms(delivery.time_limit_ms),
        soft_time_limit_ms(delivery.soft_time_limit_ms),
        fresh_process(delivery.fresh_process) {}
  bool Fits(const core::Delivery& delivery) const {
    return delivery.queue == queue && delivery.handler == handler && delivery.content_type == content_type &&
           delivery.token.epoch == epoch && delivery.time_limit_ms == time_limit_ms &&
           delivery.soft_time_limit_ms == soft_time_limit_ms && delivery.fresh_process == fresh_process;
  }
  void Fill(v1::DeliveryGroup* group) const {
    group->set_queue(queue.str());
    group->set_handler(handler.str());
    group->set_content_type(content_type.str());
    group->set_epoch(epoch);
    group->set_time_limit_ms(time_limit_ms);
    group->set_soft_time_limit_ms(soft_time_limit_ms);
    group->set_fresh_process(fresh_process);
  }
};

// At least 1, since 0 would mean that there is no deadline.
uint32_t LeftUntil(core::Time deadline, core::Time now) {
  return static_cast<uint32_t>(std::clamp<int64_t>((deadline - now).count(), 1, UINT32_MAX));
}

class WorkerStream final : public StreamCall<v1::WorkRequest, v1::WorkResponse> {
 public:
  using StreamCall::StreamCall;

  static Detached Accept(CoreLoop* loop, Service* service) {
    auto call = std::make_shared<WorkerStream>(loop);
    call->done_.Watch(&call->context_);
    if (!co_await Op([&](void* tag) {
          service->RequestWork(&call->context_, &call->stream_, loop->queue(), loop->queue(), tag);
        })) {
      co_return;
    }
    Accept(loop, service);
    call->Run(call);
  }

  void Delivered(const core::Delivery& delivery) override {
    bool fresh = false;
    v1::WorkResponse* message = writer_.Gather(kDeliveryBytes + delivery.payload.footprint(), &fresh);
    if (fresh || message->groups().empty() || !group_.Fits(delivery)) {
      group_ = Group(delivery);
      group_.Fill(message->add_groups());
    }
    v1::Delivery* task = message->mutable_groups(message->groups_size() - 1)->add_tasks();
    task->set_task_id(core::Raw(delivery.task));
    task->set_sequence(delivery.token.sequence);
    task->set_attempt(delivery.attempt);
    task->set_payload(delivery.payload.view().data(), delivery.payload.size());
    if (!delivery.payload.headers().empty())
      DecodeHeaders(delivery.payload.headers(), task->mutable_headers());
    if (delivery.deadline != core::kNever)
      task->set_deadline_ms(LeftUntil(delivery.deadline, loop_->broker().now()));
  }

  void CompletionsAcked(const core::CompletionsAck& ack) override {
    bool fresh = false;
    v1::WorkResponse* message = writer_.Gather(kLeaseBytes + 10 * ack.stale.size(), &fresh);
    message->set_completions_acked(ack.completions_seq);
    for (core::TaskId task : ack.stale) message->add_stale_task_ids(core::Raw(task));
  }

  void Cancelled(const core::CancelNotice& cancel) override {
    bool fresh = false;
    v1::WorkResponse* message = writer_.Gather(kLeaseBytes, &fresh);
    Fill(cancel.lease, cancel.terminate ? message->add_terminates() : message->add_cancels());
  }

  void Told(const core::ActionNotice& notice) override {
    bool fresh = false;
    v1::WorkResponse* message = writer_.Gather(kLeaseBytes, &fresh);
    if (notice.action == core::WorkerAction::kDrain) {
      message->set_drain(true);
    } else {
      // One of a kind a message: the newest counts.
      if (message->action() != v1::WORKER_ACTION_UNSPECIFIED &&
          (message->children() > 0) != (notice.children > 0)) {
        writer_.Split();
        message = writer_.Gather(kLeaseBytes, &fresh);
      }
      message->set_action(static_cast<v1::WorkerAction>(notice.action));
      message->set_children(notice.children);
    }
  }

  void AskedForLog(const core::LogAsk& ask) override {
    bool fresh = false;
    v1::TaskLogAsk* out = writer_.Gather(kLeaseBytes, &fresh)->add_log_asks();
    out->set_ask(ask.ask);
    out->set_task_id(core::Raw(ask.task));
  }

 protected:
  absl::Status Serve(const v1::WorkRequest& request) override {
    core::Broker& broker = loop_->broker();
    if (!greeted_) {
      if (!request.has_hello()) return InvalidField("hello", "is missing in the stream's first message");
      if (absl::Status bad = Greet(request.hello()); !bad.ok()) return bad;
    } else if (!broker.IsCurrent(id_)) {
      return absl::AbortedError("this worker's session has ended, or another stream of it has taken over");
    }
    broker.SessionHeard(id_);
    if (request.has_status()) broker.WorkerReports(id_, StatusOf(request.status()));
    if (request.draining()) broker.WorkerDrains(id_);
    for (const auto& report : request.progress()) {
      broker.WorkerProgress(id_, {core::TaskId{report.task_id()}, {report.epoch(), report.sequence()}},
                            report.progress());
    }
    for (const auto& process : request.started()) {
      broker.WorkerStarted(id_, {core::TaskId{process.task_id()}, {process.epoch(), process.sequence()}},
                           process.pid());
    }
    if (request.completions_seq() > 0) Complete(request);
    for (const auto& stopped : request.stopped())
      broker.WorkerStopped(id_, LeaseOf(stopped.lease()), WorkEndOf(stopped.end()));
    for (const auto& answer : request.logs()) {
      std::unique_ptr<core::TaskLog> log;
      if (answer.found()) {
        log = std::make_unique<core::TaskLog>();
        log->text = answer.log().text();
        log->cut = answer.log().cut();
        log->running = answer.log().running();
      }
      broker.WorkerLog(id_, answer.ask(), std::move(log));
    }
    if (request.credit() > 0) broker.WorkerCredit(id_, request.credit());
    return absl::OkStatus();
  }

 private:
  absl::Status Greet(const v1::WorkerHello& hello) {
    core::Broker& broker = loop_->broker();
    auto attached = broker.AttachWorker(id_, ProfileOf(hello), LeasesOf(hello.held()));
    if (!attached.ok()) return attached.status();
    greeted_ = true;
    bool fresh = false;
    v1::WorkerWelcome* welcome =
        writer_.Gather(kLeaseBytes * (1 + attached->lost.size()), &fresh)->mutable_welcome();
    welcome->set_epoch(broker.epoch());
    welcome->set_session_timeout_ms(static_cast<uint32_t>(broker.limits().worker_timeout.count()));
    for (const auto& lease : attached->lost) Fill(lease, welcome->add_lost());
    welcome->set_completions_seen(attached->completions_seen);
    welcome->set_max_message_bytes(kMessageBytesMax);
    writer_.Flush();
    return absl::OkStatus();
  }

  void Complete(const v1::WorkRequest& request) {
    completions_.clear();
    for (const auto& completion : request.completions()) {
      core::Completion& added = completions_.emplace_back();
      added.lease = {core::TaskId{completion.task_id()}, {completion.epoch(), completion.sequence()}};
      added.result = completion.result();
      added.content_type = completion.content_type();
      added.pid = completion.process().pid();
      added.exit_code = completion.process().exit_code();
      switch (completion.verdict()) {
        case v1::Completion::DONE:
          added.verdict = core::Verdict::kDone;
          if (!completion.follow_ups().empty()) FollowUps(completion, &added);
          break;
        case v1::Completion::RELEASED:
          added.verdict = core::Verdict::kReleased;
          break;
        default:
          added.verdict = core::Verdict::kFailed;
          added.error = ErrorOf(completion.error());
          break;
      }
    }
    loop_->broker().WorkerCompletions(id_, request.completions_seq(), completions_);
  }

  // Follow-ups that cannot even be read make the attempt a failed one.
  void FollowUps(const v1::Completion& completion, core::Completion* added) {
    auto follow_ups = FollowUpsOf(completion.follow_ups(), &loop_->broker());
    if (follow_ups.ok()) {
      added->follow_ups = *std::move(follow_ups);
      return;
    }
    added->verdict = core::Verdict::kFailed;
    added->error.kind = core::FailureKind::kHandlerError;
    added->error.message = std::string(follow_ups.status().message());
    added->error.final = true;
  }

  bool greeted_ = false;
  std::vector<core::Completion> completions_;  // reused
  Group group_;                                // that was begun last
};

}  // namespace

void ServeWorkers(CoreLoop* loop, Service* service) {
  WorkerStream::Accept(loop, service);
  ServeUnary<v1::ListWorkersRequest, v1::ListWorkersResponse>(
      loop,
      [=](auto* context, auto* request, auto* writer, void* tag) {
        service->RequestListWorkers(context, request, writer, loop->queue(), loop->queue(), tag);
      },
      [=](core::CallerId, const v1::ListWorkersRequest&,
          v1::ListWorkersResponse* response) -> std::optional<absl::Status> {
        for (const auto& view : loop->broker().ListWorkers()) Fill(view, response->add_workers());
        return absl::OkStatus();
      },
      [](core::Reply&, v1::ListWorkersResponse*) {});
  ServeUnary<v1::ControlWorkerRequest, v1::ControlWorkerResponse>(
      loop,
      [=](auto* context, auto* request, auto* writer, void* tag) {
        service->RequestControlWorker(context, request, writer, loop->queue(), loop->queue(), tag);
      },
      [=](core::CallerId, const v1::ControlWorkerRequest& request,
          v1::ControlWorkerResponse* response) -> std::optional<absl::Status> {
        if (request.action() < v1::WORKER_ACTION_DRAIN || request.action() > v1::WORKER_ACTION_RESIZE)
          return InvalidField("action", "must be DRAIN, PAUSE, RESUME or RESIZE");
        auto told = loop->broker().ControlWorker(
            request.worker(), static_cast<core::WorkerAction>(request.action()), request.children());
        if (!told.ok()) return told.status();
        for (const auto& view : *told) Fill(view, response->add_workers());
        return absl::OkStatus();
      },
      [](core::Reply&, v1::ControlWorkerResponse*) {});
}

}  // namespace joinq::rpc
