// The frames between daemon and child, over a socketpair of one machine: host
// byte order, no padding between frames.
//
// daemon -> child, one a task, in the order the child runs them:
//   TaskHeader, content type name (content_type_bytes), if header_count > 0 the
//   bytes of the headers (uint32) and the headers, payload (the rest)
// child -> daemon:
//   ResultHeader, then content type name (content_type_bytes), error message
//   (message_bytes), error detail (detail_bytes), follow-ups (follow_up_bytes: a
//   Completion with these only), payload (the rest).
//   Exactly one kResult for each task frame, in the same order; one kReady before
//   them, or a kStartFailed with the message why there never will be one; a kProgress,
//   which is all header, says that there is news in the status page.
//
// A large payload, either way, is not in the frame but in shared memory, and in its place
// is a PayloadPlace. The descriptor of that memory comes with the frame's first byte: of
// a kLargeTask always, of a result if `fresh_memory` says so; later ones may lie in the
// same memory.
//
// `length` counts the whole frame, header included.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace joinq {

enum class FrameType : uint8_t {
  kTask = 1,
  kReady = 2,
  kResult = 3,
  kProgress = 4,
  kStartFailed = 5,
  kLargeTask = 6
};

// kSkipped: recalled by the daemon before it began; it never ran.
enum class ResultVerdict : uint8_t { kDone = 0, kFailed = 1, kSkipped = 2 };

inline constexpr uint16_t kNoIndex = 0xffff;
// Payload limits are enforced elsewhere; this stops a broken peer.
inline constexpr uint32_t kFrameBytesMax = 16u << 20;
// Larger ones go in shared memory, which is faster from here on (bench/payload_bench.cc).
inline constexpr size_t kPayloadBytesInFrame = 64 << 10;
inline constexpr size_t kErrorMessageBytesMax = 4096;
inline constexpr size_t kErrorDetailBytesMax = 16384;

struct TaskHeader {
  uint32_t length;
  FrameType type;
  uint8_t content_type_bytes;
  uint16_t handler;  // index in the registry
  uint64_t task_id;
  uint64_t epoch;
  uint64_t sequence;
  uint32_t attempt;
  uint16_t queue;  // index in the worker's list of queues, or kNoIndex
  uint16_t header_count;
  uint32_t hard_ms;  // the limits that hold for this task; 0: none
  uint32_t soft_ms;
  uint64_t deadline_ns;  // CLOCK_MONOTONIC; 0: none
};
static_assert(sizeof(TaskHeader) == 56);

struct ResultHeader {
  uint32_t length;
  FrameType type;
  ResultVerdict verdict;
  uint8_t failure_kind;  // joinq.v1.FailureKind when kFailed
  uint8_t final;
  uint64_t task_id;
  uint64_t number;      // of the task's frame, from 1 on; 0 if it is no result
  uint32_t service_us;  // saturates
  uint16_t message_bytes;
  uint16_t detail_bytes;
  uint8_t content_type_bytes;
  uint8_t retire;        // 1: the child is used up and should be replaced
  uint8_t large;         // 1: a PayloadPlace is where the payload would be
  uint8_t fresh_memory;  // 1: the descriptor of its memory comes with this frame
  uint32_t follow_up_bytes;
};
static_assert(sizeof(ResultHeader) == 40);

// Where a large payload is: the first bytes of a shared memory.
struct PayloadPlace {
  uint32_t memory;  // its id
  uint32_t bytes;
};

struct TaskFrame {
  TaskHeader header;
  std::string_view content_type;
  std::string_view headers;  // see TakeHeaderPair
  std::string_view payload;  // of a large one: none
  PayloadPlace place;        // of a large one
};

struct ResultFrame {
  ResultHeader header;
  std::string_view content_type;
  std::string_view message;
  std::string_view detail;
  std::string_view follow_ups;
  std::string_view payload;  // of a large one that was taken: none
  PayloadPlace place;        // of a large one
};

// Replaces `out` by the frame; length, type and content_type_bytes of `header` are filled in.
// A content type over 255 bytes is cut (no such type is known to anyone).
// `headers` holds header.header_count of them, see AppendHeaderPair.
void EncodeTask(TaskHeader header, std::string_view content_type, std::string_view headers,
                std::string_view payload, std::string& out);

// The same for a payload that lies in shared memory.
void EncodeLargeTask(TaskHeader header, std::string_view content_type, std::string_view headers,
                     PayloadPlace place, std::string& out);

// Appends one header of a task to `block`. Longer parts than 65535 bytes are cut.
void AppendHeaderPair(std::string_view name, std::string_view value, std::string& block);
// Takes the first one off `block`; false if there is no whole one.
bool TakeHeaderPair(std::string_view& block, std::string_view& name, std::string_view& value);

// The size of the frame that EncodeResult writes, with the payload's PayloadPlace if it is large.
// Cuts texts to their limits first.
size_t PrepareResult(ResultFrame& frame);
// Writes a prepared frame's header and texts to `out`, and its place if it is large, but
// not the payload (room for PrepareResult(frame) less that); returns how much it wrote.
size_t EncodeResultHead(const ResultFrame& frame, char* out);

enum class Parse { kFrame, kIncomplete, kMalformed };

// Takes the first frame off `in`. kIncomplete and kMalformed leave it alone.
Parse TakeTask(std::string_view& in, TaskFrame& frame);
Parse TakeResult(std::string_view& in, ResultFrame& frame);

// The length the first frame of `in` claims, or 0 if not even that is there.
inline uint32_t ClaimedLength(std::string_view in) {
  uint32_t length = 0;
  if (in.size() >= sizeof length) std::memcpy(&length, in.data(), sizeof length);
  return length;
}

}  // namespace joinq
