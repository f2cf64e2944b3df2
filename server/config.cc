#include "server/config.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/names.h"

#ifndef JOINQ_VERSION
#define JOINQ_VERSION "unknown"
#endif

namespace joinq {
namespace {

struct Flags {
  std::string data;
  std::string restore;
  std::string backup_directory;
  bool memory = false;
  bool salvage = false;
  std::vector<std::string> listen = {"127.0.0.1:7420"};
  std::string http = "127.0.0.1:7421";
  std::string port_file;
  std::string log_level = "info";
  uint32_t max_payload = kPayloadBytesMaxDefault;
  uint64_t memory_limit_mib = 4096;
  uint64_t memory_budget_mib = 1024;
  std::optional<uint64_t> disk_low_mib, disk_critical_mib;
  double worker_grace = 3;
  double restart_grace = 10;
  double worker_timeout = 15;
};

constexpr uint32_t kPayloadBytesMaxMax = 3 << 20;  // so that one fits a message

constexpr uint64_t kMibMax = 1 << 24;
constexpr uint64_t kMemoryBudgetMibMin = 8;

absl::Status CheckDisk(const Flags& flags, storage::DiskLimits* disk) {
  for (auto [name, mib, bytes] : {std::tuple{"--disk-low", flags.disk_low_mib, &disk->low},
                                  {"--disk-critical", flags.disk_critical_mib, &disk->critical}}) {
    if (!mib.has_value()) continue;
    if (*mib > kMibMax) {
      return InvalidField(
          name, absl::StrCat("is ", *mib, "; it must be from 0, which is off, to ", kMibMax, " MiB"));
    }
    *bytes = *mib << 20;
  }
  if (disk->low.value_or(0) != 0 && disk->critical.value_or(0) > *disk->low) {
    return InvalidField("--disk-critical", "is more than --disk-low");
  }
  return absl::OkStatus();
}

absl::StatusOr<ServerConfig> Check(const Flags& flags) {
  ServerConfig config;
  if (flags.memory == !flags.data.empty()) {
    return absl::InvalidArgumentError(
        flags.memory ? "--memory and --data exclude each other"
                     : "give --data DIR for a durable broker, or --memory for one that forgets");
  }
  if (!flags.restore.empty() && flags.memory) {
    return absl::InvalidArgumentError("--restore needs --data DIR, a new directory, to restore into");
  }
  if (!flags.backup_directory.empty()) {
    if (flags.memory) return absl::InvalidArgumentError("--backup-dir needs --data DIR to back up");
    std::error_code error;
    if (!std::filesystem::is_directory(flags.backup_directory, error))
      return InvalidField("--backup-dir", flags.backup_directory + " is not a directory");
    config.backup_directory = std::filesystem::absolute(flags.backup_directory);
  }
  if (flags.salvage && flags.memory)
    return absl::InvalidArgumentError("--salvage needs --data DIR to repair");
  config.version = JOINQ_VERSION;
  config.data_directory = flags.data;
  config.restore_from = flags.restore;
  config.salvage = flags.salvage;
  for (const std::string& text : flags.listen) {
    auto address = ParseNetAddress("--listen", text, kGrpcPort);
    if (!address.ok()) return address.status();
    config.listen.push_back(*address);
  }
  if (!flags.http.empty() && flags.http != "off") {
    auto address = ParseNetAddress("--http", flags.http, kHttpPort);
    if (!address.ok()) return address.status();
    config.http = *address;
  }
  config.port_file = flags.port_file;
  config.log_level = flags.log_level;
  if (flags.max_payload < 1 || flags.max_payload > kPayloadBytesMaxMax) {
    return InvalidField("--max-payload", absl::StrCat("is ", flags.max_payload, "; it must be from 1 to ",
                                                      kPayloadBytesMaxMax, " bytes"));
  }
  config.limits.max_payload_bytes = flags.max_payload;
  if (flags.memory_limit_mib < 1 || flags.memory_limit_mib > kMibMax) {
    return InvalidField("--memory-limit", absl::StrCat("is ", flags.memory_limit_mib,
                                                       "; it must be from 1 to ", kMibMax, " MiB"));
  }
  config.limits.memory_bytes = flags.memory_limit_mib << 20;
  if (flags.memory_budget_mib < kMemoryBudgetMibMin || flags.memory_budget_mib > kMibMax) {
    return InvalidField("--memory-budget", absl::StrCat("is ", flags.memory_budget_mib, "; it must be from ",
                                                        kMemoryBudgetMibMin, " to ", kMibMax, " MiB"));
  }
  config.limits.memory_budget_bytes = flags.memory_budget_mib << 20;
  if (absl::Status bad = CheckDisk(flags, &config.disk); !bad.ok()) return bad;
  auto grace = SecondsToMs("--worker-grace", flags.worker_grace);
  if (!grace.ok()) return grace.status();
  config.limits.worker_grace = core::Millis(*grace);
  auto restart_grace = SecondsToMs("--restart-grace", flags.restart_grace);
  if (!restart_grace.ok()) return restart_grace.status();
  config.limits.restart_grace = core::Millis(*restart_grace);
  auto timeout = SecondsToMs("--worker-timeout", flags.worker_timeout);
  if (!timeout.ok()) return timeout.status();
  if (*timeout < 1000) return InvalidField("--worker-timeout", "must be 1 second or more");
  config.limits.worker_timeout = core::Millis(*timeout);
  return config;
}

}  // namespace

std::variant<ServerConfig, int> ParseServerConfig(int argc, char** argv) {
  Flags flags;
  CLI::App app{
      "joinqd: the joinq broker. It holds queues of tasks for clients and workers.\n"
      "Every option can also be set as JOINQ_NAME in the environment or in a file (--config)."};
  app.add_option("--data", flags.data, "directory of the durable state; created with mode 0700")
      ->envname("JOINQ_DATA")
      ->type_name("DIR");
  app.add_option("--backup-dir", flags.backup_directory,
                 "clients may have backups made below this directory; without it there are none")
      ->envname("JOINQ_BACKUP_DIR")
      ->type_name("DIR");
  app.add_option("--restore", flags.restore,
                 "begin with a copy of this backup; --data must be missing or empty")
      ->envname("JOINQ_RESTORE")
      ->type_name("BACKUP");
  app.add_flag("--salvage", flags.salvage,
               "repair a damaged data directory: keep what can be read, log what is lost; copy it first")
      ->envname("JOINQ_SALVAGE");
  app.add_flag("--memory", flags.memory, "keep nothing on disk: a restart forgets everything")
      ->envname("JOINQ_MEMORY");
  app.add_option("--listen", flags.listen,
                 "gRPC address, repeatable: HOST:PORT or unix:PATH; port 0 takes a free one")
      ->envname("JOINQ_LISTEN")
      ->delimiter(',')
      ->type_name("ADDR")
      ->capture_default_str();
  app.add_option("--http", flags.http, "address of /metrics, /healthz and /readyz; off for none")
      ->envname("JOINQ_HTTP")
      ->type_name("ADDR|off")
      ->capture_default_str();
  app.add_option("--port-file", flags.port_file,
                 "once ready, write a line per address here: grpc ADDR, http ADDR")
      ->envname("JOINQ_PORT_FILE")
      ->type_name("FILE");
  app.add_option("-l,--log-level", flags.log_level, "trace, debug, info, warn, error or off")
      ->envname("JOINQ_LOG_LEVEL")
      ->type_name("LEVEL")
      ->capture_default_str();
  app.add_option("--max-payload", flags.max_payload, "most bytes of a task's payload or result")
      ->envname("JOINQ_MAX_PAYLOAD")
      ->type_name("BYTES")
      ->capture_default_str();
  app.add_option("--memory-limit", flags.memory_limit_mib, "MiB of tasks held; puts beyond it are refused")
      ->envname("JOINQ_MEMORY_LIMIT")
      ->type_name("MIB")
      ->capture_default_str();
  app.add_option("--memory-budget", flags.memory_budget_mib,
                 "MiB of payloads kept in memory; others are on disk until they are needed")
      ->envname("JOINQ_MEMORY_BUDGET")
      ->type_name("MIB")
      ->capture_default_str();
  app.add_option("--disk-low", flags.disk_low_mib,
                 "free MiB below which puts are refused, 0 for never [the lesser of 10 % and 1024]")
      ->envname("JOINQ_DISK_LOW")
      ->type_name("MIB");
  app.add_option("--disk-critical", flags.disk_critical_mib,
                 "free MiB below which only completions are taken, 0 for never [the lesser of 2.5 % and 256]")
      ->envname("JOINQ_DISK_CRITICAL")
      ->type_name("MIB");
  app.add_option("--worker-grace", flags.worker_grace,
                 "seconds a worker has to reconnect before its tasks go to others")
      ->envname("JOINQ_WORKER_GRACE")
      ->type_name("S")
      ->capture_default_str();
  app.add_option("--restart-grace", flags.restart_grace,
                 "seconds the holders of running tasks have to come back after a restart of the broker")
      ->envname("JOINQ_RESTART_GRACE")
      ->type_name("S")
      ->capture_default_str();
  app.add_option("--worker-timeout", flags.worker_timeout, "seconds of silence after which a worker is dead")
      ->envname("JOINQ_WORKER_TIMEOUT")
      ->type_name("S")
      ->capture_default_str();
  app.set_config("--config", "", "file with options as NAME=VALUE lines")
      ->envname("JOINQD_CONFIG")
      ->type_name("FILE");
  app.set_version_flag("--version", std::string("joinqd ") + JOINQ_VERSION);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& done) {
    return app.exit(done);
  } catch (const CLI::ParseError& error) {
    const std::string what = error.what();
    std::fprintf(stderr, "joinqd: %s (see joinqd --help)\n", what.substr(0, what.find('\n')).c_str());
    return 2;
  }
  auto config = Check(flags);
  if (!config.ok()) {
    std::fprintf(stderr, "joinqd: %s\n", std::string(config.status().message()).c_str());
    return 2;
  }
  return *std::move(config);
}

}  // namespace joinq
