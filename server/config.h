// joinqd's command line, environment (JOINQ_*) and configuration file.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "common/net_address.h"
#include "server/core/broker.h"
#include "server/storage/disk_space.h"

namespace joinq {

struct ServerConfig {
  std::string version;
  std::string data_directory;    // empty: memory only
  bool salvage = false;          // repair what is damaged
  std::string backup_directory;  // where backups may go, absolute; empty: nowhere
  std::string restore_from;      // a backup to begin with; empty: none
  std::vector<NetAddress> listen;
  std::optional<NetAddress> http;  // none: off
  std::string port_file;           // empty: none
  std::string log_level;
  core::Limits limits;
  storage::DiskLimits disk;
};

// The configuration, or the exit status to end with: 0 after --help and
// --version, 2 after a one-line error on stderr.
std::variant<ServerConfig, int> ParseServerConfig(int argc, char** argv);

}  // namespace joinq
