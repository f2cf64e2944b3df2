// joinq bench: how many no-op tasks a second, and how long one takes.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <thread>

#include "client/cli/bench_rig.h"
#include "client/cli/cli.h"
#include "client/cli/line_reader.h"
#include "client/cli/printing.h"
#include "client/cli/progress.h"

namespace joinq::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr char kHandler[] = "joinq.noop";
constexpr uint64_t kTasksMax = 1'000'000'000;
constexpr size_t kLatencySamples = 2000;
constexpr auto kLatencyTime = std::chrono::seconds(2);
constexpr auto kWorkerTime = std::chrono::seconds(20);
constexpr auto kPoll = std::chrono::milliseconds(5);

struct Options {
  bool self = false;
  bool memory = false;
  std::string queue = kDefaultQueue;
  uint64_t tasks = 100'000;
  size_t size = 100;
  uint32_t window = 8192;
  uint64_t warmup = 5'000;
};

double SecondsSince(Clock::time_point began) {
  return std::chrono::duration<double>(Clock::now() - began).count();
}

void AwaitWorker(Client& client, const std::string& queue, BenchRig* rig) {
  const auto deadline = Clock::now() + kWorkerTime;
  while (true) {
    for (const WorkerInfo& worker : client.workers()) {
      const bool serves = std::find(worker.queues.begin(), worker.queues.end(), queue) != worker.queues.end();
      if (serves && worker.state == "alive" && worker.children > 0) return;
    }
    if (rig != nullptr) rig->Check();
    if (Clock::now() >= deadline) throw Timeout(fmt::format("no worker serves queue \"{}\"", queue));
    std::this_thread::sleep_for(kPoll);
  }
}

// Every outcome is checked; the seconds from the first submit to the last outcome.
double RunTasks(Pool& pool, uint64_t tasks, const std::string& payload) {
  TaskStream stream = pool.stream(kHandler, false);
  Progress progress;
  std::vector<bool> seen(tasks);
  uint64_t submitted = 0;
  uint64_t done = 0;
  const auto began = Clock::now();
  while (done < tasks) {
    while (submitted < tasks && !stream.has_outcome() && stream.has_room()) {
      stream.submit(payload, {}, true);
      ++submitted;
    }
    stream.flush();
    auto outcome = stream.next();
    outcome->throw_if_failed();
    if (outcome->index >= tasks || seen[outcome->index]) {
      throw Error(fmt::format("bench: task {} has ended twice", outcome->task_id));
    }
    seen[outcome->index] = true;
    ++done;
    if (done % 1024 == 0) progress.Show(done, tasks, 0);
  }
  const double seconds = SecondsSince(began);
  progress.Clear();
  return seconds;
}

std::vector<double> RunOneByOne(Pool& pool, const std::string& payload) {
  std::vector<double> micros;
  const auto end = Clock::now() + kLatencyTime;
  while (micros.size() < kLatencySamples && (Clock::now() < end || micros.empty())) {
    const auto began = Clock::now();
    pool.apply_raw(kHandler, payload).outcome().throw_if_failed();
    micros.push_back(SecondsSince(began) * 1e6);
  }
  std::sort(micros.begin(), micros.end());
  return micros;
}

Json Measure(Client& client, const Options& options, BenchRig* rig) {
  AwaitWorker(client, options.queue, rig);
  PoolOptions pool_options;
  pool_options.window = options.window;
  pool_options.create_queue = false;
  Pool pool(client, options.queue, pool_options);
  const std::string payload(options.size, 'x');
  RunTasks(pool, std::min(options.warmup, options.tasks), payload);

  const auto before = rig ? rig->CpuMicros() : std::map<std::string, double>{};
  const double seconds = RunTasks(pool, options.tasks, payload);
  const auto after = rig ? rig->CpuMicros() : std::map<std::string, double>{};
  const auto latencies = RunOneByOne(pool, payload);

  Json json{{"tasks", options.tasks},
            {"size", options.size},
            {"seconds", seconds},
            {"tasks_per_s", static_cast<double>(options.tasks) / seconds},
            {"p50_us", latencies[latencies.size() / 2]},
            {"p99_us", latencies[latencies.size() * 99 / 100]},
            {"durability", client.queue_info(options.queue).durability},
            {"latency_samples", latencies.size()}};
  for (const auto& [who, micros] : after) {
    json["cpu_us_per_task"][who] = (micros - before.at(who)) / static_cast<double>(options.tasks);
  }
  return json;
}

void Report(Cli* cli, const Json& json) {
  if (cli->json) return PrintLine(json);
  Print(fmt::format("{} tasks of {} bytes in {:.3f} s: {:.0f} tasks/s, {}\n", json["tasks"].get<uint64_t>(),
                    json["size"].get<uint64_t>(), json["seconds"].get<double>(),
                    json["tasks_per_s"].get<double>(), json["durability"].get<std::string>()));
  Print(fmt::format("one at a time: p50 {:.0f} us, p99 {:.0f} us\n", json["p50_us"].get<double>(),
                    json["p99_us"].get<double>()));
  if (!json.contains("cpu_us_per_task")) return;
  for (const auto& [who, micros] : json["cpu_us_per_task"].items()) {
    Print(fmt::format("CPU of the {}: {:.2f} us a task\n", who, micros.get<double>()));
  }
}

void Bench(Cli* cli, Options options) {
  if (!options.self) {
    if (options.memory) throw UsageError("--memory: goes with --self only");
    return Report(cli, Measure(cli->client(), options, nullptr));
  }
  options.queue = BenchRig::kQueue;
  InterruptGuard guard;
  BenchRig rig(options.memory);
  const auto protection = guard.Protect(&rig);
  Json json;
  try {
    ClientOptions client_options;
    client_options.unavailable_after = Millis(5'000);
    client_options.name = "joinq bench";
    Client client(rig.url(), client_options);
    client.create_queue(options.queue);
    json = Measure(client, options, &rig);
  } catch (const Unavailable&) {
    rig.Check();  // says more
    throw;
  }
  Report(cli, json);
}

}  // namespace

void AddBenchCommand(CLI::App* app, Cli* cli) {
  auto options = std::make_shared<Options>();
  CLI::App* bench =
      app->add_subcommand("bench", "Measure no-op tasks from submit to result")->group(kBrokerGroup);
  Example(bench, "joinq bench --self --tasks 200000");
  bench->add_flag("--self", options->self,
                  "With a broker and a worker (two children) of its own, gone afterwards");
  bench->add_flag("--memory", options->memory, "With --self: a broker that keeps nothing on disk");
  bench->add_option("-Q,--queue", options->queue, "Without --self: a queue with a worker")
      ->capture_default_str();
  AddUnsigned(bench, "--tasks", &options->tasks, "How many tasks", 1, kTasksMax)->capture_default_str();
  AddUnsigned(bench, "--size", &options->size, "Bytes of a payload", 0, LineReader::kLineBytesMax)
      ->capture_default_str();
  AddUnsigned(bench, "--window", &options->window, "Tasks under way at a time", 1, kWindowMax)
      ->capture_default_str();
  AddUnsigned(bench, "--warmup", &options->warmup, "Tasks before the clock starts", 0, kTasksMax)
      ->capture_default_str();
  Cli::OnRun(bench, [=] { Bench(cli, *options); });
}

}  // namespace joinq::cli
