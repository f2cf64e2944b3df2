#include "client/cli/command_line.h"

#include <cstdlib>
#include <fstream>
#include <string_view>

namespace joinq::cli {
namespace {

std::string EnvName(const std::string& long_name) {
  std::string name = "JOINQ_";
  for (char c : long_name)
    name += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

// Null if there is none of that name.
template <typename App>
App* FindCommand(App* group, const std::string& name) {
  for (auto* command : group->get_subcommands({})) {
    if (command->check_name(name)) return command;
  }
  return nullptr;
}

std::string ConfigPath(int argc, const char* const* argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "--") break;
    if (word == "--config" && i + 1 < argc) return argv[i + 1];
    if (word.starts_with("--config=")) return std::string(word.substr(9));
  }
  const char* from_env = std::getenv("JOINQ_CONFIG");
  return from_env ? from_env : "";
}

}  // namespace

void AddAll(CLI::App* app, Cli* cli) {
  app->require_subcommand(1);
  app->set_version_flag("--version", "joinq 0.1.0");
  app->add_option("-u,--url", cli->url, "The broker: HOST:PORT, HOST, [IPV6]:PORT or unix:PATH")
      ->capture_default_str();
  app->add_option("--connect-timeout", cli->connect_timeout, "Seconds to try to reach the broker")
      ->capture_default_str();
  app->add_flag("--json", cli->json, "Print JSON");
  app->add_option("--config", cli->config,
                  "A file with values for options: key = value, a [section] a command");
  app->get_formatter()->label("SUBCOMMAND", "COMMAND");
  app->footer("joinq COMMAND --help tells more, with an example.");
  AddPutCommand(app, cli);
  AddGetCommand(app, cli);
  AddSubmitCommands(app, cli);
  AddMapCommand(app, cli);
  AddTaskCommands(app, cli);
  AddLeaseCommands(app, cli);
  AddQueueCommands(app, cli);
  AddDeadCommands(app, cli);
  AddHealthCommand(app, cli);
  AddServerCommands(app, cli);
  AddWorkerCommands(app, cli);
  AddBenchCommand(app, cli);
}

void AddEnvironment(CLI::App* app) {
  for (CLI::Option* option : app->get_options()) {
    const auto& names = option->get_lnames();
    if (!names.empty() && names[0] != "help" && names[0] != "version") option->envname(EnvName(names[0]));
  }
  for (CLI::App* command : app->get_subcommands({})) AddEnvironment(command);
}

void ApplyConfigFile(CLI::App* app, int argc, const char* const* argv) {
  const std::string path = ConfigPath(argc, argv);
  if (path.empty()) return;
  std::ifstream file(path);
  if (!file) throw UsageError("--config: cannot read \"" + path + "\"");
  std::vector<CLI::ConfigItem> items;
  try {
    items = CLI::ConfigINI().from_config(file);
  } catch (const CLI::Error& error) {
    throw UsageError("--config: " + path + ": " + error.what());
  }
  for (const CLI::ConfigItem& item : items) {
    if (item.name == "++" || item.name == "--") continue;  // section begins and ends
    CLI::App* command = app;
    for (const std::string& parent : item.parents) {
      if (parent == "default") continue;
      command = command ? FindCommand(command, parent) : nullptr;
    }
    CLI::Option* option = command ? command->get_option_no_throw("--" + item.name) : nullptr;
    if (option == nullptr)
      throw UsageError("--config: " + path + ": there is no option \"" + item.fullname() + "\"");
    try {
      option->default_val(item.inputs.empty() ? std::string("true") : item.inputs[0]);
    } catch (const CLI::Error& error) {
      throw UsageError("--config: " + path + ": " + item.fullname() + ": " + error.what());
    }
  }
}

void RequireKnownVerbs(const CLI::App& app, int argc, const char* const* argv) {
  const CLI::App* at = &app;
  for (int i = 1; i < argc && !at->get_subcommands({}).empty(); ++i) {
    const std::string_view word = argv[i];
    if (word == "-h" || word == "--help" || word == "--version") return;
    if (word.size() > 1 && word[0] == '-') {
      const CLI::Option* option = app.get_option_no_throw(std::string(word));
      if (option != nullptr && option->get_items_expected_max() > 0) ++i;  // its value
      continue;
    }
    const std::string verb(word);
    const CLI::App* next = FindCommand(at, verb);
    const std::string group = at == &app ? "" : at->get_name() + ": ";
    if (next == nullptr) throw UsageError(group + "there is no command \"" + verb + "\"; see joinq --help");
    at = next;
  }
  if (!at->get_subcommands({}).empty()) {
    throw UsageError(at == &app ? "a command is needed; see joinq --help"
                                : at->get_name() + ": needs a verb; see joinq " + at->get_name() + " --help");
  }
}

}  // namespace joinq::cli
