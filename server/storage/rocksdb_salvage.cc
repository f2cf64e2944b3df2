#include "server/storage/rocksdb_salvage.h"

#include <rocksdb/env.h>

#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <system_error>

#include "fmt/format.h"
#include "server/storage/data_directory.h"
#include "spdlog/spdlog.h"

namespace joinq::storage {
namespace {

namespace fs = std::filesystem;

// Passes the engine's warnings on to our log: they say what it drops. Its own log
// gets everything, as without this.
class WarningsToo final : public rocksdb::Logger {
 public:
  explicit WarningsToo(std::shared_ptr<rocksdb::Logger> own) : own_(std::move(own)) {}
  using Logger::Logv;
  void Logv(rocksdb::InfoLogLevel level, const char* format, va_list args) override {
    if (level == rocksdb::InfoLogLevel::WARN_LEVEL || level == rocksdb::InfoLogLevel::ERROR_LEVEL) {
      std::array<char, 512> line;
      va_list again;
      va_copy(again, args);
      std::vsnprintf(line.data(), line.size(), format, again);
      va_end(again);
      spdlog::warn("salvage: {}", line.data());
    }
    if (own_ != nullptr) own_->Logv(level, format, args);
  }

 private:
  const std::shared_ptr<rocksdb::Logger> own_;
};

bool IsDamage(const rocksdb::Status& status) {
  return status.IsCorruption() || status.IsPathNotFound() || status.IsNotFound();
}

// The newest manifest is the one that CURRENT named.
void NameNewestManifest(const fs::path& path) {
  std::error_code error;
  if (fs::exists(path / "CURRENT", error)) return;
  std::string newest;
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename();
    if (name.rfind("MANIFEST-", 0) == 0 && std::pair(name.size(), name) > std::pair(newest.size(), newest)) {
      newest = name;
    }
  }
  if (newest.empty()) return;
  spdlog::warn("salvage: CURRENT is missing; taking {}", newest);
  std::ofstream(path / "CURRENT") << newest << "\n";
}

// RepairDB knows a column family by its tables: records of the log that belong to
// one without tables are thrown away. So each gets a table with a tombstone of
// nothing, taken from a new database, in which the families have the same numbers.
absl::Status NameColumnFamilies(const std::string& directory) {
  const fs::path path = fs::path(directory) / "db", skeleton = fs::path(directory) / "skeleton";
  std::error_code error;
  fs::remove_all(skeleton, error);
  fs::create_directory(skeleton, error);
  {
    Database fresh;
    auto status = OpenDatabase(skeleton, DatabaseSettings(skeleton), &fresh);
    for (auto* family : {fresh.meta, fresh.rows, fresh.journal}) {
      if (status.ok()) status = fresh.db->Delete({}, family, "nothing");
      if (status.ok()) status = fresh.db->Flush({}, family);
    }
    if (!status.ok()) return ToStatus(skeleton, status);
  }
  uint64_t number = 0;
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    number = std::max<uint64_t>(number, std::strtoull(it->path().filename().c_str(), nullptr, 10));
  }
  for (fs::directory_iterator it(skeleton / "db", error), end; !error && it != end; it.increment(error)) {
    if (it->path().extension() != ".sst") continue;
    fs::rename(it->path(), path / fmt::format("{:06}.sst", ++number), error);
  }
  if (!error) fs::remove_all(skeleton, error);
  if (error) return absl::UnavailableError("salvage of " + directory + ": " + error.message());
  return SyncDirectory(path);
}

std::set<std::string> TablesSetAside(const fs::path& path) {
  std::set<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(path / "lost", error), end; !error && it != end; it.increment(error)) {
    if (it->path().extension() == ".sst") names.insert(it->path().filename());
  }
  return names;
}

// Opens, and reads every table once.
rocksdb::Status OpenAndVerify(const std::string& directory, const rocksdb::DBOptions& settings,
                              Database* database) {
  rocksdb::Status status = OpenDatabase(directory, settings, database);
  if (status.ok()) status = database->db->VerifyChecksum();
  if (!status.ok()) database->db.reset();
  return status;
}

}  // namespace

absl::Status SalvageDatabase(const std::string& directory, Database* database) {
  if (absl::Status bad = SetOrigin(directory, Origin::kRepaired); !bad.ok()) return bad;
  const std::string path = directory + "/db";
  rocksdb::DBOptions settings = DatabaseSettings(directory);
  std::shared_ptr<rocksdb::Logger> own;
  rocksdb::CreateLoggerFromOptions(path, settings, &own).PermitUncheckedError();
  settings.info_log = std::make_shared<WarningsToo>(std::move(own));
  settings.wal_recovery_mode = rocksdb::WALRecoveryMode::kSkipAnyCorruptedRecords;
  settings.avoid_flush_during_recovery = false;  // the damaged logs must not be read again

  NameNewestManifest(path);
  rocksdb::Status status = OpenAndVerify(directory, settings, database);
  if (!IsDamage(status)) {
    if (status.ok()) spdlog::info("salvage: every table of {} can be read", directory);
    return ToStatus(directory, status);
  }
  spdlog::warn("salvage: {}; keeping the tables that can be read whole", status.ToString());
  const auto before = TablesSetAside(path);
  if (absl::Status bad = NameColumnFamilies(directory); !bad.ok()) return bad;
  status = rocksdb::RepairDB(path, settings, ColumnFamilies(directory, database->dropped));
  if (status.ok()) status = OpenAndVerify(directory, settings, database);
  if (!status.ok()) return ToStatus(directory, status);
  for (const std::string& name : TablesSetAside(path)) {
    if (before.contains(name)) continue;
    std::error_code error;
    spdlog::error("salvage: what was in {} ({} bytes) is lost; the file is in {}/lost", name,
                  fs::file_size(fs::path(path) / "lost" / name, error), path);
  }
  return absl::OkStatus();
}

}  // namespace joinq::storage
