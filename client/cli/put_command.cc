// joinq put QUEUE [BODY...|-]
#include <fmt/core.h>
#include <unistd.h>

#include "client/cli/cli.h"
#include "client/cli/line_reader.h"
#include "client/cli/printing.h"
#include "client/cli/put_options.h"

namespace joinq::cli {
namespace {

// Of one batch read from stdin; what is there goes out when no more is waiting.
constexpr size_t kBatchTasks = 4096;
constexpr size_t kBatchBytes = 4u << 20;

struct Options {
  std::string queue;
  std::vector<std::string> bodies;
  std::string handler;
  double timeout = 0;
  bool no_wait = false;
  PutFlags put;
};

// Puts in batches; every id that is acknowledged is printed.
class Putter {
 public:
  Putter(Cli* cli, const Options& options, Millis timeout)
      : cli_(cli),
        queue_(cli->client().open_queue(options.queue)),
        timeout_(timeout),
        options_(options.put.ForPut(options.handler)) {}

  // One task that may exist already by its key.
  void PutKeyed(const std::string& body) {
    const PutReceipt receipt = queue_.put_task(body, timeout_, options_);
    if (cli_->json) {
      PrintLine({{"id", receipt.id}, {"existing", receipt.existing}, {"durability", receipt.durability}});
    } else {
      Print(fmt::format("{}\n", receipt.id));
    }
    if (receipt.existing) NoteExisting(receipt.id);
  }
  // False once not all could be put, which it has told.
  bool Put(const std::vector<std::string>& bodies) {
    if (bodies.empty()) return true;
    try {
      tried_ += bodies.size();
      PrintIds(queue_.put_batch(bodies, timeout_, options_));
      return true;
    } catch (const Error& error) {
      PrintIds(error.put_ids());
      if (tried_ == 1 || error.put_ids().empty()) throw;
      PrintError(fmt::format("{} of {} put: {}", put_, tried_, error.what()));
      cli_->exit_status = StatusOf(error);
      return false;
    }
  }

 private:
  void PrintIds(const std::vector<uint64_t>& ids) {
    std::string lines;
    for (uint64_t id : ids) {
      if (id == 0) continue;
      ++put_;
      lines += cli_->json ? fmt::format("{{\"id\":{}}}\n", id) : fmt::format("{}\n", id);
    }
    Print(lines);
    std::fflush(stdout);
  }

  Cli* const cli_;
  const Queue queue_;
  const Millis timeout_;
  const PutOptions options_;
  uint64_t tried_ = 0;
  uint64_t put_ = 0;
};

void PutLines(Putter* putter) {
  LineReader reader(STDIN_FILENO);
  std::vector<std::string> batch;
  size_t bytes = 0;
  std::string line;
  while (reader.Next(&line)) {
    bytes += line.size();
    batch.push_back(std::move(line));
    if (reader.buffered() && batch.size() < kBatchTasks && bytes < kBatchBytes) continue;
    if (!putter->Put(batch)) return;
    batch.clear();
    bytes = 0;
  }
  putter->Put(batch);
}

}  // namespace

void AddPutCommand(CLI::App* app, Cli* cli) {
  auto options = std::make_shared<Options>();
  CLI::App* put = app->add_subcommand("put", "Put tasks; prints one id a line")->group(kTasksGroup);
  Example(put, "joinq put images cat.png dog.png --priority -5 --ttl 3600");
  put->add_option("QUEUE", options->queue, "The queue's name")->required();
  put->add_option("BODY", options->bodies, "A task each; - reads a task a line from stdin")->required();
  put->add_option("--handler", options->handler, "The handler that workers run it with");
  CLI::Option* timeout =
      put->add_option("--timeout", options->timeout, "Seconds to wait for room; for ever if not given");
  put->add_flag("--no-wait", options->no_wait, "Fail at once if the queue is full")->excludes(timeout);
  options->put.AddTo(put);
  options->put.AddKeysTo(put);
  Cli::OnRun(put, [=] {
    const Millis wait = options->no_wait ? Millis(0) : TimeoutOf(timeout, options->timeout);
    if (options->put.process && options->handler.empty())
      throw UsageError("--process: is for tasks with a handler; give --handler");
    const bool lines = options->bodies == std::vector<std::string>{"-"};
    if (options->put.has_key() && (lines || options->bodies.size() > 1)) {
      throw UsageError(std::string(options->put.unique_key.empty() ? "--request-id" : "--unique-key") +
                       ": names one task, so give one BODY");
    }
    Putter putter(cli, *options, wait);
    if (options->put.has_key()) {
      putter.PutKeyed(options->bodies[0]);
    } else if (lines) {
      PutLines(&putter);
    } else {
      putter.Put(options->bodies);
    }
  });
}

}  // namespace joinq::cli
