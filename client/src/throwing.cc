#include "client/src/throwing.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "client/src/put_spec.h"
#include "client/src/utf8.h"
#include "client/src/wire_types.h"
#include "common/names.h"

namespace joinq {

TaskFailed::TaskFailed(uint64_t task_id, FailureKind kind, std::string message, std::string detail)
    : Error(absl::StrCat(task_id == 0 ? "task" : absl::StrCat("task ", task_id), " failed: ", to_string(kind),
                         ": ", message)),
      task_id_(task_id),
      kind_(kind),
      message_(std::move(message)),
      detail_(std::move(detail)) {}

void Outcome::throw_if_failed() const {
  if (!succeeded) throw TaskFailed(task_id, kind, message, detail);
}

namespace internal {
namespace {

using absl::StatusCode;

[[noreturn]] void ThrowFailedPrecondition(Verb verb, const std::string& what, const std::string& field,
                                          const std::string& message) {
  if (absl::EndsWith(field, kSessionField)) throw Refused(message, field);
  if (verb == Verb::kPut)
    throw Closed(absl::StrCat(what.empty() ? message : what + " is closed", ": it takes no more puts"),
                 field);
  if (verb == Verb::kGet) throw Closed(absl::StrCat(what, " is closed and drained"), field);
  if (verb == Verb::kLease) throw StaleLease(message, field);
  throw Refused(message, field);
}

}  // namespace

void ThrowIfError(Verb verb, std::string_view what_view, const absl::Status& status) {
  if (status.ok()) return;
  const std::string what(what_view);
  const std::string field = FieldOf(status);
  absl::string_view why = status.message();
  // The field's name helps with bad values only.
  if (!field.empty() && status.code() != StatusCode::kInvalidArgument)
    absl::ConsumePrefix(&why, field + ": ");
  const bool said = what.empty() || absl::StrContains(why, what);
  const std::string message = said ? std::string(why) : absl::StrCat(what, ": ", why);
  switch (status.code()) {
    case StatusCode::kDeadlineExceeded:
      if (verb == Verb::kPut) throw Full(what.empty() ? message : what + " is full", field);
      if (verb == Verb::kGet) throw Empty(absl::StrCat(what, " is empty"), field);
      throw Timeout(message, field);
    case StatusCode::kFailedPrecondition:
      ThrowFailedPrecondition(verb, what, field, message);
    case StatusCode::kUnavailable:
    case StatusCode::kCancelled:
      throw Unavailable(message, field);
    case StatusCode::kNotFound:
      throw NotFound(message, field);
    case StatusCode::kAlreadyExists:
      throw AlreadyExists(message, field);
    case StatusCode::kInvalidArgument:
    case StatusCode::kOutOfRange:
      throw InvalidArgument(message, field);
    case StatusCode::kResourceExhausted:
      throw Overloaded(message, field);
    case StatusCode::kPermissionDenied:
    case StatusCode::kUnauthenticated:
      throw NotAllowed(message, field);
    case StatusCode::kUnimplemented:
      throw Error(absl::StrCat(what, what.empty() ? "" : ": ",
                               "this broker cannot do that: it is older than its client"),
                  field);
    default:
      throw Error(message, field);
  }
}

FailureKind KindOf(v1::Outcome outcome, v1::FailureKind kind) {
  if (outcome == v1::OUTCOME_CANCELLED) return FailureKind::cancelled;
  if (outcome == v1::OUTCOME_EXPIRED) return FailureKind::expired;
  if (outcome == v1::OUTCOME_UNSPECIFIED) return FailureKind::forgotten;
  switch (kind) {
    case v1::FAILURE_KIND_TIME_LIMIT:
      return FailureKind::time_limit;
    case v1::FAILURE_KIND_UNKNOWN_HANDLER:
      return FailureKind::unknown_handler;
    case v1::FAILURE_KIND_CRASH:
      return FailureKind::crash;
    case v1::FAILURE_KIND_OUT_OF_MEMORY:
      return FailureKind::out_of_memory;
    case v1::FAILURE_KIND_HOST_LOST:
      return FailureKind::host_lost;
    case v1::FAILURE_KIND_BAD_ARGUMENTS:
      return FailureKind::bad_arguments;
    default:
      return outcome == v1::OUTCOME_CRASHED ? FailureKind::crash : FailureKind::handler_error;
  }
}

void FillOutcome(v1::ProducedResult& result, Outcome* outcome) {
  outcome->task_id = result.task_id();
  outcome->succeeded = result.outcome() == v1::OUTCOME_SUCCEEDED;
  if (!result.payload().empty()) outcome->payload = std::move(*result.mutable_payload());
  if (!result.content_type().empty()) outcome->content_type = result.content_type();
  outcome->attempts = result.attempts();
  if (result.has_process()) outcome->process = ToProcessInfo(result.process());
  if (outcome->succeeded) return;
  outcome->kind = KindOf(result.outcome(), result.error().kind());
  outcome->message = result.error().message();
  outcome->detail = result.error().detail();
  if (!outcome->message.empty()) return;
  if (outcome->kind == FailureKind::cancelled)
    outcome->message =
        "it was cancelled, its queue purged or deleted, or the client gone that it was tied to";
  if (outcome->kind == FailureKind::expired)
    outcome->message = "its time to live, or its deadline, ran out while it waited";
  if (outcome->kind == FailureKind::forgotten) outcome->message = "its result is no longer kept";
}

Outcome FailedOutcome(uint64_t index, uint64_t task_id, FailureKind kind, const absl::Status& status) {
  Outcome outcome;
  outcome.index = index;
  outcome.task_id = task_id;
  outcome.kind = kind;
  outcome.message = std::string(status.message());
  return outcome;
}

uint32_t ToMs(std::string_view field, Millis time) {
  if (time.count() < 0 || time.count() > kDurationMsMax) {
    throw InvalidArgument(
        absl::StrFormat("%s: must be 0 to %d ms, not %d", std::string(field), kDurationMsMax, time.count()),
        std::string(field));
  }
  return static_cast<uint32_t>(time.count());
}

uint32_t ToTimeoutMs(std::string_view field, Millis time) {
  return time.count() > kDurationMsMax ? 0 : ToMs(field, time);
}

void RequireName(std::string_view field, std::string_view name) {
  const absl::Status status = CheckName(field, name);
  if (!status.ok()) throw InvalidArgument(std::string(status.message()), std::string(field));
}

const std::string& RequireUtf8(std::string_view field, const std::string& text) {
  if (ValidUtf8(text) != text)
    throw InvalidArgument(std::string(field) + ": must be UTF-8", std::string(field));
  return text;
}

std::string Quoted(std::string_view kind, std::string_view name) {
  return absl::StrCat(std::string(kind), " \"", std::string(name.substr(0, kNameBytesMax)), "\"");
}

}  // namespace internal
}  // namespace joinq
