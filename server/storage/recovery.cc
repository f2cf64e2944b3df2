#include "server/storage/recovery.h"

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "server/core/restorer.h"
#include "server/storage/record_codec.h"
#include "server/storage/wire.h"
#include "spdlog/spdlog.h"

namespace joinq::storage {

absl::StatusOr<Recovered> Recover(Store* store, Partition partition, core::Time now, core::Broker* broker) {
  core::Restorer restorer(broker);
  Recovered recovered;
  absl::flat_hash_set<std::string> known;  // set aside by an earlier start
  const auto set_aside = [&](std::string key, std::string_view bytes, const absl::Status& why) {
    if (known.contains(key)) return;
    spdlog::error("{}: {} byte(s) set aside as row \"{}\"", std::string(why.message()), bytes.size(), key);
    recovered.aside.row_puts.push_back({std::move(key), std::string(bytes)});
    ++recovered.newly_set_aside;
  };
  // Rows come in the order of their keys, and what they need before them: a queue's row
  // ('q') stands before its tasks' ('t'), those before the keys ('u') that name them.
  absl::Status status = store->ScanRows(partition, [&](std::string_view key, std::string_view value) {
    ++recovered.rows;
    if (!key.empty() && key[0] == kAsidePrefix) {
      known.insert(std::string(key));
      return absl::OkStatus();
    }
    if (absl::Status bad = DecodeRow(key, value, &restorer); !bad.ok()) {
      set_aside(kAsidePrefix + std::string(key), value, bad);
      recovered.aside.row_deletes.emplace_back(key);
    }
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  uint64_t bad_records = 0;
  status = store->ScanEntries(partition, 0, [&](uint64_t number, std::string_view entry) {
    ++recovered.entries;
    restorer.BeginEntry(number, entry.size());
    uint64_t place = 0;
    DecodeEntry(entry, &restorer, [&](std::string_view record, const absl::Status& why) {
      ++bad_records;
      set_aside(absl::StrCat(std::string(1, kAsidePrefix), "journal/", number, "/", place++), record, why);
    });
    restorer.EndEntry();
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  const bool missing = bad_records > 0 || !recovered.aside.row_deletes.empty() || restorer.orphans() > 0;
  restorer.Finish(now, missing);
  recovered.orphans = restorer.orphans();
  recovered.set_aside = known.size() + recovered.newly_set_aside;
  if (recovered.orphans > 0) spdlog::error("{} task(s) without a queue were left out", recovered.orphans);
  if (std::string problem = broker->CheckInvariants(); !problem.empty())
    return absl::DataLossError("the restored state does not add up: " + problem);
  return recovered;
}

}  // namespace joinq::storage
