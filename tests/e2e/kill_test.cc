// kill -9 of children, zygotes and worker daemons, many of each, while tasks run without a
// break. What is asserted of each kind:
//
//   every task has one outcome, the result of a run that came to its end, and no run has a
//   newer lease than that one;
//   no task ever ran in two processes at once (the kernel's word, see witness.h);
//   no process stays a zombie, none outlives what it belongs to, none is left at the end.
//
//   JOINQ_KILLS   how many [300]
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <deque>
#include <iostream>
#include <map>
#include <random>
#include <set>
#include <thread>

#include "joinq/client.h"
#include "tests/support/census.h"
#include "tests/support/programs.h"
#include "tests/support/witness.h"

namespace joinq::testing {
namespace {

using Clock = std::chrono::steady_clock;
using Token = std::pair<uint64_t, uint64_t>;  // epoch and sequence of a lease
using FMillis = std::chrono::duration<double, std::milli>;

// A kill is noticed within milliseconds; this is for a machine with much else to do.
constexpr auto kPatience = 30s;

int KillsWanted() {
  const char* text = std::getenv("JOINQ_KILLS");
  return text == nullptr ? 300 : std::atoi(text);
}

// Keeps a thousand tasks under way: most of them tiny, some of a few milliseconds, a few that
// leave a process behind, and a few that outlast a worker's grace: who went on with one of
// these after his worker's death would be seen to run beside the next.
class Load {
 public:
  explicit Load(const std::string& url)
      : client_(url, {.timeout = kPatience, .unavailable_after = kPatience}),
        pool_(client_, "q", {.max_crashes = 1000, .retry_delay = 1ms, .window = 1000}),
        stream_(pool_.stream("witness", false)),
        thread_([this] { Run(); }) {}
  ~Load() { Finish(); }

  uint64_t ended() const { return ended_; }
  // Waits for all that was submitted.
  void Finish() {
    submitting_ = false;
    if (thread_.joinable()) thread_.join();
  }
  // After Finish: by the number of the task.
  const std::vector<std::vector<Outcome>>& outcomes() const { return outcomes_; }

 private:
  void Run() {
    for (;;) {
      while (submitting_ && stream_.has_room()) {
        const uint64_t number = stream_.submitted();
        const int ms = number % 397 == 0 ? 700 : number % 7 == 0 ? 3 : 0;
        stream_.submit(PackArgs(number, ms, number % 301 == 0), kMsgpackType, true);
        outcomes_.emplace_back();
      }
      stream_.flush();
      if (!submitting_) stream_.close();
      auto outcome = stream_.next();
      if (!outcome) return;
      outcomes_.at(outcome->index).push_back(*std::move(outcome));
      ++ended_;
    }
  }

  Client client_;
  Pool pool_;
  TaskStream stream_;
  std::vector<std::vector<Outcome>> outcomes_;
  std::atomic<bool> submitting_{true};
  std::atomic<uint64_t> ended_{0};
  std::thread thread_;
};

class Kills : public ::testing::Test {
 protected:
  struct Member {
    Program program;
    uint32_t number = 0;
    uint64_t begun = 0;  // when it was hit last
  };

  void StartFleet(int members) {
    for (int i = 0; i < members; ++i) fleet_.push_back(StartMember());
  }

  // Does not wait until it serves: the others do meanwhile.
  Member StartMember() {
    ::setenv(kWitnessMember, std::to_string(++members_).c_str(), 1);
    return {Program({"joinq-worker", "-u", broker_.url(), "-Q", "q", "-c", "2", "--module",
                     BuildDirectory() + "/tests/witness_module.so", "--log-level", "off"}),
            members_, 0};
  }

  // Hits one member after the other, each when it has run some tasks since its last time.
  // `hit` says whether it killed something.
  void KillUnderLoad(const std::function<bool(Member&)>& hit) {
    const int wanted = KillsWanted();
    const auto begin = Clock::now();
    Load load(broker_.url());
    int kills = 0;
    for (size_t turn = 0; kills < wanted; ++turn) {
      Member& member = fleet_[turn % fleet_.size()];
      const uint64_t goal = member.begun + 1 + random_() % 20;
      ASSERT_TRUE(Eventually(
          [&] {
            census_.Look(Programs());
            return files_.begun(member.number) >= goal || !member.program.running();
          },
          kPatience))
          << "worker " << member.number << " does not go on after " << kills << " kills";
      kills += hit(member);
      if (HasFatalFailure()) return;
      member.begun = files_.begun(member.number);
    }
    load.Finish();
    std::cout << "[ killed   ] " << kills << " in " << FMillis(Clock::now() - begin).count() / 1000 << " s\n";
    CheckTasks(load, kills);
    CheckProcesses();
  }

