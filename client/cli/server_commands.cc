// joinq server show|backup
#include "client/cli/cli.h"
#include "client/cli/printing.h"

namespace joinq::cli {
namespace {

struct Options {
  std::string directory;
  double timeout = 0;
};

void Tell(Cli* cli, const Json& json) {
  cli->json ? PrintLine(json) : PrintFields(json);
}

void Backup(Cli* cli, const Options& options, Millis timeout) {
  const BackupInfo backup = cli->client().backup(options.directory, timeout);
  Tell(cli,
       {{"directory", options.directory}, {"bytes", backup.bytes}, {"journal_entry", backup.journal_entry}});
}

}  // namespace

void AddServerCommands(CLI::App* app, Cli* cli) {
  auto options = std::make_shared<Options>();
  CLI::App* group = app->add_subcommand("server", "See and copy the broker: show, backup")
                        ->group(kBrokerGroup)
                        ->require_subcommand(1)
                        ->fallthrough();

  CLI::App* show = group->add_subcommand("show", "What the broker is and holds");
  Cli::OnRun(Example(show, "joinq server show"), [=] { Tell(cli, ToJson(cli->client().broker_info())); });

  CLI::App* backup =
      group->add_subcommand("backup", "Copy the broker's data, while it serves, into a new directory");
  backup->add_option("DIR", options->directory, "Absolute, on the broker's machine, not there yet")
      ->required();
  CLI::Option* timeout =
      backup->add_option("--timeout", options->timeout, "Seconds to wait; for ever if not given");
  Example(backup, "joinq server backup /var/backups/joinq-monday");
  Cli::OnRun(backup, [=] { Backup(cli, *options, TimeoutOf(timeout, options->timeout)); });
}

}  // namespace joinq::cli
