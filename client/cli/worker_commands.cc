// joinq worker list|show|drain|pause|resume|resize, joinq health
#include <fmt/core.h>

#include <memory>
#include <string>

#include "client/cli/cli.h"
#include "client/cli/printing.h"

namespace joinq::cli {
namespace {

constexpr double kHealthSeconds = 2;
constexpr size_t kCellBytes = 60;
constexpr uint64_t kChildrenMax = 1024;

void ListWorkers(Cli* cli) {
  const auto workers = cli->client().workers();
  if (cli->json) {
    Json all = Json::array();
    for (const auto& worker : workers) all.push_back(ToJson(worker));
    return PrintLine(all);
  }
  std::vector<std::vector<std::string>> rows = {{"NAME", "HOST", "PID", "STATE", "BUSY", "CHILDREN", "PROCS",
                                                 "LEASES", "DONE", "FAILED", "QUEUES", "TROUBLE"}};
  for (const auto& worker : workers) {
    std::string queues;
    for (const auto& queue : worker.queues) queues += (queues.empty() ? "" : ",") + queue;
    rows.push_back({worker.name, worker.host, std::to_string(worker.pid), worker.state,
                    std::to_string(worker.busy), fmt::format("{}/{}", worker.children, worker.concurrency),
                    std::to_string(worker.processes), std::to_string(worker.leases),
                    std::to_string(worker.done_total), std::to_string(worker.failed_total), queues,
                    Cut(worker.trouble, kCellBytes)});
  }
  PrintTable(rows);
}

void ShowWorkers(Cli* cli, const std::string& name) {
  Json found = Json::array();
  for (const auto& worker : cli->client().workers()) {
    if (worker.name == name || std::to_string(worker.id) == name) found.push_back(ToJson(worker));
  }
  if (found.empty()) throw NotFound("no worker \"" + name + "\": see joinq worker list", "worker");
  for (const Json& worker : found) cli->json ? PrintLine(worker) : PrintFields(worker);
}

void Control(Cli* cli, const std::string& name, WorkerAction action, uint32_t children = 0) {
  for (const auto& worker : cli->client().control_worker(name, action, children)) {
    if (cli->json) {
      PrintLine(ToJson(worker));
    } else {
      fmt::print("{} {}\n", worker.id, worker.state);
    }
  }
}

}  // namespace

void AddWorkerCommands(CLI::App* app, Cli* cli) {
  CLI::App* group =
      app->add_subcommand("worker", "See and direct the workers: list, show, drain, pause, resume, resize")
          ->group(kBrokerGroup)
          ->require_subcommand(1)
          ->fallthrough();
  Cli::OnRun(Example(group->add_subcommand("list", "List the workers"), "joinq worker list"),
             [=] { ListWorkers(cli); });
  auto name = std::make_shared<std::string>();
  const auto add = [&](const char* verb, const char* what) {
    CLI::App* command = group->add_subcommand(verb, what);
    command->add_option("WORKER", *name, "Its name (all of that name are meant) or its id")->required();
    return Example(command, fmt::format("joinq worker {} images-1", verb));
  };
  Cli::OnRun(add("show", "Everything about a worker"), [=] { ShowWorkers(cli, *name); });
  Cli::OnRun(add("drain", "Have it finish what it runs, give the rest back and end; prints who was told"),
             [=] { Control(cli, *name, WorkerAction::drain); });
  Cli::OnRun(add("pause", "Have it finish what it runs, give the rest back and take nothing more"),
             [=] { Control(cli, *name, WorkerAction::pause); });
  Cli::OnRun(add("resume", "Have a paused one go on"), [=] { Control(cli, *name, WorkerAction::resume); });
  auto children = std::make_shared<uint32_t>(0);
  CLI::App* resize = group->add_subcommand("resize", "Have it run another number of children");
  resize->add_option("WORKER", *name, "Its name (all of that name are meant) or its id")->required();
  AddUnsigned(resize, "CHILDREN", children.get(), "How many; the most, for one that scales itself", 1,
              kChildrenMax)
      ->required();
  Cli::OnRun(Example(resize, "joinq worker resize images-1 8"),
             [=] { Control(cli, *name, WorkerAction::resize, *children); });
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
