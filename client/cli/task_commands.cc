// joinq task show|list|why|cancel|terminate|log|retry|result, joinq why
#include <fmt/core.h>

#include "client/cli/cli.h"
#include "client/cli/printing.h"
#include "client/cli/times.h"

namespace joinq::cli {
namespace {

constexpr size_t kCellBytes = 40;

struct Options {
  uint64_t id = 0;
  bool payload = false;
  std::string queue;
  std::string state;
  uint32_t count = 100;
  uint64_t after = 0;
  bool newest = false;
  double cancel_wait = 0;
  double terminate_wait = 30;
};

CLI::App* AddVerb(CLI::App* group, const char* verb, const char* help, std::shared_ptr<Options> options) {
  CLI::App* command = group->add_subcommand(verb, help);
  AddUnsigned(command, "ID", &options->id, "The task's id")->required();
  return Example(command, fmt::format("joinq {}{} 12", group->get_parent() ? "task " : "", verb));
}

void Show(Cli* cli, const Options& options) {
  const Json json = ToJson(cli->client().task_info(options.id, options.payload), options.payload);
  cli->json ? PrintLine(json) : PrintFields(json);
}

void Tell(Cli* cli, const TaskInfo& task) {
  if (cli->json) PrintLine(ToJson(task, false));
}

// Prints what became of its work, if that is waited for.
void Cancel(Cli* cli, uint64_t id, bool terminate, double seconds) {
  const Millis wait = ToMillis("--wait", seconds);
  const TaskInfo task = cli->client().cancel(id, {.terminate = terminate, .wait = wait});
  if (wait.count() == 0) return Tell(cli, task);
  if (cli->json) {
    Json json = ToJson(task, false);
    json["work_end"] = task.work_end ? Json(to_string(*task.work_end)) : Json();
    PrintLine(json);
    if (!task.work_end) cli->exit_status = kTimedOut;
    return;
  }
  if (!task.work_end) {
    throw Timeout(fmt::format("task {} is cancelled, but nobody said within {} s that its work has ended", id,
                              seconds));
  }
  Print(fmt::format("{}\n", to_string(*task.work_end)));
}

void Log(Cli* cli, uint64_t id) {
  const TaskLog log = cli->client().task_log(id);
  if (cli->json) {
    Json json{{"id", id}, {"worker", log.worker}, {"running", log.running}, {"cut", log.cut}};
    AddPayload(&json, "text", log.text, "");
    return PrintLine(json);
  }
  Print(log.text);
  if (log.cut) fmt::print(stderr, "joinq: this is the end of it; what came before is not kept\n");
}

void TellWhy(Cli* cli, uint64_t id) {
  const Why why = cli->client().why(id);
  cli->json ? PrintLine(ToJson(id, why))
            : Print((why.text.empty() ? to_string(why.reason) : why.text) + "\n");
}

void List(Cli* cli, const Options& options) {
  TaskFilter filter{.queue = options.queue, .newest_first = options.newest};
  if (!options.state.empty()) {
    filter.state = Named(options.state, {TaskState::delayed, TaskState::ready, TaskState::leased,
                                         TaskState::ended, TaskState::dead});
  }
  const auto tasks = TakePages(cli, filter, options.after, options.count);
  if (cli->json) return PrintLine(ToJson(tasks, false));
  std::vector<std::vector<std::string>> rows = {
      {"ID", "QUEUE", "HANDLER", "STATE", "SINCE/UNTIL", "TRIES", "HOLDER", "PROGRESS/ERROR"}};
  for (const auto& task : tasks) {
    const std::string state =
        task.state == TaskState::ended && task.ending ? to_string(*task.ending) : to_string(task.state);
    rows.push_back({std::to_string(task.id), task.queue, Cut(task.handler, kCellBytes), state,
                    task.when ? TimeText(*task.when) : "-", std::to_string(task.deliveries),
                    Cut(task.holder, kCellBytes),
                    Cut(task.progress.empty() ? task.error_message : task.progress, kCellBytes)});
  }
  PrintTable(rows);
}

}  // namespace

std::vector<TaskInfo> TakePages(Cli* cli, const TaskFilter& filter, uint64_t after, uint32_t count) {
  std::vector<TaskInfo> tasks;
  do {
    const uint32_t left = std::min<uint32_t>(1000, count - static_cast<uint32_t>(tasks.size()));
    TaskPage page = cli->client().task_page(filter, after, left);
    std::move(page.tasks.begin(), page.tasks.end(), std::back_inserter(tasks));
    after = page.next;
  } while (after != 0 && tasks.size() < count);
  return tasks;
}

void AddTaskCommands(CLI::App* app, Cli* cli) {
  auto options = std::make_shared<Options>();
  CLI::App* group =
      app->add_subcommand("task",
                          "See and steer tasks: show, list, why, log, cancel, terminate, retry, result")
          ->group(kTasksGroup)
          ->require_subcommand(1)
          ->fallthrough();

  CLI::App* show = AddVerb(group, "show", "All that is known of a task", options);
  show->add_flag("--payload", options->payload, "Its payload (its result once it has ended) too");
  Cli::OnRun(show, [=] { Show(cli, *options); });

  CLI::App* list = group->add_subcommand("list", "List tasks in the order of their ids");
  list->add_option("-Q,--queue", options->queue, "Only those of a queue");
  list->add_option("--state", options->state, "Only those that are delayed, ready, leased, ended or dead")
      ->transform(OneOf({"delayed", "ready", "leased", "ended", "dead"}));
  AddUnsigned(list, "-n,--count", &options->count, "At most so many", 1, kWindowMax)->capture_default_str();
  AddUnsigned(list, "--after", &options->after, "Only ids above it; below it with --newest");
  list->add_flag("--newest", options->newest, "The newest first");
  Cli::OnRun(Example(list, "joinq task list -Q images --state leased"), [=] { List(cli, *options); });

  Cli::OnRun(AddVerb(group, "why", "Why a task is not running now, in a sentence", options),
             [=] { TellWhy(cli, options->id); });
  Cli::OnRun(AddVerb(group, "log", "What a task wrote to stdout and stderr: the last 64 KiB", options),
             [=] { Log(cli, options->id); });
  CLI::App* cancel =
      AddVerb(group, "cancel", "End a task that has not ended; its handler is asked to stop", options);
  cancel->add_option("--wait", options->cancel_wait,
                     "Seconds to wait for the end of its work, which is printed");
  Cli::OnRun(cancel, [=] { Cancel(cli, options->id, false, options->cancel_wait); });
  CLI::App* terminate = AddVerb(
      group, "terminate", "End a task and its process at once; prints what became of its work", options);
  terminate->add_option("--wait", options->terminate_wait, "Seconds to wait for that; 0: do not")
      ->capture_default_str();
  Cli::OnRun(terminate, [=] { Cancel(cli, options->id, true, options->terminate_wait); });
  Cli::OnRun(AddVerb(group, "retry", "Make a dead task ready again, or a delayed one ready at once", options),
             [=] { Tell(cli, cli->client().retry(options->id)); });
  AddResult(Example(group->add_subcommand("result", "Print the result of a submitted task"),
                    "joinq task result 12 --wait 60"),
            cli);

  CLI::App* why = AddVerb(app, "why", "Why a task is not running now, in a sentence", options);
  Cli::OnRun(why->group(kTasksGroup), [=] { TellWhy(cli, options->id); });
}

}  // namespace joinq::cli