  void CheckTasks(const Load& load, int kills) {
    struct Runs {
      std::set<Token> ended;
      Token newest;
      uint32_t begun = 0;
    };
    std::map<uint64_t, Runs> tasks;
    uint64_t cut = 0, overlaps = 0, twice = 0;
    for (const RunRecord& run : files_.Runs()) {
      Runs& runs = tasks[run.number];
      const Token token{run.epoch, run.sequence};
      if (run.kind == RunRecord::kBegin) ++runs.begun;
      if (run.kind == RunRecord::kEnd) runs.ended.insert(token);
      runs.newest = std::max(runs.newest, token);
      if (run.kind != RunRecord::kOverlap) continue;
      ++overlaps;
      ADD_FAILURE() << "task " << run.number << " runs in process " << run.pid << " with lease " << run.epoch
                    << "-" << run.sequence << " while it still runs in process " << run.other;
    }
    const auto& outcomes = load.outcomes();
    uint64_t lost = 0, doubled = 0, wrong = 0, late = 0;
    for (size_t number = 0; number < outcomes.size(); ++number) {
      lost += outcomes[number].empty();
      doubled += outcomes[number].size() > 1;
      const Runs& runs = tasks[number];
      cut += runs.begun - std::min<size_t>(runs.begun, runs.ended.size());
      twice += runs.ended.size() > 1;
      for (const Outcome& outcome : outcomes[number]) {
        ASSERT_TRUE(outcome.succeeded) << number << ": " << outcome.message;
        Token token;
        const auto text = outcome.as<std::string>();
        wrong += std::sscanf(text.c_str(), "%lu %lu", &token.first, &token.second) != 2 ||
                 !runs.ended.contains(token);
        late += token < runs.newest;
      }
    }
    std::cout << "[ tasks    ] " << outcomes.size() << ", " << lost << " lost, " << doubled
              << " with two outcomes, " << wrong << " with a result of no run, " << late
              << " handed out after their completion, " << overlaps << " ran twice at once; " << cut
              << " runs were cut short, " << twice << " ran to the end again\n";
    EXPECT_EQ(lost, 0u);
    EXPECT_EQ(doubled, 0u);
    EXPECT_EQ(wrong, 0u);
    EXPECT_EQ(late, 0u);
    // Else the kills met idle processes.
    EXPECT_GE(cut, static_cast<uint64_t>(kills) / 4);
    Client client(broker_.url());
    client.open_joinable_queue("q").join(kPatience);
    const QueueStats stats = client.queue_info("q").stats;
    EXPECT_EQ(stats.put_total, outcomes.size());
    EXPECT_EQ(stats.done_total, outcomes.size());
    EXPECT_EQ(stats.dead, 0u);
  }

  // None but those of the workers that live, and none when these have ended.
  void CheckProcesses() {
    const auto programs = Programs();
    EXPECT_TRUE(Eventually([&] {
      census_.Look(programs);
      return Census::Zombies(programs).empty() && census_.Orphans(programs).empty();
    }));
    // What tasks of dead children left behind in sessions of their own.
    const auto strangers = [&] {
      std::vector<pid_t> found;
      for (const Member& member : fleet_) {
        for (pid_t zygote : PoolZygotes(member.program.pid())) {
          for (pid_t pid : ChildrenOf(zygote)) {
            if (::getsid(pid) != ::getsid(0)) found.push_back(pid);
          }
        }
      }
      return found;
    };
    EXPECT_TRUE(Eventually([&] { return strangers().empty(); }));
    std::cout << "[ serving  ] " << strangers().size() << " strangers, " << Census::Zombies(programs).size()
              << " zombies, " << census_.Orphans(programs).size() << " orphans, " << census_.adopted()
              << " processes adopted by this one, no zombie seen for more than "
              << census_.longest_zombie().count() << " ms\n";
    EXPECT_LT(census_.longest_zombie(), 5s);
    for (Member& member : fleet_) {
      // Of zygotes that died nothing is left.
      const auto keepers = ChildrenOf(member.program.pid());
      EXPECT_EQ(keepers.size(), 1u);
      EXPECT_TRUE(Eventually([&] { return keepers.empty() || ChildrenOf(keepers[0]).size() == 1; }));
      member.program.Signal(SIGTERM);
      EXPECT_EQ(member.program.Wait(), 0) << "worker " << member.number;
    }
    const std::vector<const Program*> broker = {&broker_.program()};
    census_.Look(broker);
    size_t left = 0;
    for (pid_t pid : ChildrenOf(::getpid())) left += pid != broker_.program().pid();
    std::cout << "[ stopped  ] " << left << " processes left, " << census_.adopted() << " adopted\n";
    EXPECT_EQ(left, 0u);
    EXPECT_EQ(census_.adopted(), adopted_wanted_) << "orphans came up to this process";
  }

