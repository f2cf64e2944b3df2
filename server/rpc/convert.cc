#include "server/rpc/convert.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/names.h"

namespace joinq::rpc {
namespace {

uint16_t CountOr(uint32_t value, uint16_t fallback) {
  return value == 0 ? fallback : static_cast<uint16_t>(std::min<uint32_t>(value, UINT16_MAX));
}

}  // namespace

core::TaskPolicy PolicyOf(const v1::TaskOptions& options) {
  core::TaskPolicy policy;
  policy.max_attempts = CountOr(options.max_attempts(), policy.max_attempts);
  policy.max_crashes = CountOr(options.max_crashes(), policy.max_crashes);
  if (options.retry_delay_ms() != 0) policy.retry_delay_ms = options.retry_delay_ms();
  if (options.retry_delay_max_ms() != 0) policy.retry_delay_max_ms = options.retry_delay_max_ms();
  policy.result_ttl_ms = options.result_ttl_ms();
  return policy;
}

core::QueueOptions OptionsOf(const v1::QueueOptions& options) {
  core::QueueOptions out;
  out.maxsize = options.maxsize();
  if (options.lease_ms() != 0) out.lease_ms = options.lease_ms();
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

core::WorkerProfile ProfileOf(const v1::WorkerHello& hello) {
  core::WorkerProfile profile;
  profile.worker_id = hello.worker_id();
  profile.name = hello.name();
  profile.host = hello.host();
  profile.pid = hello.pid();
  profile.concurrency = hello.concurrency();
  profile.queues.assign(hello.queues().begin(), hello.queues().end());
  profile.handlers.assign(hello.handlers().begin(), hello.handlers().end());
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
  return out;
}

absl::StatusOr<core::Blob> EncodeHeaders(const google::protobuf::RepeatedPtrField<v1::Header>& headers) {
  if (headers.empty()) return core::Blob();
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
    encoded.append(header.name()).push_back('\0');
    encoded.append(header.value()).push_back('\0');
  }
  return core::Blob(encoded);
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

void Fill(const core::QueueView& view, std::string_view durability, v1::QueueInfo* info) {
  info->set_name(view.name);
  info->mutable_options()->set_maxsize(view.options.maxsize);
  info->mutable_options()->set_lease_ms(view.options.lease_ms);
  info->set_closed(view.closed);
  info->set_durability(std::string(durability));
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
  DecodeHeaders(delivery.headers.view(), out->mutable_headers());
  out->set_attempt(delivery.attempt);
  out->set_lease_ms(delivery.lease_ms);
}

void Fill(const core::TaskError& error, v1::TaskError* out) {
  out->set_kind(static_cast<v1::FailureKind>(error.kind));
  out->set_message(error.message);
  out->set_detail(error.detail);
  out->set_final(error.final);
}

void Fill(const core::WorkerView& view, v1::WorkerInfo* info) {
  info->set_worker_id(view.profile.worker_id);
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
  static constexpr const char* kStates[] = {"alive", "late", "gone", "draining"};
  info->set_state(kStates[static_cast<size_t>(view.state)]);
  info->set_silent_ms(view.silent_ms);
  info->set_leases(view.leases);
  info->set_connected_ms(view.connected_ms);
}

}  // namespace joinq::rpc
