// joinq worker list, joinq health
#include <fmt/core.h>

#include "client/cli/cli.h"
#include "client/cli/printing.h"

namespace joinq::cli {
namespace {

constexpr double kHealthSeconds = 2;

void ListWorkers(Cli* cli) {
  const auto workers = cli->client().workers();
  if (cli->json) {
    Json all = Json::array();
    for (const auto& worker : workers) all.push_back(ToJson(worker));
    return PrintLine(all);
  }
  std::vector<std::vector<std::string>> rows = {
      {"NAME", "HOST", "PID", "STATE", "BUSY", "CHILDREN", "LEASES", "DONE", "FAILED", "QUEUES"}};
  for (const auto& worker : workers) {
    std::string queues;
    for (const auto& queue : worker.queues) queues += (queues.empty() ? "" : ",") + queue;
    rows.push_back({worker.name, worker.host, std::to_string(worker.pid), worker.state,
                    std::to_string(worker.busy), std::to_string(worker.children),
                    std::to_string(worker.leases), std::to_string(worker.done_total),
                    std::to_string(worker.failed_total), queues});
  }
  PrintTable(rows);
}

}  // namespace

void AddWorkerCommands(CLI::App* app, Cli* cli) {
  CLI::App* group = app->add_subcommand("worker", "See the workers: list")
                        ->group(kBrokerGroup)
                        ->require_subcommand(1)
                        ->fallthrough();
  Cli::OnRun(Example(group->add_subcommand("list", "List the workers"), "joinq worker list"),
             [=] { ListWorkers(cli); });
}

void AddHealthCommand(CLI::App* app, Cli* cli) {
  auto timeout = std::make_shared<double>(kHealthSeconds);
  CLI::App* health = app->add_subcommand("health", "Exit with 0 if the broker answers, with 3 if not")
                         ->alias("ping")
                         ->group(kBrokerGroup);
  Example(health, "joinq health --timeout 5");
  health->add_option("--timeout", *timeout, "Seconds to wait for the answer")->capture_default_str();
  Cli::OnRun(health, [=] {
    cli->client().ping(ToMillis("--timeout", *timeout));
    if (cli->json) PrintLine({{"url", cli->client().url()}, {"serving", true}});
  });
}

}  // namespace joinq::cli
