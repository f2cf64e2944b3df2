#include "absl/strings/str_cat.h"
#include "tests/sim/facts.h"

namespace joinq::sim {

void Totals::Add(const Totals& other) {
  // All of them are counts.
  auto* mine = reinterpret_cast<uint64_t*>(this);
  const auto* others = reinterpret_cast<const uint64_t*>(&other);
  static_assert(sizeof(Totals) % sizeof(uint64_t) == 0);
  for (size_t i = 0; i < sizeof(Totals) / sizeof(uint64_t); ++i) mine[i] += others[i];
}

std::string Totals::Text() const {
  return absl::StrCat(
      seeds, " seeds: ", rounds, " rounds, ", operations, " operations, ", puts, " puts (", repeats,
      " repeated, ", acked, " acknowledged), ", deliveries, " deliveries (", redeliveries, " again), ", ended,
      " ends, ", results, " results, ", joins_ok, " joins answered OK and ", joins_late, " not, ", breaks,
      " broken connections, ", crashes, " deaths of the broker and ", machine_crashes, " of its machine, ",
      commits, " commits (", commits_lost, " lost), ", rows_moved, " rows written, ", loads,
      " payloads read back, ", protected_leases, " leases found on disk, ", order_checks, " places checked, ",
      sweeps, " sweeps, ", cancels_sure, " ends of cancelled work confirmed and ", cancels_unsure, " not, ",
      bound, " tasks of sessions that left, ", processes, " ends of processes");
}

std::string Totals::TooLittle() const {
  const struct {
    const char* what;
    uint64_t count, per_hundred_seeds;
  } floors[] = {
      {"operations", operations, 50'000},
      {"acknowledged puts", acked, 5'000},
      {"repeated puts", repeats, 200},
      {"deliveries", deliveries, 5'000},
      {"redeliveries", redeliveries, 500},
      {"ends", ended, 3'000},
      {"results", results, 500},
      {"joins answered OK", joins_ok, 100},
      {"broken connections", breaks, 500},
      {"deaths of the broker", crashes, 100},
      {"deaths of the machine", machine_crashes, 50},
      {"lost commits", commits_lost, 20},
      {"rows written", rows_moved, 500},
      {"payloads read back", loads, 200},
      {"leases found on disk", protected_leases, 50},
      {"places checked", order_checks, 1'000},
      {"confirmed ends of cancelled work", cancels_sure, 50},
      {"tasks of sessions that left", bound, 50},
      {"ends of processes", processes, 50},
  };
  for (const auto& floor : floors) {
    const uint64_t least = floor.per_hundred_seeds * seeds / 100;
    if (floor.count < least)
      return absl::StrCat("only ", floor.count, " ", floor.what, ", less than ", least);
  }
  return {};
}

}  // namespace joinq::sim
