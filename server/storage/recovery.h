// From what a store holds to a broker that may serve: rows, then the journal, then
// a recount of everything.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "server/core/broker.h"
#include "server/storage/store.h"

namespace joinq::storage {

struct Recovered {
  uint64_t rows = 0, entries = 0;
  // Records that could not be decoded: kept aside under keys of their own, for whoever
  // wants to look. `newly` are those of this start, which the totals of their queues
  // no longer count.
  uint64_t set_aside = 0, newly_set_aside = 0;
  uint64_t orphans = 0;  // tasks whose queue is missing
  Batch aside;           // what sets the new ones aside; to be committed first
};

// `broker` must be new and is ready to serve afterwards. Errors: the store's own;
// DATA_LOSS if the state does not add up.
absl::StatusOr<Recovered> Recover(Store* store, Partition partition, core::Time now, core::Broker* broker);

}  // namespace joinq::storage
