// joinq.v1.TaskService: the producer's stream and stored results.
#include "absl/strings/str_cat.h"
#include "server/rpc/convert.h"
#include "server/rpc/evicted.h"
#include "server/rpc/services.h"
#include "server/rpc/stream.h"
#include "server/rpc/unary.h"

namespace joinq::rpc {
namespace {

using Service = v1::TaskService::AsyncService;

constexpr size_t kParkedPutsMax = 16'384;
constexpr uint64_t kParkedBytesMax = 64 << 20;
constexpr size_t kAckBytes = 24, kResultBytes = 48;  // about, besides the payload

class ProducerStream final : public StreamCall<v1::ProduceRequest, v1::ProduceResponse> {
 public:
  using StreamCall::StreamCall;

  static Detached Accept(CoreLoop* loop, Service* service) {
    auto call = std::make_shared<ProducerStream>(loop);
    call->done_.Watch(&call->context_);
    if (!co_await Op([&](void* tag) {
          service->RequestProduce(&call->context_, &call->stream_, loop->queue(), loop->queue(), tag);
        })) {
      co_return;
    }
    Accept(loop, service);
    call->Run(call);
  }

  void PutAcked(const core::PutAck& ack) override {
    const uint64_t task = core::Raw(ack.task);
    const std::string_view durability = core::NameOf(ack.durability);
    bool fresh = false;
    v1::ProduceResponse* message = writer_.Gather(kAckBytes, &fresh);
    if (!fresh && message->acks_size() > 0) {
      // Tags and ids usually run in step: one range for a whole batch.
      v1::AckRange* last = message->mutable_acks(message->acks_size() - 1);
      if (!ack.existing && !last->existing() && last->first_tag() + last->count() == ack.tag &&
          last->first_task_id() + last->count() == task && last->durability() == durability) {
        last->set_count(last->count() + 1);
        return;
      }
    }
    v1::AckRange* range = message->add_acks();
    range->set_existing(ack.existing);
    range->set_first_tag(ack.tag);
    range->set_first_task_id(task);
    range->set_count(1);
    range->set_durability(std::string(durability));
  }

  void PutRefused(const core::PutRefusal& refusal) override {
    bool fresh = false;
    v1::PutError* error = writer_.Gather(kAckBytes + refusal.status.message().size(), &fresh)->add_errors();
    error->set_tag(refusal.tag);
    error->set_code(static_cast<int>(refusal.status.code()));
    error->set_message(std::string(refusal.status.message()));
    error->set_field(FieldOf(refusal.status));
  }

  void Result(const core::ResultNotice& notice) override {
    bool fresh = false;
    v1::ProducedResult* result = writer_.Gather(kResultBytes + notice.payload.size(), &fresh)->add_results();
    result->set_tag(notice.tag);
    result->set_task_id(core::Raw(notice.task));
    result->set_outcome(static_cast<v1::Outcome>(notice.outcome));
    result->set_payload(notice.payload.view().data(), notice.payload.size());
    const std::string_view type = notice.content_type.view();
    result->set_content_type(type.data(), type.size());
    if (notice.error != nullptr) Fill(*notice.error, result->mutable_error());
    result->set_attempts(notice.attempts);
    if (notice.process != nullptr) Fill(*notice.process, result->mutable_process());
  }

 protected:
  absl::Status Serve(const v1::ProduceRequest& request) override {
    core::Broker& broker = loop_->broker();
    if (!greeted_) {
      if (!request.has_hello()) return InvalidField("hello", "is missing in the stream's first message");
      if (absl::Status bad =
              broker.AttachProducer(id_, request.hello().producer_id(), request.hello().name());
          !bad.ok()) {
        return bad;
      }
      greeted_ = true;
      bool fresh = false;
      v1::ProducerWelcome* welcome = writer_.Gather(kAckBytes, &fresh)->mutable_welcome();
      welcome->set_epoch(broker.epoch());
      welcome->set_max_payload_bytes(broker.limits().max_payload_bytes);
      welcome->set_max_message_bytes(kMessageBytesMax);
      writer_.Flush();
    } else if (!broker.IsCurrent(id_)) {
      return absl::AbortedError("another stream of this producer has taken over");
    }
    if (request.acked_below() > 0) broker.ProducerAcked(id_, request.acked_below());
    for (const auto& group : request.groups()) Put(group);
    for (const auto& watch : request.watches())
      broker.WatchResult(id_, watch.tag(), core::TaskId{watch.task_id()});
    if (request.results_taken_size() > 0) {
      broker.ForgetResults(
          id_, {request.results_taken().data(), static_cast<size_t>(request.results_taken_size())});
    }
    return absl::OkStatus();
  }

