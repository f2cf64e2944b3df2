// joinq.v1.QueueService: parse, call the core, answer. No rules in here.
#include "absl/strings/str_cat.h"
#include "joinq/v1/queue.grpc.pb.h"
#include "server/rpc/convert.h"
#include "server/rpc/evicted.h"
#include "server/rpc/services.h"
#include "server/rpc/unary.h"

namespace joinq::rpc {
namespace {

using Service = v1::QueueService::AsyncService;
using Answer = std::optional<absl::Status>;
constexpr auto kNothingToFill = [](core::Reply&, auto*) {};

absl::StatusOr<std::vector<core::NewTask>> TasksOf(const v1::PutRequest& request) {
  if (request.tasks_size() > 10'000) return InvalidField("tasks", "has more than 10000 tasks");
  std::vector<core::NewTask> tasks;
  tasks.reserve(request.tasks_size());
  for (const auto& task : request.tasks()) {
    if (absl::Status bad = TaskOf(task, &tasks.emplace_back()); !bad.ok()) return bad;
  }
  return tasks;
}

absl::StatusOr<std::vector<core::LeaseRef>> CheckedLeases(
    const google::protobuf::RepeatedPtrField<v1::Lease>& leases) {
  if (leases.size() > 10'000) return InvalidField("leases", "has more than 10000 leases");
  return LeasesOf(leases);
}

}  // namespace

void ServeQueues(CoreLoop* loop, Service* service) {
  core::Broker* broker = &loop->broker();
  auto on = [loop](auto method, Service* s) {
    return [=](auto* context, auto* request, auto* writer, void* tag) {
      (s->*method)(context, request, writer, loop->queue(), loop->queue(), tag);
    };
  };
  auto info = [](const absl::StatusOr<core::QueueView>& view, v1::QueueInfo* response) -> Answer {
    if (view.ok()) Fill(*view, response);
    return view.status();
  };

  ServeUnary<v1::CreateQueueRequest, v1::QueueInfo>(
      loop, on(&Service::RequestCreateQueue, service),
      [=](core::CallerId, const v1::CreateQueueRequest& request, v1::QueueInfo* response) -> Answer {
        auto options = OptionsOf(request.options(), !loop->durable());
        if (!options.ok()) return options.status();
        return info(broker->CreateQueue(request.name(), *options, request.allow_existing()), response);
      },
      kNothingToFill);
  ServeUnary<v1::UpdateQueueRequest, v1::QueueInfo>(
      loop, on(&Service::RequestUpdateQueue, service),
      [=](core::CallerId, const v1::UpdateQueueRequest& request, v1::QueueInfo* response) -> Answer {
        auto changes = ChangesOf(request, !loop->durable());
        if (!changes.ok()) return changes.status();
        return info(broker->UpdateQueue(request.name(), *changes), response);
      },
      kNothingToFill);
  ServeUnary<v1::GetQueueRequest, v1::QueueInfo>(
      loop, on(&Service::RequestGetQueue, service),
      [=](core::CallerId, const v1::GetQueueRequest& request, v1::QueueInfo* response) -> Answer {
        return info(broker->GetQueue(request.name()), response);
      },
      kNothingToFill);
  ServeUnary<v1::ListQueuesRequest, v1::ListQueuesResponse>(
      loop, on(&Service::RequestListQueues, service),
      [=](core::CallerId, const v1::ListQueuesRequest& request, v1::ListQueuesResponse* response) -> Answer {
        const uint32_t limit =
            request.page_size() == 0 ? 1000 : std::min<uint32_t>(request.page_size(), 1000);
        bool more = false;
        for (const auto& view : broker->ListQueues(request.prefix(), request.after(), limit, &more)) {
          Fill(view, response->add_queues());
        }
        response->set_more(more);
        return absl::OkStatus();
      },
      kNothingToFill);
  ServeUnary<v1::PutRequest, v1::PutResponse>(
      loop, on(&Service::RequestPut, service),
      [=](core::CallerId caller, const v1::PutRequest& request, v1::PutResponse*) -> Answer {
        auto tasks = TasksOf(request);
        if (!tasks.ok()) return tasks.status();
        core::PutSpec spec;
        SpecOf(request, broker, &spec);
        spec.timeout_ms = request.timeout_ms();
        spec.no_wait = request.no_wait();
        broker->Put(caller, spec, *std::move(tasks));
        return std::nullopt;
      },
      [=](core::Reply& reply, v1::PutResponse* response) {
        for (core::TaskId id : reply.task_ids) response->add_task_ids(core::Raw(id));
        for (uint32_t place : reply.existing) response->add_existing(place);
        response->set_durability(std::string(core::NameOf(reply.durability)));
      });
  ServeUnary<v1::GetRequest, v1::GetResponse>(
      loop, on(&Service::RequestGet, service),
      [=](core::CallerId caller, const v1::GetRequest& request, v1::GetResponse*) -> Answer {
        core::GetSpec spec;
        spec.max_tasks = request.max_tasks() == 0 ? 1 : request.max_tasks();
        spec.timeout_ms = request.timeout_ms();
        spec.no_wait = request.no_wait();
        spec.lease_ms = request.lease_ms();
        spec.ack = request.ack();
        spec.session_id = request.session_id();
        std::vector<core::QueueChoice> queues;
        if (!request.queue().empty()) queues.push_back({request.queue(), 1});
        for (const auto& each : request.queues())
          queues.push_back({each.queue(), each.weight() == 0 ? 1 : each.weight()});
        broker->Get(caller, queues, spec);
        return std::nullopt;
      },
      [](core::Reply& reply, v1::GetResponse* response) {
        for (const auto& delivery : reply.deliveries) Fill(delivery, response->add_tasks());
      });
  ServeUnary<v1::DoneRequest, v1::DoneResponse>(
      loop, on(&Service::RequestDone, service),
      [=](core::CallerId, const v1::DoneRequest& request, v1::DoneResponse* response) -> Answer {
        auto leases = CheckedLeases(request.leases());
        if (!leases.ok()) return leases.status();
        auto follow_ups = FollowUpsOf(request.follow_ups(), broker);
        if (!follow_ups.ok()) return follow_ups.status();
        std::vector<core::TaskId> ids;
        absl::Status done = broker->Done(request.queue(), *leases, request.result(), request.content_type(),
                                         *std::move(follow_ups), &ids);
        for (core::TaskId id : ids) response->add_follow_up_ids(core::Raw(id));
        return done;
      },
      kNothingToFill);
  ServeUnary<v1::FailRequest, v1::FailResponse>(
      loop, on(&Service::RequestFail, service),
      [=](core::CallerId, const v1::FailRequest& request, v1::FailResponse*) -> Answer {
        auto leases = CheckedLeases(request.leases());
        if (!leases.ok()) return leases.status();
        return broker->Fail(request.queue(), *leases, ErrorOf(request.error()));
      },
      kNothingToFill);
  ServeUnary<v1::ReleaseRequest, v1::ReleaseResponse>(
      loop, on(&Service::RequestRelease, service),
      [=](core::CallerId, const v1::ReleaseRequest& request, v1::ReleaseResponse*) -> Answer {
        auto leases = CheckedLeases(request.leases());
        if (!leases.ok()) return leases.status();
        return broker->Release(request.queue(), *leases, request.delay_ms());
      },
      kNothingToFill);
  ServeUnary<v1::ExtendRequest, v1::ExtendResponse>(
      loop, on(&Service::RequestExtend, service),
      [=](core::CallerId, const v1::ExtendRequest& request, v1::ExtendResponse*) -> Answer {
        auto leases = CheckedLeases(request.leases());
        if (!leases.ok()) return leases.status();
        return broker->Extend(request.queue(), *leases, request.lease_ms());
      },
      kNothingToFill);
  ServeUnary<v1::ReportProgressRequest, v1::ReportProgressResponse>(
      loop, on(&Service::RequestReportProgress, service),
      [=](core::CallerId, const v1::ReportProgressRequest& request, v1::ReportProgressResponse*) -> Answer {
        return broker->ReportProgress(request.queue(), LeaseOf(request.lease()), request.progress());
      },
      kNothingToFill);
  ServeUnary<v1::JoinRequest, v1::JoinResponse>(
      loop, on(&Service::RequestJoin, service),
      [=](core::CallerId caller, const v1::JoinRequest& request, v1::JoinResponse*) -> Answer {
        broker->Join(caller, request.queue(), request.timeout_ms(), request.no_wait());
        return std::nullopt;
      },
      kNothingToFill);
  ServeUnary<v1::CloseRequest, v1::CloseResponse>(
      loop, on(&Service::RequestClose, service),
      [=](core::CallerId, const v1::CloseRequest& request, v1::CloseResponse*) -> Answer {
        return broker->CloseQueue(request.queue());
      },
      kNothingToFill);
  ServeUnary<v1::PauseRequest, v1::PauseResponse>(
      loop, on(&Service::RequestPause, service),
      [=](core::CallerId, const v1::PauseRequest& request, v1::PauseResponse*) -> Answer {
        return broker->PauseQueue(request.queue(), true);
      },
      kNothingToFill);
  ServeUnary<v1::ResumeRequest, v1::ResumeResponse>(
      loop, on(&Service::RequestResume, service),
      [=](core::CallerId, const v1::ResumeRequest& request, v1::ResumeResponse*) -> Answer {
        return broker->PauseQueue(request.queue(), false);
      },
      kNothingToFill);
  ServeUnary<v1::PeekRequest, v1::PeekResponse>(
      loop, on(&Service::RequestPeek, service),
      [=](core::CallerId caller, const v1::PeekRequest& request, v1::PeekResponse* response) -> Answer {
        if (request.max_tasks() > 100)
          return InvalidField("max_tasks",
                              absl::StrCat("is ", request.max_tasks(), "; at most 100 is allowed"));
        auto views = broker->Peek(request.queue(), std::max(1u, request.max_tasks()));
        if (!views.ok()) return views.status();
        std::vector<v1::TaskInfo*> evicted;
        for (const core::TaskView& view : *views) {
          v1::TaskInfo* task = response->add_tasks();
          Fill(view, /*with_payload=*/true, task);
          if (view.evicted) evicted.push_back(task);
        }
        return FillEvicted(loop, caller, std::move(evicted));
      },
      kNothingToFill);
  ServeUnary<v1::RetryDeadRequest, v1::RetryDeadResponse>(
      loop, on(&Service::RequestRetryDead, service),
      [=](core::CallerId caller, const v1::RetryDeadRequest& request, v1::RetryDeadResponse*) -> Answer {
        broker->RetryDead(caller, request.queue(), request.limit());
        return std::nullopt;
      },
      [](core::Reply& reply, v1::RetryDeadResponse* response) { response->set_retried(reply.count); });
  ServeUnary<v1::PurgeDeadRequest, v1::PurgeDeadResponse>(
      loop, on(&Service::RequestPurgeDead, service),
      [=](core::CallerId caller, const v1::PurgeDeadRequest& request, v1::PurgeDeadResponse*) -> Answer {
        broker->PurgeDead(caller, request.queue());
        return std::nullopt;
      },
      [](core::Reply& reply, v1::PurgeDeadResponse* response) { response->set_purged(reply.count); });
  ServeUnary<v1::PurgeRequest, v1::PurgeResponse>(
      loop, on(&Service::RequestPurge, service),
      [=](core::CallerId caller, const v1::PurgeRequest& request, v1::PurgeResponse*) -> Answer {
        broker->PurgeQueue(caller, request.queue());
        return std::nullopt;
      },
      [](core::Reply& reply, v1::PurgeResponse* response) { response->set_cancelled(reply.count); });
  ServeUnary<v1::DeleteQueueRequest, v1::DeleteQueueResponse>(
      loop, on(&Service::RequestDeleteQueue, service),
      [=](core::CallerId caller, const v1::DeleteQueueRequest& request, v1::DeleteQueueResponse*) -> Answer {
        broker->DeleteQueue(caller, request.queue(), request.force());
        return std::nullopt;
      },
      kNothingToFill);
}

}  // namespace joinq::rpc
