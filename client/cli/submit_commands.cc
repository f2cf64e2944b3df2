// joinq submit HANDLER [PAYLOAD|-], joinq result ID
#include <fmt/core.h>
#include <unistd.h>

#include "client/cli/cli.h"
#include "client/cli/line_reader.h"
#include "client/cli/printing.h"
#include "client/cli/put_options.h"

namespace joinq::cli {
namespace {

struct SubmitOptions {
  std::string handler;
  std::string payload;
  std::string queue = kDefaultQueue;
  bool wait = false;
  double timeout = 0;
  PutFlags put;
};

void PrintOutcome(Cli* cli, const Outcome& outcome) {
  if (cli->json) {
    PrintLine(ToJson(outcome));
    if (!outcome.succeeded) cli->exit_status = kFailed;
    return;
  }
  outcome.throw_if_failed();
  Print(PayloadLine(outcome.payload, outcome.content_type));
}

std::string NotEnded(const AsyncTask& task, double seconds) {
  try {
    return fmt::format("task {} has not ended within {} s; it goes on", task.id(Millis(0)), seconds);
  } catch (const Timeout&) {
    return fmt::format("no task could be put within {} s", seconds);
  }
}

void Submit(Cli* cli, const SubmitOptions& options, Millis timeout) {
  const PoolOptions pool_options = options.put.ForPool();
  Pool pool(cli->client(), options.queue, pool_options);
  const std::string payload = options.payload == "-" ? ReadAll(STDIN_FILENO) : options.payload;
  if (!options.wait) {
    const uint64_t id = pool.submit_raw(options.handler, payload, timeout);
    return cli->json ? PrintLine({{"id", id}}) : Print(fmt::format("{}\n", id));
  }
  const auto result = pool.apply_raw(options.handler, payload);
  if (!result.wait(timeout)) throw Timeout(NotEnded(result, options.timeout));
  PrintOutcome(cli, result.outcome());
}

struct ResultOptions {
  uint64_t id = 0;
  double wait = 0;
};

}  // namespace

void AddSubmitCommands(CLI::App* app, Cli* cli) {
  auto options = std::make_shared<SubmitOptions>();
  CLI::App* submit =
      app->add_subcommand("submit", "Run a handler; prints the task's id, or its result with --wait");
  submit->add_option("HANDLER", options->handler, "The handler's name")->required();
  submit->add_option("PAYLOAD", options->payload, "Its input; - reads all of stdin");
  submit->add_option("-Q,--queue", options->queue, "The queue whose workers run it")->capture_default_str();
  submit->add_flag("--wait", options->wait, "Wait for the result");
  CLI::Option* timeout =
      submit->add_option("--timeout", options->timeout,
                         "Seconds to wait for the result, or for room without --wait; for ever if not given");
  options->put.AddTo(submit);
  Cli::OnRun(submit, [=] { Submit(cli, *options, TimeoutOf(timeout, options->timeout)); });

  auto result_options = std::make_shared<ResultOptions>();
  CLI::App* result = app->add_subcommand("result", "Print the result of a submitted task");
  AddUnsigned(result, "ID", &result_options->id, "The task's id")->required();
  result->add_option("--wait", result_options->wait, "Seconds to wait for it");
  Cli::OnRun(result, [=] {
    PrintOutcome(cli, cli->client().result(result_options->id, ToMillis("--wait", result_options->wait)));
  });
}

}  // namespace joinq::cli
