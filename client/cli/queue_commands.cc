// joinq queue create|update|list|stats|peek|pause|resume|close|purge|delete, joinq join
#include <fmt/core.h>

#include "client/cli/cli.h"
#include "client/cli/printing.h"

namespace joinq::cli {
namespace {

constexpr size_t kPayloadShown = 60;

// Options of a queue; those of an update are what was given.
struct QueueFlags {
  uint64_t maxsize = 0;
  double lease = 0;
  uint64_t max_bytes = 0;
  std::string order = "fifo";
  std::string durability = "best";
  double ageing = 0;
  uint32_t dead_max = 0;
  CLI::App* command = nullptr;

  void AddTo(CLI::App* app);
  QueueOptions ForCreate() const;
  QueueChanges ForUpdate() const;

 private:
  bool given(const char* option) const { return command->get_option(option)->count() > 0; }
  Order ParsedOrder() const { return Named(order, {Order::fifo, Order::lifo, Order::priority}); }
  Durability ParsedDurability() const {
    return Named(durability, {Durability::best, Durability::fsync, Durability::wal, Durability::memory});
  }
};

void QueueFlags::AddTo(CLI::App* app) {
  command = app;
  AddUnsigned(app, "--maxsize", &maxsize, "Most tasks that may wait; 0: no bound");
  AddUnsigned(app, "--max-bytes", &max_bytes, "Most payload bytes of tasks that wait; 0: no bound");
  app->add_option("--lease", lease, "Seconds of a lease whose get names none; 0: the default");
  app->add_option("--order", order, "fifo (default), lifo or priority")
      ->transform(OneOf({"fifo", "lifo", "priority"}));
  app->add_option(
      "--ageing", ageing,
      "With --order priority: seconds of waiting that are worth a step of urgency; 0: the default");
  app->add_option("--durability", durability,
                  "What an acknowledged put survives: fsync (power loss), wal (the broker's death), memory "
                  "(nothing), best (default: what the broker has)")
      ->transform(OneOf({"best", "fsync", "wal", "memory"}));
  AddUnsigned(app, "--dead-max", &dead_max, "Dead tasks kept for replay; default 10000", 0, 1'000'000);
}

QueueOptions QueueFlags::ForCreate() const {
  QueueOptions options;
  options.maxsize = maxsize;
  options.lease = ToMillis("--lease", lease);
  options.max_bytes = max_bytes;
  options.order = ParsedOrder();
  options.durability = ParsedDurability();
  options.ageing = ToMillis("--ageing", ageing);
  if (given("--dead-max")) options.dead_max = dead_max;
  return options;
}

QueueChanges QueueFlags::ForUpdate() const {
  QueueChanges changes;
  if (given("--maxsize")) changes.maxsize = maxsize;
  if (given("--lease")) changes.lease = ToMillis("--lease", lease);
  if (given("--max-bytes")) changes.max_bytes = max_bytes;
  if (given("--order")) changes.order = ParsedOrder();
  if (given("--durability")) changes.durability = ParsedDurability();
  if (given("--ageing")) changes.ageing = ToMillis("--ageing", ageing);
  if (given("--dead-max")) changes.dead_max = dead_max;
  return changes;
}

struct Options {
  std::string name;
  QueueFlags create;
  QueueFlags update;
  uint32_t count = 1;
  bool force = false;
  double timeout = 0;
};

std::string StateOf(const QueueInfo& queue) {
  if (!queue.paused) return queue.closed ? "closed" : "open";
  return queue.closed ? "closed,paused" : "paused";
}

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
                    std::to_string(stats.done_total), std::to_string(stats.dead), StateOf(queue)});
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