  bool MayRead() override {
    const auto parked = loop_->broker().ParkedOf(id_);
    return StreamCall::MayRead() && parked.calls < kParkedPutsMax && parked.bytes < kParkedBytesMax;
  }

 private:
  void Put(const v1::PutGroup& group) {
    core::Broker& broker = loop_->broker();
    SpecOf(group, &broker, &spec_);
    spec_.watch = group.watch();
    spec_.timeout_ms = group.timeout_ms();
    spec_.no_wait = group.no_wait();
    tasks_.clear();
    for (const auto& task : group.tasks()) {
      if (absl::Status bad = TaskOf(task, &tasks_.emplace_back()); !bad.ok()) {
        tasks_.pop_back();
        broker.effects().put_refusals.push_back({id_, task.tag(), std::move(bad)});
      }
    }
    broker.PutStream(id_, spec_, tasks_);
  }

  bool greeted_ = false;
  core::PutSpec spec_;                // reused
  std::vector<core::NewTask> tasks_;  // reused
};

// Looking at single tasks, and deciding about them.
void ServeTaskCalls(CoreLoop* loop, Service* service) {
  core::Broker* broker = &loop->broker();
  constexpr auto kNothingToFill = [](core::Reply&, auto*) {};
  using Answer = std::optional<absl::Status>;
  auto on = [loop](auto method, Service* s) {
    return [=](auto* context, auto* request, auto* writer, void* tag) {
      (s->*method)(context, request, writer, loop->queue(), loop->queue(), tag);
    };
  };
  auto info = [](const absl::StatusOr<core::TaskView>& view, v1::TaskInfo* response) -> Answer {
    if (view.ok()) Fill(*view, /*with_payload=*/false, response);
    return view.status();
  };
  ServeUnary<v1::GetTaskRequest, v1::TaskInfo>(
      loop, on(&Service::RequestGetTask, service),
      [=](core::CallerId caller, const v1::GetTaskRequest& request, v1::TaskInfo* response) -> Answer {
        auto view = broker->GetTask(core::TaskId{request.task_id()});
        if (!view.ok()) return view.status();
        Fill(*view, request.with_payload(), response);
        if (!request.with_payload() || !view->evicted) return absl::OkStatus();
        return FillEvicted(loop, caller, {response});
      },
      kNothingToFill);
  ServeUnary<v1::ListTasksRequest, v1::ListTasksResponse>(
      loop, on(&Service::RequestListTasks, service),
      [=](core::CallerId, const v1::ListTasksRequest& request, v1::ListTasksResponse* response) -> Answer {
        if (!v1::TaskState_IsValid(request.state()))
          return InvalidField("state", absl::StrCat("has no value ", static_cast<int>(request.state())));
        if (!request.queue().empty()) {
          if (auto queue = broker->GetQueue(request.queue()); !queue.ok()) return queue.status();
        }
        core::TaskFilter filter;
        filter.queue = request.queue();
        filter.state = static_cast<core::TaskState>(request.state());
        filter.after = request.after();
        filter.newest_first = request.newest_first();
        filter.limit = request.page_size() == 0 ? 100 : std::min<uint32_t>(request.page_size(), 1000);
        uint64_t next = 0;
        for (const auto& view : broker->ListTasks(filter, &next))
          Fill(view, /*with_payload=*/false, response->add_tasks());
        response->set_next(next);
        return absl::OkStatus();
      },
      kNothingToFill);
  ServeUnary<v1::CancelTaskRequest, v1::TaskInfo>(
      loop, on(&Service::RequestCancelTask, service),
      [=](core::CallerId caller, const v1::CancelTaskRequest& request, v1::TaskInfo* response) -> Answer {
        auto answer = broker->CancelTask(caller, core::TaskId{request.task_id()},
                                         {.terminate = request.terminate(), .wait_ms = request.wait_ms()});
        if (!answer.ok()) return answer.status();
        Fill(answer->task, /*with_payload=*/false, response);
        if (answer->parked) return std::nullopt;
        response->set_work_end(static_cast<v1::WorkEnd>(answer->work_end));
        return absl::OkStatus();
      },
      [](core::Reply& reply, v1::TaskInfo* response) {
        // Of one that was not parked it is set already.
        if (reply.work_end != core::WorkEnd::kUnspecified)
          response->set_work_end(static_cast<v1::WorkEnd>(reply.work_end));
      });
  ServeUnary<v1::GetTaskLogRequest, v1::TaskLog>(
      loop, on(&Service::RequestGetTaskLog, service),
      [=](core::CallerId caller, const v1::GetTaskLogRequest& request, v1::TaskLog*) -> Answer {
        broker->GetTaskLog(caller, core::TaskId{request.task_id()});
        return std::nullopt;
      },
      [](core::Reply& reply, v1::TaskLog* response) {
        response->set_text(std::move(reply.log->text));
        response->set_cut(reply.log->cut);
        response->set_worker(reply.log->worker);
        response->set_running(reply.log->running);
      });
  ServeUnary<v1::RetryTaskRequest, v1::TaskInfo>(
      loop, on(&Service::RequestRetryTask, service),
      [=](core::CallerId, const v1::RetryTaskRequest& request, v1::TaskInfo* response) -> Answer {
        return info(broker->RetryTask(core::TaskId{request.task_id()}), response);
      },
      kNothingToFill);
  ServeUnary<v1::WhyTaskRequest, v1::WhyTaskResponse>(
      loop, on(&Service::RequestWhyTask, service),
      [=](core::CallerId, const v1::WhyTaskRequest& request, v1::WhyTaskResponse* response) -> Answer {
        auto why = broker->WhyTask(core::TaskId{request.task_id()});
        if (!why.ok()) return why.status();
        response->set_reason(static_cast<v1::WhyTaskResponse::Reason>(why->reason));
        response->set_number(why->number);
        response->set_text(why->text);
        return absl::OkStatus();
      },
      kNothingToFill);
}

}  // namespace

void ServeTasks(CoreLoop* loop, Service* service) {
  ProducerStream::Accept(loop, service);
  ServeUnary<v1::GetResultRequest, v1::TaskResult>(
      loop,
      [=](auto* context, auto* request, auto* writer, void* tag) {
        service->RequestGetResult(context, request, writer, loop->queue(), loop->queue(), tag);
      },
      [=](core::CallerId caller, const v1::GetResultRequest& request,
          v1::TaskResult*) -> std::optional<absl::Status> {
        loop->broker().GetResult(caller, core::TaskId{request.task_id()}, request.wait_ms(),
                                 request.forget());
        return std::nullopt;
      },
      [](core::Reply& reply, v1::TaskResult* response) {
        const core::ResultNotice& result = *reply.result;
        response->set_task_id(core::Raw(result.task));
        response->set_outcome(static_cast<v1::Outcome>(result.outcome));
        response->set_payload(result.payload.view().data(), result.payload.size());
        response->set_content_type(result.content_type.str());
        if (result.error != nullptr) Fill(*result.error, response->mutable_error());
        response->set_attempts(result.attempts);
        if (result.process != nullptr) Fill(*result.process, response->mutable_process());
        response->set_queue(reply.queue.str());
        response->set_handler(reply.handler.str());
      });
  ServeTaskCalls(loop, service);
}

}  // namespace joinq::rpc
