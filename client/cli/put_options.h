// The options of put that submit and map have too.
#pragma once

#include <string>
#include <vector>

#include "client/cli/cli.h"

namespace joinq::cli {

struct PutFlags {
  double delay = 0;
  uint32_t max_attempts = 0;
  uint32_t max_crashes = 0;
  double retry_delay = 0;
  double result_ttl = 0;
  std::vector<std::string> headers;  // name:value

  void AddTo(CLI::App* command);
  Headers ParsedHeaders() const;  // UsageError
  PutOptions ForPut(const std::string& handler) const;
  PoolOptions ForPool() const;
};

}  // namespace joinq::cli
