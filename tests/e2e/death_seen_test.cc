// How soon a death is seen by those who wait: a child's by the client whose task it ran, a
// worker's by the broker and by the worker that gets its task. Each time is printed. The
// bounds hold for the median, as a machine with much else to do may delay any single one.
#include <gtest/gtest.h>
#include <joinq/client.h>
#include <signal.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <iostream>
#include <optional>

#include "tests/support/programs.h"
#include "tests/support/witness.h"

namespace joinq::testing {
namespace {

constexpr int kDeaths = 30;
constexpr auto kPatience = 30s;

class Times {
 public:
  explicit Times(std::string what) : what_(std::move(what)) {}
  ~Times() {
    std::sort(ms_.begin(), ms_.end());
    std::cout << "[ seen     ] " << what_ << ", ms:";
    for (double ms : ms_) std::cout << " " << std::round(ms * 10) / 10;
    std::cout << std::endl;
  }
  void Add(int64_t from_ns, int64_t to_ns) { ms_.push_back(static_cast<double>(to_ns - from_ns) / 1e6); }
  double Median() {
    std::sort(ms_.begin(), ms_.end());
    return ms_.empty() ? 0 : ms_[ms_.size() / 2];
  }

 private:
  const std::string what_;
  std::vector<double> ms_;
};

class DeathSeen : public ::testing::Test {
 protected:
  Program StartMember(uint32_t number) {
    ::setenv(kWitnessMember, std::to_string(number).c_str(), 1);
    return StartWorker(broker_.url(), "q",
                       {"--module", BuildDirectory() + "/tests/witness_module.so", "--log-level", "error"});
  }
  static std::string PidField(pid_t pid) { return "\"pid\":" + std::to_string(pid) + ","; }
  // The begin of the task on another than `not_on`.
  std::optional<RunRecord> AwaitBegin(uint64_t number, uint32_t not_on = 0) {
    std::optional<RunRecord> found;
    Eventually(
        [&] {
          for (const RunRecord& run : files_.NewRuns()) {
            EXPECT_NE(run.kind, RunRecord::kOverlap) << "task " << number << " runs twice at once";
            if (run.kind == RunRecord::kBegin && run.number == number && run.member != not_on) found = run;
          }
          return found.has_value();
        },
        kPatience);
    return found;
  }
  bool Listed(pid_t worker) {
    for (const WorkerInfo& info : client_.workers()) {
      if (info.pid == static_cast<uint32_t>(worker) && info.state != "gone") return true;
    }
    return false;
  }

  // Kills the worker that runs a task, again and again: the task goes from one to the other.
  void KillTheHolders(const std::function<void(const Program&)>& kill, Times* handed_over, Times* unlisted) {
    constexpr uint64_t kNumber = 1;
    Program workers[2] = {StartMember(1), StartMember(2)};
    Pool pool(client_, "q", {.max_crashes = 1000});
    const auto task = pool.apply_async<void>("hold", kNumber);
    auto run = AwaitBegin(kNumber);
    ASSERT_TRUE(run.has_value());
    for (int round = 0; round < 5; ++round) {
      const uint32_t member = run->member;
      Program& holder = workers[member - 1];
      const pid_t pid = holder.pid();
      const int64_t at = MonotonicNs();
      kill(holder);
      ASSERT_TRUE(Eventually([&] { return !Listed(pid); }, kPatience)) << "a dead worker is still listed";
      unlisted->Add(at, MonotonicNs());
      run = AwaitBegin(kNumber, member);
      ASSERT_TRUE(run.has_value()) << "the task does not begin elsewhere";
      handed_over->Add(at, run->at_ns);
      std::string list = RunProgram({"joinq", "-u", broker_.url(), "worker", "list", "--json"}).output;
      std::erase(list, ' ');
      EXPECT_EQ(list.find(PidField(pid)), std::string::npos) << list;
      EXPECT_NE(list.find(PidField(workers[run->member - 1].pid())), std::string::npos) << list;
      holder.Wait();
      holder = StartMember(member);
    }
    EXPECT_FALSE(task.ready());
  }

  TempDirectory directory_;
  WitnessFiles files_{directory_.path()};
  BrokerProcess broker_{{"--worker-grace", "0.5"}};
  Client client_{broker_.url()};
};

constexpr double kGraceMs = 500;

TEST_F(DeathSeen, ASegfaultIsToldToTheClientWithin100Ms) {
  Program worker = StartMember(1);
  Pool pool(client_, "q", {.max_crashes = 1});
  Times times("from SIGSEGV to the client");
  for (int i = 0; i < kDeaths; ++i) {
    const auto task = pool.apply_async<void>("segfault", i);
    const Outcome& outcome = task.outcome(kPatience);
    const int64_t told = MonotonicNs();
    EXPECT_EQ(outcome.kind, FailureKind::crash);
    EXPECT_NE(outcome.message.find("SIGSEGV"), std::string::npos) << outcome.message;
    const auto runs = files_.NewRuns();
    ASSERT_EQ(runs.size(), 2u);
    times.Add(runs[1].at_ns, told);
  }
  EXPECT_LT(times.Median(), 100);
}

TEST_F(DeathSeen, AKillOfAChildIsToldToTheClientWithin100Ms) {
  Program worker = StartMember(1);
  Pool pool(client_, "q", {.max_crashes = 1});
  Times times("from kill -9 to the client");
  for (int i = 0; i < kDeaths; ++i) {
    const auto task = pool.apply_async<void>("hold", i);
    const auto run = AwaitBegin(static_cast<uint64_t>(i));
    ASSERT_TRUE(run.has_value());
    const int64_t at = MonotonicNs();
    ASSERT_EQ(::kill(run->pid, SIGKILL), 0);
    const Outcome& outcome = task.outcome(kPatience);
    times.Add(at, MonotonicNs());
    EXPECT_EQ(outcome.kind, FailureKind::crash);
    EXPECT_NE(outcome.message.find("SIGKILL"), std::string::npos) << outcome.message;
  }
  EXPECT_LT(times.Median(), 100);
}

TEST_F(DeathSeen, OfADaemonItsTaskRunsElsewhereWithinTheGraceAndASecond) {
  Times handed_over("from kill -9 of a daemon to its task's begin elsewhere (grace 500)"),
      unlisted("from the same to the list without it");
  KillTheHolders([](const Program& holder) { holder.Signal(SIGKILL); }, &handed_over, &unlisted);
  EXPECT_LT(handed_over.Median(), kGraceMs + 1000);
  EXPECT_LT(unlisted.Median(), kGraceMs + 1000);
}

TEST_F(DeathSeen, OfAWholeWorkerItsTaskRunsElsewhereWithinTheGraceAndASecond) {
  Times handed_over("from kill -9 of all its processes to its task's begin elsewhere (grace 500)"),
      unlisted("from the same to the list without it");
  KillTheHolders(
      [](const Program& holder) {
        const auto tree = Descendants(holder.pid());
        holder.Signal(SIGKILL);
        for (pid_t pid : tree) ::kill(pid, SIGKILL);
      },
      &handed_over, &unlisted);
  EXPECT_LT(handed_over.Median(), kGraceMs + 1000);
  EXPECT_LT(unlisted.Median(), kGraceMs + 1000);
}

}  // namespace
}  // namespace joinq::testing
