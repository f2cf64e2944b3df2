#include "server/rpc/convert.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/names.h"

namespace joinq::rpc {
namespace {

// version-traceid-parentid-flags; ids of zeros only mean none.
bool IsTraceParent(std::string_view value) {
  constexpr std::string_view kShape = "hh-hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh-hhhhhhhhhhhhhhhh-hh";
  if (value.size() != kShape.size()) return false;
  for (size_t i = 0; i < value.size(); ++i) {
    const char c = value[i];
    const bool fits = kShape[i] == '-' ? c == '-' : (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
    if (!fits) return false;
  }
  const auto zeros = [](std::string_view id) { return id.find_first_not_of('0') == id.npos; };
  return value.substr(0, 2) != "ff" && !zeros(value.substr(3, 32)) && !zeros(value.substr(36, 16));
}

uint16_t CountOr(uint32_t value, uint16_t fallback) {
  return value == 0 ? fallback : static_cast<uint16_t>(std::min<uint32_t>(value, UINT16_MAX));
}

}  // namespace

namespace {

void PolicyOf(const v1::TaskOptions& options, core::TaskPolicy* policy) {
  *policy = {};
  policy->max_attempts = CountOr(options.max_attempts(), policy->max_attempts);
  policy->max_crashes = CountOr(options.max_crashes(), policy->max_crashes);
  if (options.retry_delay_ms() != 0) policy->retry_delay_ms = options.retry_delay_ms();
  if (options.retry_delay_max_ms() != 0) policy->retry_delay_max_ms = options.retry_delay_max_ms();
  policy->result_ttl_ms = options.result_ttl_ms();
  policy->priority = static_cast<int16_t>(std::clamp(options.priority(), INT16_MIN, INT16_MAX));
  policy->fresh_process = options.fresh_process();
  policy->time_limit_ms = options.time_limit_ms();
  policy->soft_time_limit_ms = options.soft_time_limit_ms();
}

absl::StatusOr<core::Order> OrderOf(std::string_view field, v1::Order order) {
  if (!v1::Order_IsValid(order))
    return InvalidField(field, absl::StrCat("has no value ", static_cast<int>(order)));
  return static_cast<core::Order>(order);
}

absl::StatusOr<core::Durability> DurabilityOf(std::string_view field, v1::Durability durability,
                                              bool memory_only) {
  if (!v1::Durability_IsValid(durability))
    return InvalidField(field, absl::StrCat("has no value ", static_cast<int>(durability)));
  if (durability == v1::DURABILITY_UNSPECIFIED)
    return memory_only ? core::Durability::kMemory : core::Durability::kFsync;
  if (memory_only && durability != v1::DURABILITY_MEMORY) {
    return FieldError(absl::StatusCode::kFailedPrecondition, field,
                      "this broker keeps nothing on disk (--memory): only memory is possible");
  }
  return static_cast<core::Durability>(durability);
}

}  // namespace

absl::StatusOr<core::QueueOptions> OptionsOf(const v1::QueueOptions& options, bool memory_only) {
  core::QueueOptions out;
  out.maxsize = options.maxsize();
  out.max_bytes = options.max_bytes();
  if (options.lease_ms() != 0) out.lease_ms = options.lease_ms();
  if (options.ageing_ms() != 0) out.ageing_ms = options.ageing_ms();
  if (options.has_dead_max()) out.dead_max = options.dead_max();
  auto order = OrderOf("options.order", options.order());
  if (!order.ok()) return order.status();
  out.order = *order;
  auto durability = DurabilityOf("options.durability", options.durability(), memory_only);
  if (!durability.ok()) return durability.status();
  out.durability = *durability;
  return out;
}

absl::StatusOr<core::QueueChanges> ChangesOf(const v1::UpdateQueueRequest& request, bool memory_only) {
  core::QueueChanges out;
  if (request.has_maxsize()) out.maxsize = request.maxsize();
  if (request.has_max_bytes()) out.max_bytes = request.max_bytes();
  if (request.has_lease_ms()) out.lease_ms = request.lease_ms();
  if (request.has_ageing_ms()) out.ageing_ms = request.ageing_ms();
  if (request.has_dead_max()) out.dead_max = request.dead_max();
  if (request.has_order()) {
    auto order = OrderOf("order", request.order());
    if (!order.ok()) return order.status();
    out.order = *order;
  }
  if (request.has_durability()) {
    auto durability = DurabilityOf("durability", request.durability(), memory_only);
    if (!durability.ok()) return durability.status();
    out.durability = *durability;
  }
  return out;
}

template <typename Put>
void SpecOf(const Put& put, core::Broker* broker, core::PutSpec* spec) {
  spec->queue = put.queue();
  spec->handler = broker->Intern(put.handler());
  spec->content_type = broker->Intern(put.content_type());
  const v1::TaskOptions& options = put.options();
  PolicyOf(options, &spec->policy);
  spec->delay_ms = options.delay_ms();
  spec->eta_ms = options.eta_unix_ms();
  spec->ttl_ms = options.ttl_ms();
  spec->deadline_ms = options.deadline_ms();
  spec->session_id = options.session_id();
  spec->unique_scope = options.unique_scope() == v1::UNIQUE_SCOPE_WAITING  ? core::UniqueScope::kWaiting
                       : options.unique_scope() == v1::UNIQUE_SCOPE_WINDOW ? core::UniqueScope::kWindow
                                                                           : core::UniqueScope::kUnfinished;
  spec->unique_ms = options.unique_ms();
}
template void SpecOf(const v1::PutRequest&, core::Broker*, core::PutSpec*);
template void SpecOf(const v1::PutGroup&, core::Broker*, core::PutSpec*);
template void SpecOf(const v1::FollowUp&, core::Broker*, core::PutSpec*);

absl::Status TaskOf(const v1::NewTask& task, core::NewTask* out) {
  out->tag = task.tag();
  out->unique_key = task.unique_key();
  out->request_id = task.request_id();
  if (task.headers().empty()) {
    out->payload = core::Blob(task.payload());
    return absl::OkStatus();
  }
  auto headers = EncodeHeaders(task.headers());
  if (headers.ok()) out->payload = core::Blob(*headers, task.payload());
  return headers.status();
}

absl::StatusOr<std::vector<core::FollowUp>> FollowUpsOf(
    const google::protobuf::RepeatedPtrField<v1::FollowUp>& follow_ups, core::Broker* broker) {
  std::vector<core::FollowUp> out;
  out.reserve(follow_ups.size());
  for (const auto& follow_up : follow_ups) {
    core::FollowUp& added = out.emplace_back();
    SpecOf(follow_up, broker, &added.spec);
    for (const auto& task : follow_up.tasks()) {
      if (absl::Status bad = TaskOf(task, &added.tasks.emplace_back()); !bad.ok()) return bad;
    }
  }
  return out;
}

core::LeaseRef LeaseOf(const v1::Lease& lease) {
  return {core::TaskId{lease.task_id()}, {lease.epoch(), lease.sequence()}};
}

std::vector<core::LeaseRef> LeasesOf(const google::protobuf::RepeatedPtrField<v1::Lease>& leases) {
  std::vector<core::LeaseRef> out;
  out.reserve(leases.size());
  for (const auto& lease : leases) out.push_back(LeaseOf(lease));
  return out;
}

core::WorkEnd WorkEndOf(v1::WorkEnd end) {
  return v1::WorkEnd_IsValid(end) ? static_cast<core::WorkEnd>(end) : core::WorkEnd::kUnspecified;
}

core::TaskError ErrorOf(const v1::TaskError& error) {
  core::TaskError out;
  const int kind = error.kind();
  out.kind = kind < 0 || kind > static_cast<int>(core::FailureKind::kBadArguments)
                 ? core::FailureKind::kUnspecified
                 : static_cast<core::FailureKind>(kind);
  out.message = error.message();
  out.detail = error.detail();
  out.final = error.final();
  return out;
}

core::SessionProfile ProfileOf(const v1::SessionHello& hello) {
  core::SessionProfile profile;
  profile.id = hello.session_id();
  profile.name = hello.name();
  profile.host = hello.host();
  profile.pid = hello.pid();
  return profile;
}

core::SessionProfile ProfileOf(const v1::WorkerHello& hello) {
  core::SessionProfile profile;
  profile.id = hello.worker_id();
  profile.name = hello.name();
  profile.host = hello.host();
  profile.pid = hello.pid();
  profile.concurrency = hello.concurrency();
  profile.queues.assign(hello.queues().begin(), hello.queues().end());
  profile.handlers.assign(hello.handlers().begin(), hello.handlers().end());
  profile.paused = hello.paused();
  return profile;
}

core::WorkerStatus StatusOf(const v1::WorkerStatus& status) {
  core::WorkerStatus out;
  out.busy = status.busy();
  out.children = status.children();
  out.buffered = status.buffered();
  out.done_total = status.done_total();
  out.failed_total = status.failed_total();
  out.child_deaths_total = status.child_deaths_total();
  out.concurrency = status.concurrency();
  out.concurrency_min = status.concurrency_min();
  out.processes = status.processes();
  out.trouble = status.trouble();
  return out;
}

absl::StatusOr<std::string> EncodeHeaders(const google::protobuf::RepeatedPtrField<v1::Header>& headers) {
  if (headers.empty()) return std::string();
  if (static_cast<size_t>(headers.size()) > kHeadersMax) {
    return InvalidField(
        "headers", absl::StrCat("there are ", headers.size(), "; at most ", kHeadersMax, " are allowed"));
  }
  std::string encoded;
  for (const auto& header : headers) {
    if (absl::Status bad = CheckName("headers.name", header.name()); !bad.ok()) return bad;
    if (header.value().size() > kHeaderValueBytesMax) {
      return InvalidField("headers.value", absl::StrCat("has ", header.value().size(), " bytes; at most ",
                                                        kHeaderValueBytesMax, " are allowed"));
    }
    if (header.value().find('\0') != std::string::npos)
      return InvalidField("headers.value", "must not contain a NUL byte");
    if (header.name() == "traceparent" && !IsTraceParent(header.value())) {
      return InvalidField(
          "headers.traceparent",
          "is not a W3C trace context: 2, 32, 16 and 2 lower-case hex digits with - between them");
    }
    encoded.append(header.name()).push_back('\0');
    encoded.append(header.value()).push_back('\0');
  }
  return encoded;
}

void DecodeHeaders(std::string_view encoded, google::protobuf::RepeatedPtrField<v1::Header>* headers) {
  while (!encoded.empty()) {
    const size_t name_end = encoded.find('\0');
    const size_t value_end = encoded.find('\0', name_end + 1);
    if (value_end == std::string_view::npos) return;
    v1::Header* header = headers->Add();
    header->set_name(encoded.data(), name_end);
    header->set_value(encoded.data() + name_end + 1, value_end - name_end - 1);
    encoded.remove_prefix(value_end + 1);
  }
}

void FillPayload(std::string_view headers, std::string_view payload, v1::TaskInfo* info) {
  info->set_payload(payload.data(), payload.size());
  DecodeHeaders(headers, info->mutable_headers());
}

void Fill(const core::TaskView& view, bool with_payload, v1::TaskInfo* info) {
  info->set_task_id(core::Raw(view.id));
  info->set_queue(view.queue);
  info->set_handler(view.handler);
  info->set_content_type(view.content_type);
  info->set_payload_bytes(view.payload_bytes);
  if (with_payload) {
    FillPayload(view.payload.headers(), view.payload.view(), info);
  } else {
    DecodeHeaders(view.payload.headers(), info->mutable_headers());
  }
  info->set_state(static_cast<v1::TaskState>(view.state));
  info->set_outcome(static_cast<v1::Outcome>(view.outcome));
  v1::TaskOptions* options = info->mutable_options();
  options->set_max_attempts(view.policy.max_attempts);
  options->set_max_crashes(view.policy.max_crashes);
  options->set_retry_delay_ms(view.policy.retry_delay_ms);
  options->set_retry_delay_max_ms(view.policy.retry_delay_max_ms);
  options->set_result_ttl_ms(view.policy.result_ttl_ms);
  options->set_priority(view.policy.priority);
  options->set_time_limit_ms(view.policy.time_limit_ms);
  options->set_soft_time_limit_ms(view.policy.soft_time_limit_ms);
  options->set_deadline_ms(view.deadline_ms);
  options->set_fresh_process(view.policy.fresh_process);
  options->set_session_id(view.session_id);
  const auto unix_ms = [](core::Time time) {
    return time == core::kNever ? 0 : static_cast<uint64_t>(time.time_since_epoch().count());
  };
  info->set_when_unix_ms(unix_ms(view.when));
  info->set_expires_unix_ms(unix_ms(view.expires));
  info->set_deliveries(view.deliveries);
  info->set_attempts(view.attempts);
  info->set_crashes(view.crashes);
  if (view.error != nullptr) Fill(*view.error, info->mutable_error());
  for (const core::Attempt& attempt : view.history) {
    v1::TaskAttempt* out = info->add_history();
    out->set_delivery(attempt.delivery);
    out->set_ended_unix_ms(unix_ms(attempt.ended));
    out->set_kind(static_cast<v1::FailureKind>(attempt.kind));
    out->set_message(attempt.message);
    out->set_holder(attempt.holder);
  }
  info->set_progress(view.progress);
  info->set_holder(view.holder);
  info->set_lease_epoch(view.token.epoch);
  info->set_lease_sequence(view.token.sequence);
  info->set_unique_key(view.unique_key);
  if (view.process.has_value()) Fill(*view.process, info->mutable_process());
}

void Fill(const core::QueueView& view, v1::QueueInfo* info) {
  info->set_name(view.name);
  v1::QueueOptions* options = info->mutable_options();
  options->set_maxsize(view.options.maxsize);
  options->set_max_bytes(view.options.max_bytes);
  options->set_lease_ms(view.options.lease_ms);
  options->set_ageing_ms(view.options.ageing_ms);
  options->set_dead_max(view.options.dead_max);
  options->set_order(static_cast<v1::Order>(view.options.order));
  options->set_durability(static_cast<v1::Durability>(view.options.durability));
  info->set_closed(view.closed);
  info->set_paused(view.paused);
  info->set_durability(std::string(core::NameOf(view.options.durability)));
  const core::QueueStats& stats = view.stats;
  v1::QueueStats* out = info->mutable_stats();
  out->set_size(stats.size());
  out->set_ready(stats.ready);
  out->set_delayed(stats.delayed);
  out->set_leased(stats.leased);
  out->set_unfinished(stats.unfinished());
  out->set_put_total(stats.put_total);
  out->set_done_total(stats.done_total);
  out->set_dead(stats.dead);
  out->set_cancelled_total(stats.cancelled_total);
  out->set_redelivered_total(stats.redelivered_total);
  out->set_oldest_ready_ms(stats.oldest_ready_ms);
  out->set_parked_puts(stats.parked_puts);
  out->set_parked_gets(stats.parked_gets);
  out->set_parked_joins(stats.parked_joins);
  out->set_bytes(stats.bytes);
  out->set_consumers(stats.consumers);
  out->set_dead_kept(stats.dead_kept);
  out->set_expired_total(stats.expired_total);
  out->set_waiting_bytes(stats.waiting_bytes);
  out->set_retried_total(stats.retried_total);
}

void Fill(const core::LeaseRef& lease, v1::Lease* out) {
  out->set_task_id(core::Raw(lease.task));
  out->set_epoch(lease.token.epoch);
  out->set_sequence(lease.token.sequence);
}

void Fill(const core::Delivery& delivery, v1::DeliveredTask* out) {
  if (delivery.token.epoch != 0) Fill(core::LeaseRef{delivery.task, delivery.token}, out->mutable_lease());
  out->set_task_id(core::Raw(delivery.task));
  out->set_handler(delivery.handler.str());
  out->set_payload(delivery.payload.view().data(), delivery.payload.size());
  out->set_content_type(delivery.content_type.str());
  DecodeHeaders(delivery.payload.headers(), out->mutable_headers());
  out->set_attempt(delivery.attempt);
  out->set_lease_ms(delivery.lease_ms);
  out->set_queue(delivery.queue.str());
}

void Fill(const core::TaskError& error, v1::TaskError* out) {
  out->set_kind(static_cast<v1::FailureKind>(error.kind));
  out->set_message(error.message);
  out->set_detail(error.detail);
  out->set_final(error.final);
}

void Fill(const core::ProcessInfo& process, v1::ProcessInfo* out) {
  out->set_host(process.host);
  out->set_pid(process.pid);
  out->set_ended(process.ended);
  out->set_exit_code(process.exit_code);
}

void Fill(const core::WorkerView& view, v1::WorkerInfo* info) {
  info->set_worker_id(view.profile.id);
  info->set_name(view.profile.name);
  info->set_host(view.profile.host);
  info->set_pid(view.profile.pid);
  info->set_concurrency(view.profile.concurrency);
  for (const auto& queue : view.profile.queues) info->add_queues(queue);
  for (const auto& handler : view.profile.handlers) info->add_handlers(handler);
  v1::WorkerStatus* status = info->mutable_status();
  status->set_busy(view.status.busy);
  status->set_children(view.status.children);
  status->set_buffered(view.status.buffered);
  status->set_done_total(view.status.done_total);
  status->set_failed_total(view.status.failed_total);
  status->set_child_deaths_total(view.status.child_deaths_total);
  status->set_concurrency(view.status.concurrency);
  status->set_concurrency_min(view.status.concurrency_min);
  status->set_processes(view.status.processes);
  status->set_trouble(view.status.trouble);
  static constexpr const char* kStates[] = {"alive", "late", "gone", "draining", "paused", "failing"};
  info->set_state(kStates[static_cast<size_t>(view.state)]);
  info->set_silent_ms(view.silent_ms);
  info->set_leases(view.leases);
  info->set_connected_ms(view.connected_ms);
}

}  // namespace joinq::rpc
