// The command line as a whole: all commands, and where option values come from.
#pragma once

#include <CLI/CLI.hpp>

#include "client/cli/cli.h"

namespace joinq::cli {

// Adds the global options and every command to `app`.
void AddAll(CLI::App* app, Cli* cli);

// Flag, then environment (JOINQ_ and the long name), then config file, then default:
// gives every option its variable, and sets what the file says as defaults. The file
// is INI/TOML as `url = "host:port"` with a section a command, `[queue.create]`.
// Throws UsageError.
void AddEnvironment(CLI::App* app);
void ApplyConfigFile(CLI::App* app, int argc, const char* const* argv);

// UsageError naming the first word that should be a command and is none.
void RequireKnownVerbs(const CLI::App& app, int argc, const char* const* argv);

}  // namespace joinq::cli
