// What the tasks of one PutGroup share, and what the engine tells about each task.
#pragma once

#include <joinq/put.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "joinq/v1/task.pb.h"

namespace joinq::internal {

// Everything of a put but its payload. Immutable once submitted with: the engine
// groups consecutive puts by the pointer first and by value second.
struct PutSpec {
  std::string queue;
  std::string handler;
  std::string content_type;
  uint32_t delay_ms = 0;
  uint32_t max_attempts = 0;
  uint32_t max_crashes = 0;
  uint32_t retry_delay_ms = 0;
  uint32_t result_ttl_ms = 0;
  uint64_t eta_unix_ms = 0;  // 0: none
  uint32_t ttl_ms = 0;
  int32_t priority = 0;
  std::string unique_key;
  UniqueScope unique_scope = UniqueScope::unfinished;
  uint32_t unique_ms = 0;
  std::string request_id;
  uint32_t timeout_ms = 0;  // for room; 0: for ever
  bool no_wait = false;
  bool watch = false;  // the outcome is wanted on the stream
  uint32_t time_limit_ms = 0;
  uint32_t soft_time_limit_ms = 0;
  uint32_t deadline_ms = 0;
  bool fresh_process = false;
  bool daemon = false;      // to be tied to the session, see Connection::Tie
  uint64_t session_id = 0;  // 0: not tied
  std::vector<std::pair<std::string, std::string>> headers;

  bool operator==(const PutSpec&) const = default;
};

// What a refusal names whose session the broker does not know.
inline constexpr char kSessionField[] = "options.session_id";

// Checks all that can be checked without the broker: InvalidArgument names the field.
std::shared_ptr<PutSpec> MakePutSpec(const std::string& queue, std::string_view content_type,
                                     const PutOptions& options);

void FillOptions(const PutSpec& spec, v1::TaskOptions* options);
// Headers and keys.
void FillTask(const PutSpec& spec, v1::NewTask* task);
// About what FillTask adds, in bytes.
size_t TaskBytes(const PutSpec& spec);
void FillGroup(const PutSpec& spec, v1::PutGroup* group);

// Who hears of a task. All calls come from the engine's thread, without its lock,
// and must be short: store, and wake whoever waits.
class ResultSink {
 public:
  // Without `wants_acks`, OnAck is not called for watched tasks.
  explicit ResultSink(bool wants_acks) : wants_acks_(wants_acks) {}
  virtual ~ResultSink() = default;
  // The put is as durable as its queue promises. For a task that is not watched
  // this is the last call. May be followed or (results outrun acks) replaced by OnResult.
  // `existing`: nothing was put, the task was there already.
  virtual void OnAck(uint64_t cookie, uint64_t task_id, bool existing) = 0;
  // The put was refused or given up; the last call. kUnavailable: it may have been stored.
  virtual void OnRefused(uint64_t cookie, const absl::Status& status) = 0;
  // The outcome; the last call. May move out of `result`.
  virtual void OnResult(uint64_t cookie, v1::ProducedResult& result) = 0;
  // The connection was given up while the outcome was awaited; the last call.
  virtual void OnLost(uint64_t cookie, uint64_t task_id, const absl::Status& status) = 0;
  // After the calls above, once for each message received.
  virtual void OnBatchEnd() = 0;

 private:
  friend class Producer;
  const bool wants_acks_;
  bool touched_ = false;  // by the message being handled
};

}  // namespace joinq::internal
