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

void PutAll(Cli* cli, const Queue& queue, const std::vector<std::string>& bodies, Millis timeout,
            const PutOptions& options) {
  if (bodies.empty()) return;
  std::string lines;
  for (uint64_t id : queue.put_batch(bodies, timeout, options)) {
    lines += cli->json ? fmt::format("{{\"id\":{}}}\n", id) : fmt::format("{}\n", id);
  }
  Print(lines);
  std::fflush(stdout);
}

void PutLines(Cli* cli, const Queue& queue, Millis timeout, const PutOptions& options) {
  LineReader reader(STDIN_FILENO);
  std::vector<std::string> batch;
  size_t bytes = 0;
  std::string line;
  while (reader.Next(&line)) {
    bytes += line.size();
    batch.push_back(std::move(line));
    if (reader.buffered() && batch.size() < kBatchTasks && bytes < kBatchBytes) continue;
    PutAll(cli, queue, batch, timeout, options);
    batch.clear();
    bytes = 0;
  }
  PutAll(cli, queue, batch, timeout, options);
}

}  // namespace

void AddPutCommand(CLI::App* app, Cli* cli) {
  auto options = std::make_shared<Options>();
  CLI::App* put = app->add_subcommand("put", "Put tasks; prints one id a line");
  put->add_option("QUEUE", options->queue, "The queue's name")->required();
  put->add_option("BODY", options->bodies, "A task each; - reads a task a line from stdin")->required();
  put->add_option("--handler", options->handler, "The handler that workers run it with");
  CLI::Option* timeout =
      put->add_option("--timeout", options->timeout, "Seconds to wait for room; for ever if not given");
  put->add_flag("--no-wait", options->no_wait, "Fail at once if the queue is full")->excludes(timeout);
  options->put.AddTo(put);
  Cli::OnRun(put, [=] {
    const Queue queue = cli->client().open_queue(options->queue);
    const Millis wait = options->no_wait ? Millis(0) : TimeoutOf(timeout, options->timeout);
    const PutOptions put_options = options->put.ForPut(options->handler);
    if (options->bodies == std::vector<std::string>{"-"}) {
      PutLines(cli, queue, wait, put_options);
    } else {
      PutAll(cli, queue, options->bodies, wait, put_options);
    }
  });
}

}  // namespace joinq::cli
