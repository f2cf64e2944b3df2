// absl::Status to the exceptions of joinq/errors.h: the one table.
#pragma once

#include <joinq/pool.h>

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "joinq/v1/task.pb.h"

namespace joinq::internal {

// What was asked; decides what kDeadlineExceeded and kFailedPrecondition mean.
enum class Verb { kPut, kGet, kLease, kWait, kControl };

// Does nothing if OK. `what` starts the message unless that names it already:
// `queue "x"`, `task 12`; empty if only the broker knows.
void ThrowIfError(Verb verb, std::string_view what, const absl::Status& status);

FailureKind KindOf(v1::Outcome outcome, v1::FailureKind kind);
// Fills all but the index.
void FillOutcome(v1::ProducedResult& result, Outcome* outcome);
// The outcome of a task that was refused, or lost from sight.
Outcome FailedOutcome(uint64_t index, uint64_t task_id, FailureKind kind, const absl::Status& status);

// A time as the broker takes it. InvalidArgument, naming `field`, if negative or over 2^31-1 ms.
uint32_t ToMs(std::string_view field, Millis time);
// As ToMs, but kForever and all that is too long become 0.
uint32_t ToTimeoutMs(std::string_view field, Millis time);
// InvalidArgument unless it is a good name.
void RequireName(std::string_view field, std::string_view name);
// `text` if it is UTF-8, as protobuf wants it; else InvalidArgument.
const std::string& RequireUtf8(std::string_view field, const std::string& text);
std::string Quoted(std::string_view kind, std::string_view name);

}  // namespace joinq::internal
