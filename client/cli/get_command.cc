// joinq get QUEUE
#include <algorithm>

#include "client/cli/cli.h"
#include "client/cli/printing.h"

namespace joinq::cli {
namespace {

constexpr uint64_t kBatchMax = 100;

struct Options {
  std::string queue;
  double timeout = 0;
  double lease = 0;
  bool ack = false;
  uint64_t count = 1;
};

std::vector<Task> Take(Cli* cli, const Options& options, uint32_t count, Millis timeout) {
  if (options.ack) return {cli->client().open_queue(options.queue).get_task(timeout)};
  return cli->client()
      .open_joinable_queue(options.queue)
      .get_batch(count, timeout, ToMillis("--lease", options.lease));
}

void Get(Cli* cli, const Options& options, Millis timeout) {
  uint64_t taken = 0;
  while (taken < options.count) {
    std::vector<Task> tasks;
    try {
      tasks = Take(cli, options, static_cast<uint32_t>(std::min(kBatchMax, options.count - taken)), timeout);
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
  CLI::App* get = app->add_subcommand("get", "Take a task and print its payload; with --json its lease too");
  get->add_option("QUEUE", options->queue, "The queue's name")->required();
  CLI::Option* timeout =
      get->add_option("--timeout", options->timeout, "Seconds to wait; for ever if not given, 0: not at all");
  get->add_flag("--ack", options->ack, "Finish it with that: no lease");
  get->add_option("--lease", options->lease, "Seconds of the lease; 0: the queue's");
  AddUnsigned(get, "-n,--count", &options->count, "Take up to so many; waits for the first only", 1)
      ->capture_default_str();
  Cli::OnRun(get, [=] { Get(cli, *options, TimeoutOf(timeout, options->timeout)); });
}

}  // namespace joinq::cli
