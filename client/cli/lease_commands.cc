// joinq done|fail|release|extend|progress QUEUE LEASE
#include <fmt/core.h>

#include "client/cli/cli.h"
#include "client/cli/printing.h"

namespace joinq::cli {
namespace {

struct Options {
  std::string queue;
  std::string lease;
  std::string text;
  std::vector<std::pair<std::string, std::string>> then;  // QUEUE[/HANDLER], PAYLOAD
  bool final = false;
  double seconds = 0;
};

Task LeasedTask(Cli* cli, const Options& options) {
  const auto lease = Lease::parse(options.lease);
  if (!lease)
    throw UsageError("LEASE: \"" + options.lease +
                     "\" is not a lease; it looks like 12-1-34, as `joinq get --json` prints it");
  return cli->client().leased_task(options.queue, *lease);
}

std::vector<FollowUp> FollowUps(const Options& options) {
  std::vector<FollowUp> follow_ups;
  for (const auto& [target, payload] : options.then) {
    const size_t slash = std::min(target.find('/'), target.size());
    FollowUp follow_up{target.substr(0, slash), payload};
    if (slash < target.size()) follow_up.options.handler = target.substr(slash + 1);
    if (follow_up.queue.empty() || (slash < target.size() && follow_up.options.handler.empty()))
      throw UsageError("--then: must be QUEUE PAYLOAD or QUEUE/HANDLER PAYLOAD, not \"" + target + "\"");
    follow_ups.push_back(std::move(follow_up));
  }
  return follow_ups;
}

void Done(Cli* cli, const Options& options) {
  const auto ids = LeasedTask(cli, options).done_raw(options.text, {}, FollowUps(options));
  if (options.then.empty()) return;
  if (cli->json) return PrintLine({{"follow_up_ids", ids}});
  for (uint64_t id : ids) Print(fmt::format("{}\n", id));
}

CLI::App* AddVerb(CLI::App* app, const char* verb, const char* help, std::shared_ptr<Options> options) {
  CLI::App* command = app->add_subcommand(verb, help)->group(kLeasesGroup);
  command->add_option("QUEUE", options->queue, "The task's queue")->required();
  command->add_option("LEASE", options->lease, "As `joinq get --json` printed it")->required();
  return command;
}

}  // namespace

void AddLeaseCommands(CLI::App* app, Cli* cli) {
  auto options = std::make_shared<Options>();

  CLI::App* done = AddVerb(app, "done", "Finish a task", options);
  done->add_option("--result", options->text, "Its result, kept as long as the put asked for");
  done->add_option(
          "--then", options->then,
          "Tasks to put in the same step: QUEUE[/HANDLER] PAYLOAD; may be repeated; prints their ids")
      ->type_name("QUEUE PAYLOAD")
      ->type_size(2)
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
  Example(done, "joinq done images 12-1-34 --result ok --then thumbnails cat.png");
  Cli::OnRun(done, [=] { Done(cli, *options); });

  CLI::App* fail =
      AddVerb(app, "fail", "Report a failed attempt; it is retried while attempts are left", options);
  fail->add_option("--error", options->text, "What went wrong, in a line");
  Example(fail, "joinq fail images 12-1-34 --error 'no such file' --final");
  fail->add_flag("--final", options->final, "Do not retry it");
  Cli::OnRun(fail, [=] {
    LeasedTask(cli, *options)
        .fail(options->text.empty() ? "failed by joinq fail" : options->text, options->final);
  });

  CLI::App* release = AddVerb(app, "release", "Give a task back, at no cost in attempts", options);
  Example(release, "joinq release images 12-1-34 --delay 10");
  release->add_option("--delay", options->seconds, "Seconds before it may be handed out again");
  Cli::OnRun(release, [=] { LeasedTask(cli, *options).release(ToMillis("--delay", options->seconds)); });

  CLI::App* extend = AddVerb(app, "extend", "Set the end of a lease to now and so many seconds", options);
  Example(extend, "joinq extend images 12-1-34 --lease 300");
  extend->add_option("--lease", options->seconds, "Seconds; 0: the queue's");
  Cli::OnRun(extend, [=] { LeasedTask(cli, *options).extend(ToMillis("--lease", options->seconds)); });

  CLI::App* progress = AddVerb(app, "progress", "Say how far the work on a task has come", options);
  progress->add_option("TEXT", options->text, "Up to 4 KiB, for `joinq task show`")->required();
  Example(progress, "joinq progress images 12-1-34 'half of it'");
  Cli::OnRun(progress, [=] { LeasedTask(cli, *options).progress(options->text); });
}

}  // namespace joinq::cli