void Peek(Cli* cli, const Options& options) {
  const auto tasks = cli->client().open_queue(options.name).peek(options.count);
  if (cli->json) return PrintLine(ToJson(tasks, true));
  std::vector<std::vector<std::string>> rows = {{"ID", "HANDLER", "PRIORITY", "BYTES", "PAYLOAD"}};
  for (const auto& task : tasks) {
    std::string payload = PayloadLine(task.payload, task.content_type);
    payload.pop_back();
    rows.push_back({std::to_string(task.id), Cut(task.handler, kPayloadShown),
                    std::to_string(task.options.priority), std::to_string(task.payload_bytes),
                    Cut(payload, kPayloadShown)});
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
  const auto queue = [=] { return cli->client().open_queue(options->name); };
  CLI::App* group = app->add_subcommand("queue", "Make, see and change queues: create, update, list, ...")
                        ->group(kQueuesGroup)
                        ->require_subcommand(1)
                        ->fallthrough();

  CLI::App* create =
      AddVerb(group, "create", "Create a queue; repeating it with the same options is fine", options);
  options->create.AddTo(create);
  Example(create, "joinq queue create images --maxsize 100 --order priority");
  Cli::OnRun(create, [=] {
    const auto info = cli->client().create_queue(options->name, options->create.ForCreate());
    if (cli->json) PrintLine(ToJson(info));
  });

  CLI::App* update = AddVerb(group, "update", "Change the options that are given", options);
  options->update.AddTo(update);
  Example(update, "joinq queue update images --maxsize 500");
  Cli::OnRun(update, [=] {
    const auto info = queue().update(options->update.ForUpdate());
    if (cli->json) PrintLine(ToJson(info));
  });

  CLI::App* list = group->add_subcommand("list", "List the queues");
  list->add_option("PREFIX", options->name, "Only names that start with it");
  Cli::OnRun(Example(list, "joinq queue list"), [=] { List(cli, options->name); });

  CLI::App* stats = AddVerb(group, "stats", "Show the options and numbers of a queue", options);
  Cli::OnRun(Example(stats, "joinq queue stats images --json"), [=] { Stats(cli, options->name); });

  CLI::App* peek = AddVerb(group, "peek", "Show the tasks that would be handed out next", options);
  AddUnsigned(peek, "-n,--count", &options->count, "How many", 1, 100)->capture_default_str();
  Cli::OnRun(Example(peek, "joinq queue peek images -n 10"), [=] { Peek(cli, *options); });

  CLI::App* pause = AddVerb(group, "pause", "Hand nothing out until resumed; puts go on", options);
  Cli::OnRun(Example(pause, "joinq queue pause images"), [=] { queue().pause(); });

  CLI::App* resume = AddVerb(group, "resume", "Hand tasks out again", options);
  Cli::OnRun(Example(resume, "joinq queue resume images"), [=] { queue().resume(); });

  CLI::App* close = AddVerb(group, "close", "Take no more puts; gets drain what is left", options);
  Cli::OnRun(Example(close, "joinq queue close images"), [=] { queue().close(); });

  CLI::App* purge = AddVerb(group, "purge", "Cancel every waiting task; prints how many", options);
  Cli::OnRun(Example(purge, "joinq queue purge images"), [=] {
    const uint64_t cancelled = cli->client().purge_queue(options->name);
    if (cli->json) return PrintLine({{"cancelled", cancelled}});
    Print(fmt::format("{}\n", cancelled));
  });

  CLI::App* remove = AddVerb(group, "delete", "Delete a queue that has no unfinished tasks", options);
  remove->add_flag("--force", options->force, "Cancel its unfinished tasks");
  Cli::OnRun(Example(remove, "joinq queue delete images --force"),
             [=] { cli->client().delete_queue(options->name, options->force); });

  CLI::App* join = AddVerb(app, "join", "Wait until no task of the queue is unfinished", options);
  join->group(kQueuesGroup);
  CLI::Option* timeout =
      join->add_option("--timeout", options->timeout, "Seconds to wait; for ever if not given");
  Cli::OnRun(Example(join, "joinq join images --timeout 60"), [=] {
    cli->client().open_joinable_queue(options->name).join(TimeoutOf(timeout, options->timeout));
  });
}

}  // namespace joinq::cli
