// Protos to the core's words and back. Ranges that the core checks are left to it.
#pragma once

#include "absl/status/statusor.h"
#include "joinq/v1/queue.pb.h"
#include "joinq/v1/task.pb.h"
#include "joinq/v1/worker.pb.h"
#include "server/core/broker.h"

namespace joinq::rpc {

core::TaskPolicy PolicyOf(const v1::TaskOptions& options);
core::QueueOptions OptionsOf(const v1::QueueOptions& options);
core::LeaseRef LeaseOf(const v1::Lease& lease);
std::vector<core::LeaseRef> LeasesOf(const google::protobuf::RepeatedPtrField<v1::Lease>& leases);
core::TaskError ErrorOf(const v1::TaskError& error);
core::WorkerProfile ProfileOf(const v1::WorkerHello& hello);
core::WorkerStatus StatusOf(const v1::WorkerStatus& status);

// Headers are kept as name\0value\0 pairs.
absl::StatusOr<core::Blob> EncodeHeaders(const google::protobuf::RepeatedPtrField<v1::Header>& headers);
void DecodeHeaders(std::string_view encoded, google::protobuf::RepeatedPtrField<v1::Header>* headers);

void Fill(const core::QueueView& view, std::string_view durability, v1::QueueInfo* info);
void Fill(const core::LeaseRef& lease, v1::Lease* out);
void Fill(const core::Delivery& delivery, v1::DeliveredTask* out);
void Fill(const core::TaskError& error, v1::TaskError* out);
void Fill(const core::WorkerView& view, v1::WorkerInfo* info);

}  // namespace joinq::rpc
