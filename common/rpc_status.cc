#include "common/rpc_status.h"

#include <google/protobuf/any.pb.h>

#include <string>

#include "common/names.h"
#include "joinq/v1/status.pb.h"

namespace joinq {
namespace {

constexpr char kBadRequestType[] = "type.googleapis.com/google.rpc.BadRequest";

}  // namespace

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const auto code = static_cast<grpc::StatusCode>(status.code());
  const std::string message(status.message());
  const std::string field = FieldOf(status);
  if (field.empty()) return grpc::Status(code, message);
  v1::BadRequest bad_request;
  auto* violation = bad_request.add_field_violations();
  violation->set_field(field);
  violation->set_description(message);
  v1::RpcStatus details;
  details.set_code(static_cast<int>(code));
  details.set_message(message);
  auto* any = details.add_details();
  any->set_type_url(kBadRequestType);
  any->set_value(bad_request.SerializeAsString());
  return grpc::Status(code, message, details.SerializeAsString());
}

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const auto code = static_cast<absl::StatusCode>(status.error_code());
  v1::RpcStatus details;
  v1::BadRequest bad_request;
  if (!status.error_details().empty() && details.ParseFromString(status.error_details())) {
    for (const auto& any : details.details()) {
      if (any.type_url() == kBadRequestType && bad_request.ParseFromString(any.value()) &&
          bad_request.field_violations_size() > 0) {
        // The message already starts with the field's name.
        absl::Status out(code, status.error_message());
        return WithField(std::move(out), bad_request.field_violations(0).field());
      }
    }
  }
  return absl::Status(code, status.error_message());
}

}  // namespace joinq
