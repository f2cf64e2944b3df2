// Protos to the core's words and back. Ranges that the core checks are left to it.
#pragma once

#include "absl/status/statusor.h"
#include "joinq/v1/queue.pb.h"
#include "joinq/v1/session.pb.h"
#include "joinq/v1/task.pb.h"
#include "joinq/v1/worker.pb.h"
#include "server/core/broker.h"

namespace joinq::rpc {

// INVALID_ARGUMENT for what the core's types could not even hold. Under `memory_only`
// (--memory) other durabilities are refused.
absl::StatusOr<core::QueueOptions> OptionsOf(const v1::QueueOptions& options, bool memory_only);
absl::StatusOr<core::QueueChanges> ChangesOf(const v1::UpdateQueueRequest& request, bool memory_only);
// What PutRequest, PutGroup and FollowUp have in common.
template <typename Put>
void SpecOf(const Put& put, core::Broker* broker, core::PutSpec* spec);
absl::Status TaskOf(const v1::NewTask& task, core::NewTask* out);
absl::StatusOr<std::vector<core::FollowUp>> FollowUpsOf(
    const google::protobuf::RepeatedPtrField<v1::FollowUp>& follow_ups, core::Broker* broker);
core::LeaseRef LeaseOf(const v1::Lease& lease);
std::vector<core::LeaseRef> LeasesOf(const google::protobuf::RepeatedPtrField<v1::Lease>& leases);
// Values that are unknown here count as unspecified.
core::WorkEnd WorkEndOf(v1::WorkEnd end);
core::TaskError ErrorOf(const v1::TaskError& error);
core::SessionProfile ProfileOf(const v1::WorkerHello& hello);
core::SessionProfile ProfileOf(const v1::SessionHello& hello);
core::WorkerStatus StatusOf(const v1::WorkerStatus& status);

// Headers are kept as name\0value\0 pairs.
absl::StatusOr<std::string> EncodeHeaders(const google::protobuf::RepeatedPtrField<v1::Header>& headers);
void DecodeHeaders(std::string_view encoded, google::protobuf::RepeatedPtrField<v1::Header>* headers);

void Fill(const core::QueueView& view, v1::QueueInfo* info);
void Fill(const core::TaskView& view, bool with_payload, v1::TaskInfo* info);
void FillPayload(std::string_view headers, std::string_view payload, v1::TaskInfo* info);
void Fill(const core::LeaseRef& lease, v1::Lease* out);
void Fill(const core::Delivery& delivery, v1::DeliveredTask* out);
void Fill(const core::TaskError& error, v1::TaskError* out);
void Fill(const core::ProcessInfo& process, v1::ProcessInfo* out);
void Fill(const core::WorkerView& view, v1::WorkerInfo* info);

}  // namespace joinq::rpc
