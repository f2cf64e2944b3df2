// The environment that modules and children get.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace joinq {

struct ChildEnvironment {
  bool clean = false;             // only what every program needs, and what is named here
  std::vector<std::string> keep;  // names that a clean one has as well, if they are set
  std::vector<std::pair<std::string, std::string>> set;
};

// Whether children may have a variable of that name at all: not the worker's options and
// secrets, nor what the service manager told the worker.
bool MayReachChildren(std::string_view name);

// Makes this process's environment such a one. What is dropped is overwritten too, since
// /proc/PID/environ shows the memory that a process began with. Single-threaded only.
void EnterChildEnvironment(const ChildEnvironment& wanted);

}  // namespace joinq
