// A handler that notes each of its runs, with the token it was handed out with, in the file
// that FAULT_TEST_RUNS names, and returns the token. (JOINQ_ variables are the worker's own
// and do not reach its children.)
#include <cstdlib>
#include <string>
#include <string_view>

#include "joinq/worker.h"
#include "tests/fault/history.h"
#include "tests/fault/payload.h"

JOINQ_TASK(note, [](const joinq::TaskContext& task, std::string_view payload) {
  static joinq::testing::CallLog log(std::getenv("FAULT_TEST_RUNS"));
  const auto now = joinq::testing::Now();
  log.Record({{joinq::testing::Operation::Kind::kRun,
               joinq::testing::Operation::Answer::kOk,
               joinq::testing::NumberOf(payload),
               task.task_id,
               {task.epoch, task.sequence},
               now,
               now}});
  return std::to_string(task.epoch) + " " + std::to_string(task.sequence);
});