  std::vector<const Program*> Programs() {
    std::vector<const Program*> programs = {&broker_.program()};
    for (const Member& member : fleet_) programs.push_back(&member.program);
    return programs;
  }

  TempDirectory directory_;
  WitnessFiles files_{directory_.path()};
  Census census_;
  BrokerProcess broker_{{"--worker-grace", "0.5", "--log-level", "error"}};
  std::deque<Member> fleet_;
  uint32_t members_ = 0;
  size_t adopted_wanted_ = 0;
  std::mt19937 random_{std::random_device{}()};
};

// What the kills' tests stand on.
TEST(Witness, SeesATaskThatRunsInTwoProcesses) {
  TempDirectory directory;
  WitnessFiles files(directory.path());
  int told[2];
  ASSERT_EQ(::pipe(told), 0);
  const pid_t other = ::fork();
  if (other == 0) {
    Witness witness;
    for (uint64_t number : {7, 8}) witness.Begin({.number = number});
    witness.End({.number = 8});
    (void)!::write(told[1], "", 1);
    for (;;) ::pause();
  }
  char byte;
  ASSERT_EQ(::read(told[0], &byte, 1), 1);
  {
    Witness witness;
    EXPECT_FALSE(witness.Begin({.number = 7}));
    EXPECT_TRUE(witness.Begin({.number = 8}));
  }
  const auto runs = files.Runs();
  ASSERT_EQ(runs.size(), 6u);
  EXPECT_EQ(runs[4].kind, RunRecord::kOverlap);
  EXPECT_EQ(runs[4].number, 7u);
  EXPECT_EQ(runs[4].other, other);
  ::kill(other, SIGKILL);
  ::waitpid(other, nullptr, 0);
  EXPECT_TRUE(Witness().Begin({.number = 7})) << "a dead process holds it";
  for (int fd : told) ::close(fd);
}

TEST_F(Kills, OfChildrenLoseNothingAndLeaveNothing) {
  StartFleet(2);
  KillUnderLoad([&](Member& member) {
    for (pid_t zygote : PoolZygotes(member.program.pid())) {
      // Not the strangers, which are in groups of others.
      auto children = ChildrenOf(zygote);
      std::erase_if(children, [](pid_t pid) { return ::getpgid(pid) != pid || IsZombie(pid); });
      if (!children.empty()) return ::kill(children[random_() % children.size()], SIGKILL) == 0;
    }
    return false;
  });
}

TEST_F(Kills, OfZygotesLoseNothingAndLeaveNothing) {
  StartFleet(3);
  KillUnderLoad([&](Member& member) {
    bool killed = false;
    for (pid_t zygote : PoolZygotes(member.program.pid())) {
      // Not a stranger, which has a session of its own.
      if (::getsid(zygote) == ::getsid(0) && !IsZombie(zygote)) killed = ::kill(zygote, SIGKILL) == 0;
    }
    return killed;
  });
}

TEST_F(Kills, OfWorkersLoseNothingAndLeaveNothing) {
  StartFleet(3);
  std::vector<double> ends_ms;
  KillUnderLoad([&](Member& member) {
    const auto tree = Descendants(member.program.pid());
    const auto at = Clock::now();
    member.program.Signal(SIGKILL);
    member.program.Wait();
    // Its processes come to this one, the keeper first, and end by themselves.
    EXPECT_TRUE(Eventually([&] {
      census_.Look(Programs());
      return std::all_of(tree.begin(), tree.end(),
                         [](pid_t pid) { return ::kill(pid, 0) != 0 || IsZombie(pid); });
    })) << "a process outlives its worker";
    ends_ms.push_back(FMillis(Clock::now() - at).count());
    ++adopted_wanted_;  // the keeper
    member = StartMember();
    return true;
  });
  std::sort(ends_ms.begin(), ends_ms.end());
  ASSERT_FALSE(ends_ms.empty());
  std::cout << "[ seen     ] a killed worker's last process ended after " << ends_ms[ends_ms.size() / 2]
            << " ms (median), " << ends_ms.back() << " ms (longest)\n";
}

}  // namespace
}  // namespace joinq::testing
