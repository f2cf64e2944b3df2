// joinq get QUEUE|-Q QUEUE=WEIGHT,...
#include <algorithm>

#include "client/cli/cli.h"
#include "client/cli/printing.h"

namespace joinq::cli {
namespace {

constexpr uint64_t kBatchMax = 100;

struct Options {
  std::string queue;
  std::string queues;  // several of them, with weights
  double timeout = 0;
  double lease = 0;
  bool ack = false;
  uint64_t count = 1;
};

// `text` is NAME[=WEIGHT],...
std::vector<WeightedQueue> ParseQueues(const std::string& text) {
  std::vector<WeightedQueue> queues;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    begin = end + 1;
    const size_t equals = std::min(word.find('='), word.size());
    WeightedQueue queue{word.substr(0, equals)};
    if (equals < word.size()) {
      std::string weight = word.substr(equals + 1);
      const std::string mistake = WholeNumber(1, 1000)(weight);
      if (!mistake.empty()) throw UsageError("--queues: the weight of \"" + queue.name + "\" " + mistake);
      queue.weight = static_cast<uint32_t>(std::stoul(weight));
    }
    if (queue.name.empty()) throw UsageError("--queues: must be QUEUE=WEIGHT,..., not \"" + text + "\"");
    queues.push_back(std::move(queue));
  }
  return queues;
}

std::vector<WeightedQueue> QueuesOf(const Options& options) {
  if (options.queue.empty() == options.queues.empty())
    throw UsageError("get: give either QUEUE or --queues QUEUE=WEIGHT,...");
  return options.queues.empty() ? std::vector<WeightedQueue>{{options.queue}} : ParseQueues(options.queues);
}

// The leases have an end of their own: this process ends before the work does.
std::vector<Task> Take(Cli* cli, const std::vector<WeightedQueue>& queues, const Options& options,
                       uint32_t count, Millis timeout) {
  if (options.ack) count = 1;  // so that none is lost with an answer that does not arrive
  const Millis lease = ToMillis("--lease", options.lease);
  if (options.queues.empty() && options.ack)
    return {cli->client().open_queue(options.queue).get_task(timeout)};
  if (options.queues.empty())
    return cli->client().open_joinable_queue(options.queue).get_batch(count, timeout, lease);
  return cli->client().get_any_batch(queues, count, {.timeout = timeout, .lease = lease, .ack = options.ack});
}

void Get(Cli* cli, const Options& options, Millis timeout) {
  const std::vector<WeightedQueue> queues = QueuesOf(options);
  uint64_t taken = 0;
  while (taken < options.count) {
    std::vector<Task> tasks;
    try {
      tasks = Take(cli, queues, options, static_cast<uint32_t>(std::min(kBatchMax, options.count - taken)),
                   timeout);
    } catch (const Empty&) {
      if (taken == 0) throw;
      return;
    } catch (const Closed&) {
      if (taken == 0) throw;
      return;
    }
    taken += tasks.size();
    timeout = Millis(0);  // waits for the first only
    for (const Task& task : tasks) {
      cli->json ? PrintLine(ToJson(task)) : Print(PayloadLine(task.payload(), task.content_type()));
    }
    std::fflush(stdout);
  }
}

}  // namespace

void AddGetCommand(CLI::App* app, Cli* cli) {
  auto options = std::make_shared<Options>();
  CLI::App* get = app->add_subcommand("get", "Take a task and print its payload; with --json its lease too")
                      ->group(kTasksGroup);
  Example(get, "joinq get images --json --lease 300");
  get->add_option("QUEUE", options->queue, "The queue's name");
  get->add_option("-Q,--queues", options->queues,
                  "Several instead, QUEUE=WEIGHT,...: each is chosen as often as its weight says");
  CLI::Option* timeout =
      get->add_option("--timeout", options->timeout, "Seconds to wait; for ever if not given, 0: not at all");
  get->add_flag("--ack", options->ack, "Finish it with that: no lease");
  get->add_option("--lease", options->lease, "Seconds of the lease; 0: the queue's");
  AddUnsigned(get, "-n,--count", &options->count, "Take up to so many; waits for the first only", 1)
      ->capture_default_str();
  Cli::OnRun(get, [=] { Get(cli, *options, TimeoutOf(timeout, options->timeout)); });
}

}  // namespace joinq::cli
