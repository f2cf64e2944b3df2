// How many no-op tasks a second the worker takes, and what that costs it in CPU:
// worker_flood [TASKS] [CHILDREN] [PAYLOAD_BYTES] [HANDLER]. Not a test.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "tests/worker/fake_broker.h"
#include "tests/worker/worker_process.h"

namespace {

double CpuSeconds(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  std::getline(file, line);
  std::istringstream rest(line.substr(line.rfind(')') + 2));
  std::string word;
  double user = 0, system = 0;
  for (int i = 3; rest >> word; ++i) {
    if (i == 14) user = std::stod(word);
    if (i == 15) system = std::stod(word);
  }
  return (user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

}  // namespace

int main(int argc, char** argv) {
  const int tasks = argc > 1 ? std::atoi(argv[1]) : 500'000;
  const std::string children = argc > 2 ? argv[2] : "2";
  const std::string payload(argc > 3 ? std::strtoul(argv[3], nullptr, 10) : 100, 'x');
  const std::string handler = argc > 4 ? argv[4] : "joinq.noop";
  joinq::FakeBroker broker;
  broker.keep_completions = false;
  joinq::WorkerProcess worker(
      {"-u", broker.address(), "--autoscale", children + "," + children, "-l", "warn"});
  if (!broker.WaitConnected()) return 1;
  for (int round = 0; round < 3; ++round) {
    const auto keepers = joinq::ChildrenOf(worker.pid());
    const auto zygotes = joinq::ChildrenOf(keepers.at(0));
    const auto pids = joinq::ChildrenOf(zygotes.at(0));
    auto cpu_children = [&] {
      double sum = 0;
      for (pid_t pid : pids) sum += CpuSeconds(pid);
      return sum;
    };
    const double daemon_before = CpuSeconds(worker.pid()), children_before = cpu_children();
    const double self_before = CpuSeconds(getpid());
    const uint64_t goal = broker.Snapshot().completed + static_cast<uint64_t>(tasks);
    const uint64_t messages = broker.Snapshot().messages;
    const auto start = std::chrono::steady_clock::now();
    broker.PutMany(handler, payload, tasks);
    if (!broker.WaitFor([&] { return broker.state().completed >= goal; }, absl::Seconds(120))) return 1;
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    const double us = 1e6 / tasks;
    std::printf(
        "%.0f tasks/s; CPU us a task: daemon %.2f, children %.2f, broker %.2f; %.0f tasks a message\n",
        tasks / seconds, (CpuSeconds(worker.pid()) - daemon_before) * us,
        (cpu_children() - children_before) * us, (CpuSeconds(getpid()) - self_before) * us,
        tasks / static_cast<double>(broker.Snapshot().messages - messages));
  }
}
