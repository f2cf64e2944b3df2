// Workers, their children and the broker are killed, and workers stopped until they are
// given up, while a pool's tasks run. The handlers note their runs, the submitter what it
// was told.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <deque>
#include <optional>
#include <thread>

#include "tests/fault/load.h"
#include "tests/fault/payload.h"
#include "tests/support/programs.h"

namespace joinq::testing {
namespace {

using Kind = Operation::Kind;
using Answer = Operation::Answer;

// Submits tasks to a pool, some hundred at a time, and records how each ended.
class Submitter {
 public:
  Submitter(const std::string& url, const std::string& queue, uint64_t first, Recorder* recorder)
      : client_(url, {.timeout = 60s, .unavailable_after = 60s}),
        pool_(client_, queue, {.max_attempts = 1000, .max_crashes = 1000}),
        tape_(recorder->NewTape()),
        next_(first),
        thread_([this] { Run(); }) {}
  ~Submitter() { Finish(); }
  uint64_t ended() const { return ended_; }
  bool Await(uint64_t more, Millis deadline) const {
    const uint64_t goal = ended_ + more;
    return Eventually([&] { return ended_ >= goal; }, deadline);
  }
  // Waits for all that was submitted.
  void Finish() {
    submitting_ = false;
    if (thread_.joinable()) thread_.join();
  }

 private:
  struct Pending {
    Operation put;
    AsyncResult<std::string> result;
  };

  void Run() {
    std::deque<Pending> pending;
    while (submitting_ || !pending.empty()) {
      while (submitting_ && pending.size() < 300) {
        Operation put{Kind::kPut, Answer::kUnknown, next_++, 0, {}, Now(), 0};
        pending.push_back({put, pool_.apply_raw("note", PayloadOf(put.payload, 50))});
      }
      if (pending.empty()) return;
      Record(&pending.front());
      pending.pop_front();
    }
  }

  void Record(Pending* pending) {
    Operation& put = pending->put;
    put.answer = Call([&] { put.task = pending->result.id(60s); }).answer;
    put.end = Now();
    tape_->push_back(put);
    if (put.answer != Answer::kOk) return;
    // When the broker was told of the end is not known, only that it was not before the put.
    Operation done{Kind::kDone, Answer::kOk, put.payload, put.task, {}, put.start, 0};
    std::optional<Outcome> outcome;
    done.answer = Call([&] { outcome = pending->result.outcome(60s); }).answer;
    done.end = Now();
    if (outcome.has_value() && outcome->succeeded) {
      EXPECT_EQ(std::sscanf(outcome->payload.c_str(), "%lu %lu", &done.token.epoch, &done.token.sequence), 2);
    } else {
      ADD_FAILURE() << "task " << put.task << ": " << (outcome ? outcome->message : "no outcome");
    }
    tape_->push_back(done);
    ++ended_;
  }

  Client client_;
  Pool pool_;
  Recorder::Tape* const tape_;
  uint64_t next_;
  std::atomic<bool> submitting_{true};
  std::atomic<uint64_t> ended_{0};
  std::thread thread_;
};

enum class Fault { kChild, kWorker, kStop, kBroker };

class Fleet {
 public:
  Fleet(BrokerProcess* broker, const std::string& queue) : broker_(broker), queue_(queue) {
    for (int i = 0; i < 2; ++i) workers_.push_back(Start());
  }

  void Disturb(Fault fault, Random& random, Recorder* recorder) {
    Program& worker = workers_[Below(random, workers_.size())];
    Disturbance disturbance{"", Now(), 0};
    switch (fault) {
      case Fault::kChild: {
        const bool zygote = Below(random, 4) == 0;
        disturbance.what = zygote ? "kill -9 of a worker's zygote" : "kill -9 of a worker's child";
        const auto children = zygote ? PoolZygotes(worker.pid()) : PoolChildren(worker.pid());
        if (!children.empty()) ::kill(children[Below(random, children.size())], SIGKILL);
        break;
      }
      case Fault::kWorker:
        disturbance.what = "kill -9 of a worker";
        worker.Signal(SIGKILL);
        worker.Wait();
        worker = Start();
        break;
      case Fault::kStop:  // until it is given up; its children go on with what they have
        disturbance.what = "SIGSTOP of a worker";
        worker.Signal(SIGSTOP);
        Pass(1500ms + Millis(Below(random, 300)));
        worker.Signal(SIGCONT);
        break;
      case Fault::kBroker:
        disturbance.what = "kill -9 of the broker";
        disturbance.restart = true;
        broker_->Kill();
        disturbance.until = Now();
        broker_->Start();
        break;
    }
    recorder->Disturbed(disturbance);
  }

 private:
  Program Start() {
    return StartWorker(broker_->url(), queue_,
                       {"--module", BuildDirectory() + "/tests/recording_module.so", "--log-level", "error"});
  }

  BrokerProcess* const broker_;
  const std::string queue_;
  std::vector<Program> workers_;
};

TEST(WorkerFault, KillsAndStopsLoseNothing) {
  BrokerProcess broker({"--log-level", "error", "--worker-grace", "0.2", "--worker-timeout", "1"});
  Rounds([&](uint64_t number, Random& random) {
    TempDirectory directory;
    const std::string log = directory.path() + "/runs", queue = "workers-" + std::to_string(number);
    ::setenv("FAULT_TEST_RUNS", log.c_str(), 1);
    Recorder recorder;
    History history;
    {
      Fleet fleet(&broker, queue);
      Submitter submitter(broker.url(), queue, number * 1'000'000'000, &recorder);
      std::vector<Fault> faults = {Fault::kChild,  Fault::kChild,  Fault::kChild,  Fault::kChild,
                                   Fault::kWorker, Fault::kWorker, Fault::kStop,   Fault::kStop,
                                   Fault::kStop,   Fault::kBroker, Fault::kBroker, Fault::kChild,
                                   Fault::kWorker, Fault::kBroker};
      std::shuffle(faults.begin(), faults.end(), random);
      for (Fault fault : faults) {
        EXPECT_TRUE(submitter.Await(300 + Below(random, 1500), 30s)) << "tasks do not go on";
        fleet.Disturb(fault, random, &recorder);
        if (::testing::Test::HasFatalFailure()) return Counts{};
      }
      EXPECT_TRUE(submitter.Await(1000, 30s)) << "tasks do not go on";
      submitter.Finish();
      Client(broker.url()).open_joinable_queue(queue).join(30s);
      history = recorder.Take();
    }
    const auto runs = ReadCallLog(log);
    history.operations.insert(history.operations.end(), runs.begin(), runs.end());
    const Counts counts = Judge(history, {.acknowledged = 5000, .deliveries = 5000, .disturbances = 14});
    EXPECT_GT(counts.redelivered, 0u) << "no fault met a task that ran";
    Client(broker.url()).delete_queue(queue, true);
    return counts;
  });
}

}  // namespace
}  // namespace joinq::testing
