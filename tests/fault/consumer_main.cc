// A consumer in a process of its own, to be stopped and killed: takes tasks and finishes
// them until it dies. Usage: fault_consumer BROKER QUEUE LOG SEED session|lease
// The last word: what it holds tasks by.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "joinq/client.h"
#include "tests/fault/history.h"
#include "tests/fault/load.h"
#include "tests/fault/payload.h"

int main(int argc, char** argv) {
  using joinq::testing::Operation;
  const std::string by = argc == 6 ? argv[5] : "";
  if (by != "session" && by != "lease") {
    std::fprintf(stderr, "usage: fault_consumer BROKER QUEUE LOG SEED session|lease\n");
    return 2;
  }
  joinq::testing::CallLog log(argv[3]);
  joinq::testing::Random random(std::strtoull(argv[4], nullptr, 10));
  joinq::Client client(argv[1]);
  const auto queue = client.open_joinable_queue(argv[2]);
  for (;;) {
    std::vector<joinq::Task> tasks;
    const auto count = static_cast<uint32_t>(1 + joinq::testing::Below(random, 20));
    const joinq::Millis patience(1'000);
    const auto got = joinq::testing::Call([&] {
      // 0: the queue's lease time.
      tasks = by == "session" ? queue.get_batch(count, patience)
                              : queue.get_batch(count, patience, joinq::Millis(0));
    });
    std::vector<Operation> calls;
    for (const joinq::Task& task : tasks) {
      calls.push_back({Operation::Kind::kDelivery,
                       got.answer,
                       joinq::testing::NumberOf(task.payload()),
                       task.id(),
                       {task.lease().epoch, task.lease().sequence},
                       got.start,
                       got.end});
    }
    if (calls.empty()) continue;
    log.Record(calls);
    // Work, so that the queue fills up and a fault meets consumers that hold something;
    // sometimes until about the end of the lease, when another may hold it as well.
    joinq::testing::Pass(joinq::Millis(joinq::testing::Below(random, 50) == 0
                                           ? 900 + joinq::testing::Below(random, 300)
                                           : joinq::testing::Below(random, 10)));
    for (Operation& call : calls) call.kind = Operation::Kind::kDone;
    log.Invoked(&calls);
    const auto done = joinq::testing::Call([&] { queue.task_done(tasks); });
    for (Operation& call : calls) {
      call.answer = done.answer;
      call.end = done.end;
    }
    log.Answered(calls);
  }
}
