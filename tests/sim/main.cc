// joinq_sim: runs simulated worlds, each in a process of its own, so that one that
// crashes is a failure like any other and memory lies the same for each.
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "CLI/CLI.hpp"
#include "spdlog/spdlog.h"
#include "tests/sim/world.h"

namespace {

using joinq::sim::Options;
using joinq::sim::Totals;
using joinq::sim::Verdict;

// What a world tells its parent; in memory that both see.
struct Report {
  uint64_t step;
  Totals totals;
  bool finished;
  char problem[1000];
};

// Tables that hash by addresses are walked in the same order then.
void FixAddresses(char** argv) {
  const int old = personality(0xffffffff);
  if (old == -1 || (old & ADDR_NO_RANDOMIZE) != 0) return;
  if (personality(static_cast<unsigned long>(old) | ADDR_NO_RANDOMIZE) == -1) return;
  execv("/proc/self/exe", argv);
}

void RunWorld(uint64_t seed, Options options, Report* report) {
  alarm(120);  // a world that hangs is a failure
  options.progress = &report->step;
  const Verdict verdict = joinq::sim::RunSeed(seed, options);
  report->step = verdict.step;
  report->totals = verdict.totals;
  std::strncpy(report->problem, verdict.problem.c_str(), sizeof(report->problem) - 1);
  report->finished = true;
}

class Runner {
 public:
  Runner(const Options& options, size_t jobs) : options_(options), slots_(jobs) {
    const size_t bytes = sizeof(Report) * jobs;
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    reports_ = static_cast<Report*>(memory);
  }

  bool Run(uint64_t first, uint64_t seeds) {
    for (uint64_t n = 0; n < seeds; ++n) {
      if (running_.size() == slots_.size()) Reap();
      Start(first + n);
    }
    while (!running_.empty()) Reap();
    return failures_ == 0;
  }
  const Totals& totals() const { return totals_; }
  uint64_t failures() const { return failures_; }

 private:
  void Start(uint64_t seed) {
    size_t slot = 0;
    while (slots_[slot]) ++slot;
    slots_[slot] = true;
    Report* report = &reports_[slot];
    std::memset(static_cast<void*>(report), 0, sizeof(Report));
    std::fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
      const rlimit no_core{0, 0};
      setrlimit(RLIMIT_CORE, &no_core);
      RunWorld(seed, options_, report);
      std::fflush(stdout);
      _exit(0);
    }
    if (child < 0) {
      std::perror("fork");
      std::exit(2);
    }
    running_[child] = {seed, slot};
  }
  void Reap() {
    int status = 0;
    const pid_t child = wait(&status);
    auto it = running_.find(child);
    if (it == running_.end()) return;
    const auto [seed, slot] = it->second;
    running_.erase(it);
    slots_[slot] = false;
    Report& report = reports_[slot];
    if (report.finished && report.problem[0] == '\0') {
      totals_.Add(report.totals);
      return;
    }
    ++failures_;
    if (failures_ > 50) return;
    const std::string what = report.finished ? report.problem
                             : WIFSIGNALED(status)
                                 ? std::string("ended by signal ") + strsignal(WTERMSIG(status))
                                 : "ended early";
    std::printf("FAILED seed %llu, step %llu: %s\n", static_cast<unsigned long long>(seed),
                static_cast<unsigned long long>(report.step), what.c_str());
  }

  const Options options_;
  std::vector<bool> slots_;
  Report* reports_ = nullptr;
  std::map<pid_t, std::pair<uint64_t, size_t>> running_;
  Totals totals_;
  uint64_t failures_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  FixAddresses(argv);
  spdlog::set_level(spdlog::level::off);
  CLI::App app{"Simulates a broker, its disk, its clients and a bad day, from a seed."};
  uint64_t seeds = 0, first = 1, seed = 0;
  size_t jobs = std::max(1u, std::thread::hardware_concurrency());
  Options options;
  auto* many = app.add_option("--seeds", seeds, "run so many seeds")->check(CLI::PositiveNumber);
  app.add_option("--first", first, "the first of them")->needs(many);
  app.add_option("--seed", seed, "run this one and trace it")->excludes(many);
  app.add_option("--steps", options.steps, "of trouble in each world")->capture_default_str();
  app.add_option("--jobs", jobs, "worlds at a time")->check(CLI::PositiveNumber);
  CLI11_PARSE(app, argc, argv);
  if (seeds == 0 && seed == 0) {
    std::fprintf(stderr, "joinq_sim: give --seeds or --seed\n");
    return 2;
  }
  options.trace = seeds == 0;
  const auto begin = std::chrono::steady_clock::now();
  Runner runner(options, seeds == 0 ? 1 : jobs);
  const bool ok = seeds == 0 ? runner.Run(seed, 1) : runner.Run(first, seeds);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const Totals& totals = runner.totals();
  std::printf("sim: %s; %.1f s, %.1f seeds/s\n", totals.Text().c_str(), seconds,
              static_cast<double>(totals.seeds + runner.failures()) / seconds);
  if (!ok) {
    std::printf("sim: %llu seed(s) failed; replay one with ./dev sim --seed S\n",
                static_cast<unsigned long long>(runner.failures()));
    return 1;
  }
  if (totals.seeds < 50) return 0;  // too few to judge what was seen
  if (const std::string little = totals.TooLittle(); !little.empty()) {
    std::printf("sim: FAILED: saw too little: %s\n", little.c_str());
    return 1;
  }
  return 0;
}
