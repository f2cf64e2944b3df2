// joinq dead list|retry|purge QUEUE
#include <fmt/core.h>

#include "client/cli/cli.h"
#include "client/cli/printing.h"
#include "client/cli/times.h"

namespace joinq::cli {
namespace {

constexpr size_t kErrorShown = 60;

struct Options {
  std::string queue;
  std::vector<std::string> ids;
  uint64_t limit = 0;
  uint32_t count = 100;
};

CLI::App* AddVerb(CLI::App* group, const char* verb, const char* help, std::shared_ptr<Options> options) {
  CLI::App* command = group->add_subcommand(verb, help);
  command->add_option("QUEUE", options->queue, "The queue's name")->required();
  return command;
}

void List(Cli* cli, const Options& options) {
  const auto tasks = TakePages(cli, {.queue = options.queue, .state = TaskState::dead}, 0, options.count);
  if (cli->json) return PrintLine(ToJson(tasks, false));
  std::vector<std::vector<std::string>> rows = {
      {"ID", "HANDLER", "OUTCOME", "ATTEMPTS", "CRASHES", "SINCE", "ERROR"}};
  for (const auto& task : tasks) {
    rows.push_back({std::to_string(task.id), Cut(task.handler, kErrorShown),
                    task.ending ? to_string(*task.ending) : "-", std::to_string(task.attempts),
                    std::to_string(task.crashes), task.when ? TimeText(*task.when) : "-",
                    Cut(task.error_message, kErrorShown)});
  }
  PrintTable(rows);
}

// Retries the named tasks; all of them must be dead ones of the queue, or nothing is done.
uint64_t RetryNamed(Cli* cli, const Options& options) {
  std::vector<uint64_t> ids;
  for (const std::string& id : options.ids) ids.push_back(std::stoull(id));
  for (uint64_t id : ids) {
    const TaskInfo task = cli->client().task_info(id);
    if (task.queue != options.queue || task.state != TaskState::dead) {
      throw Refused(fmt::format("task {} is no dead task of queue \"{}\": it is {} in queue \"{}\"", id,
                                options.queue, to_string(task.state), task.queue));
    }
  }
  for (uint64_t id : ids) cli->client().retry(id);
  return ids.size();
}

void Retry(Cli* cli, const Options& options) {
  const uint64_t retried = options.ids.empty()
                               ? cli->client().open_queue(options.queue).retry_dead(options.limit)
                               : RetryNamed(cli, options);
  if (cli->json) return PrintLine({{"retried", retried}});
  Print(fmt::format("{}\n", retried));
}

void Purge(Cli* cli, const Options& options) {
  const uint64_t purged = cli->client().open_queue(options.queue).purge_dead();
  if (cli->json) return PrintLine({{"purged", purged}});
  Print(fmt::format("{}\n", purged));
}

}  // namespace

void AddDeadCommands(CLI::App* app, Cli* cli) {
  auto options = std::make_shared<Options>();
  CLI::App* group = app->add_subcommand("dead", "Tasks that failed or crashed for good: list, retry, purge")
                        ->group(kQueuesGroup)
                        ->require_subcommand(1)
                        ->fallthrough();

  CLI::App* list = AddVerb(group, "list", "List the dead tasks of a queue, the oldest first", options);
  AddUnsigned(list, "-n,--count", &options->count, "At most so many", 1, kWindowMax)->capture_default_str();
  Cli::OnRun(Example(list, "joinq dead list images"), [=] { List(cli, *options); });

  CLI::App* retry =
      AddVerb(group, "retry", "Make dead tasks ready again with fresh budgets; prints how many", options);
  CLI::Option* ids = retry->add_option("ID", options->ids, "Only these; otherwise all")
                         ->transform(WholeNumber(1, std::numeric_limits<uint64_t>::max()));
  AddUnsigned(retry, "--limit", &options->limit, "Only the oldest so many; 0: all")->excludes(ids);
  Cli::OnRun(Example(retry, "joinq dead retry images --limit 10"), [=] { Retry(cli, *options); });

  CLI::App* purge = AddVerb(group, "purge", "Forget the dead tasks of a queue; prints how many", options);
  Cli::OnRun(Example(purge, "joinq dead purge images"), [=] { Purge(cli, *options); });
}

}  // namespace joinq::cli
