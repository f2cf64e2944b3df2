// A module with initializers of children, which misbehave while a file says so.
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <string>

#include "joinq/worker.h"

namespace {
int initialized_by = 0;

std::string Wanted() {
  const char* file = std::getenv("INITIALIZER_FILE");
  std::string word;
  if (file != nullptr) std::ifstream(file) >> word;
  return word;
}
}  // namespace

JOINQ_CHILD_INIT([] {
  const std::string wanted = Wanted();
  if (wanted == "throw") throw std::runtime_error("no connection to be had");
  if (wanted == "crash") std::abort();
  if (wanted == "hang") pause();
  initialized_by = getpid();
});
JOINQ_TASK(initialized_here, [] { return initialized_by == getpid(); });
