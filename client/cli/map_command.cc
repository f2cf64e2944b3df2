// joinq map HANDLER: a payload a line in, a result a line out.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "client/cli/cli.h"
#include "client/cli/line_reader.h"
#include "client/cli/printing.h"
#include "client/cli/progress.h"
#include "client/cli/put_options.h"

namespace joinq::cli {
namespace {

constexpr size_t kRangesTold = 1000;
constexpr size_t kReasonsTold = 5;

struct Options {
  std::string handler;
  std::string queue = kDefaultQueue;
  uint32_t window = 4096;
  PutFlags put;
};

// Reads and submits in a thread of its own while the results are printed.
class Feeder {
 public:
  explicit Feeder(TaskStream stream)
      : stream_(std::move(stream)), reader_(STDIN_FILENO), thread_([this] { Run(); }) {}
  ~Feeder() {
    reader_.Stop();
    stream_.close();
    thread_.join();
  }
  // Once the stream has ended: why reading stopped early, if it did.
  void RethrowError() {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  void Run() {
    try {
      std::string line;
      while (reader_.Next(&line)) stream_.submit(line, {}, reader_.buffered());
    } catch (const Closed&) {  // the printing side gave up
    } catch (...) {
      error_ = std::current_exception();
    }
    stream_.close();
  }

  TaskStream stream_;
  LineReader reader_;
  std::exception_ptr error_;
  std::thread thread_;
};

// Collects what failed for the last line: `3 of 9 failed: lines 2, 7-8: no good; timed out`.
class Failures {
 public:
  // In the order of lines.
  void Add(const Outcome& outcome) {
    const uint64_t line = outcome.index + 1;
    ++count_;
    if (!ranges_.empty() && ranges_.back().last + 1 == line) {
      ranges_.back().last = line;
    } else if (ranges_.size() < kRangesTold) {
      ranges_.push_back({line, line});
    } else {
      ++untold_;
    }
    const std::string reason = outcome.message.empty() ? to_string(outcome.kind) : outcome.message;
    if (std::find(reasons_.begin(), reasons_.end(), reason) != reasons_.end()) return;
    if (reasons_.size() < kReasonsTold) {
      reasons_.push_back(reason);
    } else {
      more_reasons_ = true;
    }
  }
  uint64_t count() const { return count_; }
  std::string Summary(uint64_t total) const {
    std::string lines;
    for (const auto& [first, last] : ranges_) {
      if (!lines.empty()) lines += ", ";
      lines += first == last ? fmt::format("{}", first) : fmt::format("{}-{}", first, last);
    }
    if (untold_ > 0) lines += fmt::format(" and {} more", untold_);
    return fmt::format("{} of {} failed: {} {}: {}{}", count_, total, count_ == 1 ? "line" : "lines", lines,
                       fmt::join(reasons_, "; "), more_reasons_ ? "; and other reasons" : "");
  }

 private:
  struct Range {
    uint64_t first, last;
  };
  uint64_t count_ = 0;
  std::vector<Range> ranges_;
  uint64_t untold_ = 0;  // lines past the last range
  std::vector<std::string> reasons_;
  bool more_reasons_ = false;
};

void Map(Cli* cli, const Options& options) {
  PoolOptions pool_options = options.put.ForPool();
  pool_options.window = options.window;
  Pool pool(cli->client(), options.queue, pool_options);
  cli->client().queue_info(options.queue);  // NotFound now, not a line at a time
  TaskStream stream = pool.stream(options.handler, true);
  Feeder feeder(stream);
  Failures failures;
  Progress progress;
  uint64_t total = 0;
  while (auto outcome = stream.next()) {
    ++total;
    if (!outcome->succeeded) failures.Add(*outcome);
    if (cli->json) {
      Json json = ToJson(*outcome);
      json["line"] = outcome->index + 1;
      PrintLine(json);
    } else {
      Print(outcome->succeeded ? PayloadLine(outcome->payload, outcome->content_type) : "\n");
    }
    if (!stream.has_outcome()) std::fflush(stdout);
    progress.Show(total, stream.submitted(), failures.count());
  }
  progress.Clear();
  feeder.RethrowError();
  if (failures.count() == 0) return;
  std::fflush(stdout);
  PrintError(failures.Summary(total));
  cli->exit_status = kFailed;
}

}  // namespace

void AddMapCommand(CLI::App* app, Cli* cli) {
  auto options = std::make_shared<Options>();
  CLI::App* map =
      app->add_subcommand("map", "Run a handler for each line of stdin; prints the results in order")
          ->group(kTasksGroup);
  Example(map, "seq 1000 | joinq map digest --max-attempts 3\n(an empty line for one that failed)");
  map->add_option("HANDLER", options->handler, "The handler's name")->required();
  map->add_option("-Q,--queue", options->queue, "The queue whose workers run it")->capture_default_str();
  AddUnsigned(map, "--window", &options->window, "Tasks under way at a time", 1, kWindowMax)
      ->capture_default_str();
  options->put.AddTo(map);
  options->put.AddDaemonTo(map);
  Cli::OnRun(map, [=] { Map(cli, *options); });
}

}  // namespace joinq::cli
