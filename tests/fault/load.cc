#include "tests/fault/load.h"

#include <gtest/gtest.h>

#include "tests/fault/payload.h"
#include "tests/support/programs.h"

namespace joinq::testing {
namespace {

using Kind = Operation::Kind;
using Answer = Operation::Answer;
using Tape = Recorder::Tape;

constexpr Millis kCallDeadline{60'000};
constexpr Millis kGetPatience{200};

Operation LeaseCall(Kind kind, const Task& task, const Called& called) {
  const Lease& lease = task.lease();
  return {kind,         called.answer, NumberOf(task.payload()), task.id(), {lease.epoch, lease.sequence},
          called.start, called.end};
}

// The first few, for people.
std::string WhatIsLeased(Client& client, const std::string& queue) {
  std::string text;
  for (const TaskInfo& task : client.task_page({.queue = queue, .state = TaskState::leased}, 0, 5).tasks) {
    text += "\n  " + task.lease.to_string() + " by \"" + task.holder + "\", delivery " +
            std::to_string(task.deliveries) + (task.when.has_value() ? ", with an end" : ", without end");
  }
  return text;
}

// Each of the tasks with one call of its own.
void EachWith(Kind kind, const std::vector<Task>& tasks, Tape* tape,
              const std::function<void(const Task&)>& call) {
  for (const Task& task : tasks) tape->push_back(LeaseCall(kind, task, Call([&] { call(task); })));
}

}  // namespace

Called Call(const std::function<void()>& call) {
  Called called;
  auto ended = [&called](Answer answer, const Error& error) {
    called.answer = answer;
    called.error = error.what();
    called.put_ids = error.put_ids();
  };
  called.start = Now();
  try {
    call();
  } catch (const Unavailable& error) {
    ended(Answer::kUnknown, error);
  } catch (const Timeout& error) {
    ended(Answer::kUnknown, error);
  } catch (const Error& error) {
    ended(Answer::kRefused, error);
  }
  called.end = Now();
  return called;
}

Load::Load(const std::string& url, const std::string& queue, const LoadOptions& options, uint64_t first,
           uint64_t seed, Recorder* recorder)
    : url_(url), name_(queue), options_(options), seed_(seed), recorder_(recorder), next_payload_(first) {
  Client(url_).joinable_queue(name_, {.maxsize = options_.maxsize, .lease = options_.lease});
  for (int i = 0; i < options_.producers; ++i) producers_.emplace_back([this, i] { Produce(i); });
  for (int i = 0; i < options_.consumers; ++i) others_.emplace_back([this, i] { Consume(i); });
  for (int i = 0; i < options_.joiners; ++i) others_.emplace_back([this, i] { JoinAll(i); });
}

Load::~Load() {
  StopProducers();
  consuming_ = false;
  for (std::thread& thread : others_) thread.join();
}

ClientOptions Load::OptionsOf(int index) const {
  ClientOptions options{
      .timeout = kCallDeadline, .unavailable_after = kCallDeadline, .linger = Millis(1'000)};
  if (index % 2 == 1) options.timeout = options.unavailable_after = options_.impatience;
  return options;
}

bool Load::Await(uint64_t more, Millis deadline) const {
  const uint64_t goal = acknowledged_ + more;
  return Eventually([&] { return acknowledged_ >= goal; }, deadline);
}

void Load::Produce(int index) {
  Tape* const tape = recorder_->NewTape();
  Random random(seed_ + 100 + static_cast<uint64_t>(index));
  Client client(url_, OptionsOf(index));
  const auto queue = client.open_joinable_queue(name_);
  // Nothing but a completion may end a task, so that a loss shows.
  const PutOptions put{.max_attempts = 1000, .max_crashes = 1000, .retry_delay = Millis(1)};
  while (producing_) {
    std::vector<Operation> puts(Below(random, 10) == 0 ? 1 : 1 + Below(random, options_.batch));
    std::vector<std::string> payloads;
    for (Operation& o : puts) {
      o.payload = next_payload_++;
      payloads.push_back(PayloadOf(o.payload, options_.padding));
    }
    std::vector<uint64_t> ids;
    const Called called = Call([&] {
      if (payloads.size() == 1) {
        ids = {queue.put(payloads[0], kCallDeadline, put)};
      } else {
        ids = queue.put_batch(payloads, kCallDeadline, put);
      }
    });
    if (ids.empty()) ids = called.put_ids;
    refused_ += called.answer == Answer::kRefused;
    ids.resize(puts.size());
    for (size_t i = 0; i < puts.size(); ++i) {
      // Of a batch that failed midway it is not known which ones were refused.
      const Answer failed = puts.size() == 1 ? called.answer : Answer::kUnknown;
      puts[i].answer = ids[i] != 0 ? Answer::kOk : failed;
      puts[i].task = ids[i];
      puts[i].start = called.start;
      puts[i].end = called.end;
      acknowledged_ += ids[i] != 0;
    }
    tape->insert(tape->end(), puts.begin(), puts.end());
    if (options_.join_each_batch) {
      const Called joined = Call([&] { queue.join(kCallDeadline); });
      tape->push_back({Kind::kJoin, joined.answer, 0, 0, {}, joined.start, joined.end});
    }
  }
}

void Load::Consume(int index) {
  Tape* const tape = recorder_->NewTape();
  Random random(seed_ + 200 + static_cast<uint64_t>(index));
  Client client(url_, OptionsOf(index));
  const auto queue = client.open_joinable_queue(name_);
  std::vector<Task> kept;
  while (consuming_) {
    std::vector<Task> tasks;
    const auto count = static_cast<uint32_t>(1 + Below(random, options_.batch));
    // By the client's session, or for the queue's lease time.
    const bool by_session = Below(random, 2) == 0;
    const Called got = Call([&] {
      tasks =
          by_session ? queue.get_batch(count, kGetPatience) : queue.get_batch(count, kGetPatience, Millis(0));
    });
    for (const Task& task : tasks) tape->push_back(LeaseCall(Kind::kDelivery, task, got));
    if (!kept.empty() && Below(random, 10) == 0) {
      // Too late or not: the broker knows.
      EachWith(Kind::kDone, kept, tape, [](const Task& task) { task.done(); });
      kept.clear();
    }
    if (tasks.empty()) continue;
    if (Below(random, 100) >= options_.mischief_percent) {
      DoneOrNot(queue, tasks, tape, random);
      continue;
    }
    tasks.resize(std::min<size_t>(tasks.size(), 10), tasks[0]);
    switch (Below(random, 4)) {
      case 0:
        EachWith(Kind::kFail, tasks, tape, [](const Task& task) { task.fail("on purpose"); });
        break;
      case 1:
        EachWith(Kind::kRelease, tasks, tape, [](const Task& task) { task.release(); });
        break;
      case 2:
        EachWith(Kind::kBury, tasks, tape, [](const Task& task) { task.fail("for good", true); });
        break;
      default:
        kept.insert(kept.end(), tasks.begin(), tasks.end());
    }
  }
}

void Load::DoneOrNot(const JoinableQueue& queue, const std::vector<Task>& tasks, Tape* tape, Random& random) {
  const Called called = Call([&] { queue.task_done(tasks); });
  for (const Task& task : tasks) tape->push_back(LeaseCall(Kind::kDone, task, called));
  if (called.answer == Answer::kOk) return;
  // One stale lease refuses all of them. Sometimes the others are not finished one by
  // one, either: then they must come back when their lease ends.
  if (Below(random, 2) == 0) EachWith(Kind::kDone, tasks, tape, [](const Task& task) { task.done(); });
}

void Load::JoinAll(int index) {
  Tape* const tape = recorder_->NewTape();
  Client client(url_, OptionsOf(index));
  const auto queue = client.open_joinable_queue(name_);
  while (consuming_) {
    const Called called = Call([&] { queue.join(kGetPatience); });
    tape->push_back({Kind::kJoin, called.answer, 0, 0, {}, called.start, called.end});
    // An empty queue would be joined again at once, for nothing.
    if (called.answer == Answer::kOk) Await(1, kGetPatience);
  }
}

void Load::StopProducers() {
  producing_ = false;
  for (std::thread& thread : producers_) thread.join();
  producers_.clear();
}

History Load::Finish(Millis deadline) {
  StopProducers();
  Client client(url_, {.timeout = deadline, .unavailable_after = deadline});
  const auto queue = client.open_joinable_queue(name_);
  Tape* const tape = recorder_->NewTape();
  const Called joined = Call([&] { queue.join(deadline); });
  tape->push_back({Kind::kJoin, joined.answer, 0, 0, {}, joined.start, joined.end});
  consuming_ = false;
  for (std::thread& thread : others_) thread.join();
  others_.clear();
  // A put without an answer may arrive after the join.
  std::vector<uint64_t> left;
  for (std::vector<Task> tasks;; tasks.clear()) {
    const Called got = Call([&] { tasks = queue.get_batch(1000, Millis(0)); });
    if (tasks.empty()) break;
    for (const Task& task : tasks) {
      tape->push_back(LeaseCall(Kind::kDelivery, task, got));
      left.push_back(task.id());
    }
  }
  const QueueStats stats = queue.info().stats;
  EXPECT_EQ(joined.answer, Answer::kOk) << joined.error << "; " << stats.unfinished << " unfinished, "
                                        << stats.leased << " of them leased" << WhatIsLeased(client, name_);
  History history = recorder_->Take();
  history.left = std::move(left);
  return history;
}

}  // namespace joinq::testing
