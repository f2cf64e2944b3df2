// What all commands of `joinq` share: the global options, the client, the exit
// statuses and the way errors are told.
#pragma once

#include <joinq/client.h>

#include <CLI/CLI.hpp>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

namespace joinq::cli {

enum ExitStatus {
  kDone = 0,
  kFailed = 1,  // the task or the command failed
  kUsage = 2,
  kUnreachable = 3,  // no broker
  kNotAllowed = 4,
  kTimedOut = 124,  // also Empty and Full
  kInterrupted = 130,
};

// The queue of submit, map and bench, and of a worker, unless they are told another.
inline constexpr char kDefaultQueue[] = "default";

// Most tasks under way at a time that a command may be told to keep.
inline constexpr uint64_t kWindowMax = 1'000'000;

// Seconds as given on the command line.
struct Seconds {
  double value = 0;
  bool given = false;
};

class Cli {
 public:
  std::string url = "127.0.0.1:7420";
  std::string config;
  double connect_timeout = 5;
  bool json = false;
  int exit_status = kDone;

  // Made with the first use, from the options.
  Client& client();
  // Closes the client: what is under way is told to the broker.
  void Close() { client_.reset(); }

  // Registers `run` as the command's work and lets it see the global options.
  static void OnRun(CLI::App* command, std::function<void()> run);

 private:
  std::unique_ptr<Client> client_;
};

// A mistake in the command line that the parser cannot see.
class UsageError : public Error {
 public:
  using Error::Error;
};

// Milliseconds of an option in seconds; UsageError if negative, NaN or too long.
Millis ToMillis(const std::string& option, double seconds);
// kForever unless given.
Millis TimeoutOf(const CLI::Option* option, double seconds);

// Takes a whole number in decimal digits. CLI11 alone would wrap negative ones and
// read others as octal or hexadecimal.
CLI::Validator WholeNumber(uint64_t min, uint64_t max);
// Adds an option or positional for one. All unsigned ones are added with this.
template <typename T>
CLI::Option* AddUnsigned(CLI::App* command, const std::string& name, T* value, const std::string& help,
                         uint64_t min = 0, uint64_t max = std::numeric_limits<T>::max()) {
  static_assert(std::is_unsigned_v<T>);
  return command->add_option(name, *value, help)->transform(WholeNumber(min, max));
}

// A whole number with a sign.
CLI::Validator Integer(int64_t min, int64_t max);
// One of some words.
CLI::Validator OneOf(std::vector<std::string> words);
// Closes the help of a command with an example of it.
CLI::App* Example(CLI::App* command, const std::string& example);
// The value of `names` whose name `text` is; OneOf has checked it.
template <typename E>
E Named(const std::string& text, std::initializer_list<E> values) {
  for (E value : values) {
    if (text == to_string(value)) return value;
  }
  throw UsageError("there is no \"" + text + "\"");
}

// One line on stderr: "joinq: " and `what`, line breaks made spaces.
void PrintError(const std::string& what);
int StatusOf(const std::exception& error);
// Runs `work`, tells its exception, and answers with the exit status.
int Guard(const std::function<int()>& work);

// Headings of the help, under which commands stand.
inline constexpr char kTasksGroup[] = "Tasks";
inline constexpr char kLeasesGroup[] = "Leases, as `get --json` prints them";
inline constexpr char kQueuesGroup[] = "Queues";
inline constexpr char kBrokerGroup[] = "Broker and workers";

void AddPutCommand(CLI::App* app, Cli* cli);
void AddGetCommand(CLI::App* app, Cli* cli);
void AddSubmitCommands(CLI::App* app, Cli* cli);
void AddMapCommand(CLI::App* app, Cli* cli);
void AddTaskCommands(CLI::App* app, Cli* cli);
void AddLeaseCommands(CLI::App* app, Cli* cli);
void AddQueueCommands(CLI::App* app, Cli* cli);
void AddDeadCommands(CLI::App* app, Cli* cli);
void AddWorkerCommands(CLI::App* app, Cli* cli);
void AddServerCommands(CLI::App* app, Cli* cli);
void AddHealthCommand(CLI::App* app, Cli* cli);
void AddBenchCommand(CLI::App* app, Cli* cli);

// Up to `count` tasks of a filter, from as many pages as that takes. Of task and dead.
std::vector<TaskInfo> TakePages(Cli* cli, const TaskFilter& filter, uint64_t after, uint32_t count);
// Prints a task's outcome, or throws TaskFailed. Of submit and task.
void PrintOutcome(Cli* cli, const Outcome& outcome);
// Adds ID and --wait to a command and lets it print the result.
void AddResult(CLI::App* command, Cli* cli);

}  // namespace joinq::cli
