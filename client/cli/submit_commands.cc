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

std::string NotEnded(const AsyncTask& task, double seconds) {
  try {
    return fmt::format("task {} has not ended within {} s; it goes on", task.id(Millis(0)), seconds);
  } catch (const Timeout&) {
    return fmt::format("no task could be put within {} s", seconds);
  }
}

// Without a result to wait for.
void Put(Cli* cli, const SubmitOptions& options, Pool* pool, const std::string& payload, Millis timeout) {
  PutReceipt receipt;
  if (options.put.has_key()) {
    PutOptions put = options.put.ForPut(options.handler);
    put.result_ttl = options.put.ForPool().result_ttl;
    receipt = cli->client().open_queue(options.queue).put_task(payload, timeout, put);
  } else {
    receipt.id = pool->submit_raw(options.handler, payload, timeout);
  }
  if (receipt.existing) NoteExisting(receipt.id);
  if (!cli->json) return Print(fmt::format("{}\n", receipt.id));
  Json json{{"id", receipt.id}};
  if (options.put.has_key()) {
    json["existing"] = receipt.existing;
    json["durability"] = receipt.durability;
  }
  PrintLine(json);
}

AsyncResult<std::string> Apply(const SubmitOptions& options, Pool* pool, const std::string& payload) {
  if (!options.put.has_key()) return pool->apply_raw(options.handler, payload);
  PutOptions put = options.put.ForPut(options.handler);
  put.result_ttl = options.put.ForPool().result_ttl;
  return pool->apply_raw(options.handler, payload, put);
}

void Submit(Cli* cli, const SubmitOptions& options, Millis timeout) {
  if (options.put.daemon && !options.wait)
    throw UsageError(
        "--daemon: the task would end with this command, which does not wait for it; give --wait");
  Pool pool(cli->client(), options.queue, options.put.ForPool());
  const std::string payload = options.payload == "-" ? ReadAll(STDIN_FILENO) : options.payload;
  if (!options.wait) return Put(cli, options, &pool, payload, timeout);
  const auto result = Apply(options, &pool, payload);
  if (!result.wait(timeout)) throw Timeout(NotEnded(result, options.timeout));
  const Outcome& outcome = result.outcome();
  if (options.put.has_key() && result.existing()) NoteExisting(outcome.task_id);
  PrintOutcome(cli, outcome);
}

}  // namespace

void PrintOutcome(Cli* cli, const Outcome& outcome) {
  if (cli->json) {
    PrintLine(ToJson(outcome));
    if (!outcome.succeeded) cli->exit_status = kFailed;
    return;
  }
  outcome.throw_if_failed();
  Print(PayloadLine(outcome.payload, outcome.content_type));
}

void AddResult(CLI::App* command, Cli* cli) {
  struct Options {
    uint64_t id = 0;
    double wait = 0;
  };
  auto options = std::make_shared<Options>();
  AddUnsigned(command, "ID", &options->id, "The task's id")->required();
  command->add_option("--wait", options->wait, "Seconds to wait for it");
  Cli::OnRun(command, [=] {
    PrintOutcome(cli, cli->client().result(options->id, ToMillis("--wait", options->wait)));
  });
}

void AddSubmitCommands(CLI::App* app, Cli* cli) {
  auto options = std::make_shared<SubmitOptions>();
  CLI::App* submit =
      app->add_subcommand("submit", "Run a handler; prints the task's id, or its result with --wait")
          ->group(kTasksGroup);
  Example(submit, "joinq submit upper hello --wait --timeout 60");
  submit->add_option("HANDLER", options->handler, "The handler's name")->required();
  submit->add_option("PAYLOAD", options->payload, "Its input; - reads all of stdin");
  submit->add_option("-Q,--queue", options->queue, "The queue whose workers run it")->capture_default_str();
  submit->add_flag("--wait", options->wait, "Wait for the result");
  CLI::Option* timeout =
      submit->add_option("--timeout", options->timeout,
                         "Seconds to wait for the result, or for room without --wait; for ever if not given");
  options->put.AddTo(submit);
  options->put.AddKeysTo(submit);
  options->put.AddDaemonTo(submit);
  Cli::OnRun(submit, [=] { Submit(cli, *options, TimeoutOf(timeout, options->timeout)); });

  CLI::App* result =
      app->add_subcommand("result", "Print the result of a submitted task")->group(kTasksGroup);
  AddResult(Example(result, "joinq result 12 --wait 60"), cli);
}

}  // namespace joinq::cli
