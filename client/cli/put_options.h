// The options of put that submit and map have too.
#pragma once

#include <string>
#include <vector>

#include "client/cli/cli.h"

namespace joinq::cli {

struct PutFlags {
  double delay = 0;
  std::string eta;
  double ttl = 0;
  int priority = 0;
  uint32_t max_attempts = 0;
  uint32_t max_crashes = 0;
  double retry_delay = 0;
  double result_ttl = 0;
  std::vector<std::string> headers;  // name=value
  std::string unique_key;
  std::string unique_scope;
  std::string request_id;
  double time_limit = 0;
  double soft_time_limit = 0;
  double deadline = 0;
  bool process = false;
  bool daemon = false;

  void AddTo(CLI::App* command);
  // Those that name one task: not for map.
  void AddKeysTo(CLI::App* command);
  // For commands that may wait for the outcome.
  void AddDaemonTo(CLI::App* command);

  bool has_key() const { return !unique_key.empty() || !request_id.empty(); }
  PutOptions ForPut(const std::string& handler) const;  // UsageError
  PoolOptions ForPool() const;                          // likewise; without the keys

 private:
  Headers ParsedHeaders() const;
  std::optional<TimePoint> ParsedEta() const;
};

// "a note on stderr": what was asked for exists already, nothing was put.
void NoteExisting(uint64_t id);

}  // namespace joinq::cli
