// What an operation causes for callers. The wiring sends these once everything
// that was applied before them is as durable as it was promised to be.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/core/shared_bytes.h"
#include "server/core/types.h"

namespace joinq::core {

// One task handed to a consumer: pushed to a worker's stream, or part of the
// answer to a Get.
struct Delivery {
  CallerId to = kNobody;
  TaskId task{0};
  Token token;  // zero when the get completed the task at once
  uint32_t attempt = 0;
  uint32_t lease_ms = 0;  // 0: the lease is the session's
  uint32_t time_limit_ms = 0, soft_time_limit_ms = 0;
  bool fresh_process = false;
  Time deadline = kNever;  // by which the work must be over
  Name queue, handler, content_type;
  Blob payload;  // with the headers
};

struct PutAck {
  CallerId to = kNobody;
  uint64_t tag = 0;
  TaskId task{0};
  bool existing = false;  // by its unique key or request id; nothing was put
  Durability durability = Durability::kFsync;
};

struct PutRefusal {
  CallerId to = kNobody;
  uint64_t tag = 0;
  absl::Status status;
};

// The end of a watched task, to its producer's stream.
struct ResultNotice {
  CallerId to = kNobody;
  uint64_t tag = 0;
  TaskId task{0};
  Outcome outcome = Outcome::kUnfinished;
  Blob payload;
  Name content_type;
  std::shared_ptr<const TaskError> error;
  std::shared_ptr<const ProcessInfo> process;
  uint32_t attempts = 0;
};

// The end of what a task wrote.
struct TaskLog {
  std::string text;  // at most kTaskLogBytesMax; any bytes
  bool cut = false;  // there was more before it
  std::string worker;
  bool running = false;
};
inline constexpr size_t kTaskLogBytesMax = 64 << 10;

// The answer to a call that waits for one thing.
struct Reply {
  CallerId to = kNobody;
  absl::Status status;
  std::vector<TaskId> task_ids;                // Put
  std::vector<uint32_t> existing;              // Put: places in task_ids
  Durability durability = Durability::kFsync;  // Put: what it survives
  std::vector<Delivery> deliveries;            // Get
  uint64_t count = 0;                          // purges and retries of dead tasks
  std::unique_ptr<ResultNotice> result;        // GetResult
  Name queue, handler;                         // GetResult
  WorkEnd work_end = WorkEnd::kUnspecified;    // CancelTask
  std::unique_ptr<TaskLog> log;                // GetTaskLog
};

struct CompletionsAck {
  CallerId to = kNobody;
  uint64_t completions_seq = 0;
  std::vector<TaskId> stale;
};

struct CancelNotice {
  CallerId to = kNobody;
  LeaseRef lease;
  bool terminate = false;  // to a worker: end the process at once
};

struct ActionNotice {
  CallerId to = kNobody;
  WorkerAction action = WorkerAction::kDrain;
  uint32_t children = 0;  // kResize
};

// A worker is asked for what a task wrote; see Broker::WorkerLog.
struct LogAsk {
  CallerId to = kNobody;
  uint64_t ask = 0;
  TaskId task{0};
};

struct Effects {
  std::vector<PutAck> put_acks;
  std::vector<PutRefusal> put_refusals;
  std::vector<Delivery> deliveries;
  std::vector<ResultNotice> results;
  std::vector<CompletionsAck> completion_acks;
  std::vector<CancelNotice> cancels;
  std::vector<ActionNotice> actions;
  std::vector<LogAsk> log_asks;
  std::vector<Reply> replies;
  // Tasks whose payloads are to be read from their rows; answered with PayloadLoaded
  // or PayloadLost. May be asked for before the commit under way is through: the rows
  // are those of earlier commits.
  std::vector<TaskId> loads;

  bool empty() const {
    return loads.empty() && put_acks.empty() && put_refusals.empty() && deliveries.empty() &&
           results.empty() && completion_acks.empty() && cancels.empty() && actions.empty() &&
           log_asks.empty() && replies.empty();
  }
  void Clear() {
    put_acks.clear();
    put_refusals.clear();
    deliveries.clear();
    results.clear();
    completion_acks.clear();
    cancels.clear();
    actions.clear();
    log_asks.clear();
    replies.clear();
    loads.clear();
  }
};

}  // namespace joinq::core
