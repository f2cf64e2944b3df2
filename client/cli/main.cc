// joinq: the command line of a joinq broker.
#include <unistd.h>

#include <csignal>
#include <cstdio>

#include "client/cli/command_line.h"

namespace {

// Nothing needs tidying up: what a broken connection leaves behind, the broker takes back.
void OnInterrupt(int) {
  _exit(joinq::cli::kInterrupted);
}

int Parse(CLI::App* app, int argc, char** argv) {
  using namespace joinq::cli;
  try {
    RequireKnownVerbs(*app, argc, argv);
    app->parse(argc, argv);
    return kDone;
  } catch (const CLI::Success& help) {
    return app->exit(help);
  } catch (const CLI::ParseError& error) {
    const auto commands = app->get_subcommands();
    PrintError((commands.empty() ? "" : commands[0]->get_name() + ": ") + error.what());
    return kUsage;
  }
}

}  // namespace

int main(int argc, char** argv) {
  using namespace joinq::cli;
  std::signal(SIGINT, OnInterrupt);
  std::signal(SIGPIPE, SIG_IGN);
  Cli cli;
  CLI::App app("Queues that can be joined, and pools that span hosts.", "joinq");
  const int status = Guard([&] {
    AddAll(&app, &cli);
    AddEnvironment(&app);
    ApplyConfigFile(&app, argc, argv);
    const int parsed = Parse(&app, argc, argv);
    return parsed == kDone ? cli.exit_status : parsed;
  });
  cli.Close();
  if (std::fflush(stdout) != 0 && status == kDone) {
    PrintError("output: could not be written");
    return kFailed;
  }
  return status;
}
