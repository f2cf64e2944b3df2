// joinq queue create|list|stats|close|purge|delete, joinq join
#include <fmt/core.h>

#include "client/cli/cli.h"
#include "client/cli/printing.h"

namespace joinq::cli {
namespace {

struct Options {
  std::string name;
  uint64_t maxsize = 0;
  double lease = 0;
  bool force = false;
  double timeout = 0;
};

void List(Cli* cli, const std::string& prefix) {
  const auto queues = cli->client().list_queues(prefix);
  if (cli->json) {
    Json all = Json::array();
    for (const auto& queue : queues) all.push_back(ToJson(queue));
    return PrintLine(all);
  }
  std::vector<std::vector<std::string>> rows = {
      {"NAME", "READY", "DELAYED", "LEASED", "UNFINISHED", "MAXSIZE", "DONE", "DEAD", "STATE"}};
  for (const auto& queue : queues) {
    const auto& stats = queue.stats;
    rows.push_back({queue.name, std::to_string(stats.ready), std::to_string(stats.delayed),
                    std::to_string(stats.leased), std::to_string(stats.unfinished),
                    queue.options.maxsize == 0 ? "-" : std::to_string(queue.options.maxsize),
                    std::to_string(stats.done_total), std::to_string(stats.dead),
                    queue.closed ? "closed" : "open"});
  }
  PrintTable(rows);
}

void Stats(Cli* cli, const std::string& name) {
  const Json stats = ToJson(cli->client().queue_info(name));
  if (cli->json) return PrintLine(stats);
  std::vector<std::vector<std::string>> rows;
  for (const auto& [key, value] : stats.items()) {
    rows.push_back({key, value.is_string() ? value.get<std::string>() : Dump(value)});
  }
  PrintTable(rows);
}

CLI::App* AddVerb(CLI::App* group, const char* verb, const char* help, std::shared_ptr<Options> options) {
  CLI::App* command = group->add_subcommand(verb, help);
  command->add_option("QUEUE", options->name, "The queue's name")->required();
  return command;
}

}  // namespace

void AddQueueCommands(CLI::App* app, Cli* cli) {
  auto options = std::make_shared<Options>();
  CLI::App* group =
      app->add_subcommand("queue", "Make, see and remove queues")->require_subcommand(1)->fallthrough();

  CLI::App* create =
      AddVerb(group, "create", "Create a queue; repeating it with the same options is fine", options);
  AddUnsigned(create, "--maxsize", &options->maxsize, "Most tasks that may wait; 0: no bound");
  create->add_option("--lease", options->lease, "Seconds of a lease whose get names none; 0: the default");
  Cli::OnRun(create, [=] {
    const auto info = cli->client().create_queue(
        options->name, {.maxsize = options->maxsize, .lease = ToMillis("--lease", options->lease)});
    if (cli->json) PrintLine(ToJson(info));
  });

  CLI::App* list = group->add_subcommand("list", "List the queues");
  list->add_option("PREFIX", options->name, "Only names that start with it");
  Cli::OnRun(list, [=] { List(cli, options->name); });

  Cli::OnRun(AddVerb(group, "stats", "Show the numbers of a queue", options),
             [=] { Stats(cli, options->name); });

  Cli::OnRun(AddVerb(group, "close", "Take no more puts; gets drain what is left", options),
             [=] { cli->client().open_queue(options->name).close(); });

  Cli::OnRun(AddVerb(group, "purge", "Cancel every waiting task; prints how many", options), [=] {
    const uint64_t cancelled = cli->client().purge_queue(options->name);
    if (cli->json) return PrintLine({{"cancelled", cancelled}});
    Print(fmt::format("{}\n", cancelled));
  });

  CLI::App* remove = AddVerb(group, "delete", "Delete a queue that has no unfinished tasks", options);
  remove->add_flag("--force", options->force, "Cancel its unfinished tasks");
  Cli::OnRun(remove, [=] { cli->client().delete_queue(options->name, options->force); });

  CLI::App* join = AddVerb(app, "join", "Wait until no task of the queue is unfinished", options);
  CLI::Option* timeout =
      join->add_option("--timeout", options->timeout, "Seconds to wait; for ever if not given");
  Cli::OnRun(join, [=] {
    cli->client().open_joinable_queue(options->name).join(TimeoutOf(timeout, options->timeout));
  });
}

}  // namespace joinq::cli
