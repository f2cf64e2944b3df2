#include "worker/process/environment.h"

#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

namespace joinq {
namespace {

// A program that found these would speak to the service manager in the worker's name.
constexpr std::string_view kServiceManagers[] = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
                                                 "LISTEN_PID",    "LISTEN_FDS",    "LISTEN_FDNAMES",
                                                 "LISTEN_PIDFDID"};
constexpr std::string_view kOfEveryProgram[] = {"PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR"};

template <typename Names>
bool Has(const Names& names, std::string_view name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

bool Wanted(const ChildEnvironment& wanted, std::string_view name) {
  if (!MayReachChildren(name)) return false;
  return !wanted.clean || Has(kOfEveryProgram, name) || name.starts_with("LC_") || Has(wanted.keep, name);
}

}  // namespace

bool MayReachChildren(std::string_view name) {
  // A joinq run by a handler would take the worker's options for its own. Where the
  // broker is may be known.
  if (name == "JOINQ_URL") return true;
  return !name.starts_with("JOINQ_") && !Has(kServiceManagers, name);
}

void EnterChildEnvironment(const ChildEnvironment& wanted) {
  std::vector<std::string> dropped;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text(*variable);
    const std::string_view name = text.substr(0, text.find('='));
    if (Wanted(wanted, name)) continue;
    dropped.emplace_back(name);
    explicit_bzero(*variable + name.size(), text.size() - name.size());
    if (name.size() < text.size()) (*variable)[name.size()] = '=';  // unsetenv finds it by that
  }
  for (const auto& name : dropped) unsetenv(name.c_str());
  for (const auto& [name, value] : wanted.set) setenv(name.c_str(), value.c_str(), 1);
}

}  // namespace joinq
