// Large payloads: those of tasks lie in the daemon's shared memory, those of results in
// the child's. Small ones are part of their frames.
#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"
#include "worker/child/frames.h"
#include "worker/daemon.h"

namespace joinq {

void Daemon::Frame(const TaskHeader& header, std::string_view content_type, std::string_view headers,
                   std::string_view payload, Pool::Task& task) {
  const PayloadMemoryPtr memory =
      payload.size() > kPayloadBytesInFrame ? payloads_.Put(payload) : PayloadMemoryPtr();
  if (memory == nullptr) return EncodeTask(header, content_type, headers, payload, task.frame);
  EncodeLargeTask(header, content_type, headers, {memory->id, static_cast<uint32_t>(payload.size())},
                  task.frame);
  task.memory = memory;
  task.memory_bytes = payload.size();
}

PayloadMemoryPtr Daemon::MemoryOf(const Pool::Task& task) {
  return std::static_pointer_cast<const PayloadMemory>(task.memory);
}

void Daemon::TakeLarge(Child& child, ResultFrame& frame) {
  if (!frame.header.large) return;
  const auto payload =
      child.channel.ReadLarge(frame.place.memory, frame.place.bytes, frame.header.fresh_memory != 0);
  if (payload.ok()) {
    frame.payload = *payload;
    return;
  }
  child.payload_error = absl::StrCat("its result could not be taken from child ", child.channel.pid(), ": ",
                                     payload.status().message());
  spdlog::error("task {}: {}", frame.header.task_id, child.payload_error);
  frame.header.verdict = ResultVerdict::kFailed;
  frame.header.failure_kind = v1::FAILURE_KIND_HANDLER_ERROR;
  frame.header.final = 0;
  frame.header.retire = 1;  // its next ones are no better
  frame.message = child.payload_error;
  frame.detail = frame.follow_ups = frame.payload = {};
}

}  // namespace joinq
