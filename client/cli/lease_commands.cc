// joinq done|fail|release|extend QUEUE LEASE
#include "client/cli/cli.h"

namespace joinq::cli {
namespace {

struct Options {
  std::string queue;
  std::string lease;
  std::string text;
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

CLI::App* AddVerb(CLI::App* app, const char* verb, const char* help, std::shared_ptr<Options> options) {
  CLI::App* command = app->add_subcommand(verb, help);
  command->add_option("QUEUE", options->queue, "The task's queue")->required();
  command->add_option("LEASE", options->lease, "As `joinq get --json` printed it")->required();
  return command;
}

}  // namespace

void AddLeaseCommands(CLI::App* app, Cli* cli) {
  auto options = std::make_shared<Options>();

  CLI::App* done = AddVerb(app, "done", "Finish a task", options);
  done->add_option("--result", options->text, "Its result, kept as long as the put asked for");
  Cli::OnRun(done, [=] { LeasedTask(cli, *options).done_raw(options->text); });

  CLI::App* fail =
      AddVerb(app, "fail", "Report a failed attempt; it is retried while attempts are left", options);
  fail->add_option("--error", options->text, "What went wrong, in a line");
  fail->add_flag("--final", options->final, "Do not retry it");
  Cli::OnRun(fail, [=] {
    LeasedTask(cli, *options)
        .fail(options->text.empty() ? "failed by joinq fail" : options->text, options->final);
  });

  CLI::App* release = AddVerb(app, "release", "Give a task back, at no cost in attempts", options);
  release->add_option("--delay", options->seconds, "Seconds before it may be handed out again");
  Cli::OnRun(release, [=] { LeasedTask(cli, *options).release(ToMillis("--delay", options->seconds)); });

  CLI::App* extend = AddVerb(app, "extend", "Set the end of a lease to now and so many seconds", options);
  extend->add_option("--lease", options->seconds, "Seconds; 0: the queue's");
  Cli::OnRun(extend, [=] { LeasedTask(cli, *options).extend(ToMillis("--lease", options->seconds)); });
}

}  // namespace joinq::cli
