// What the oracle knows: of each put, of each task, of each lease.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "server/core/broker.h"

namespace joinq::sim {

// One put as its client means it, however often it is sent.
struct PutFacts {
  uint64_t number = 0;  // in the payload, so that each delivery says whose it is
  std::string queue, payload, unique_key;
  core::UniqueScope scope = core::UniqueScope::kUnfinished;
  uint32_t unique_ms = 0, delay_ms = 0, ttl_ms = 0;
  int16_t priority = 0;
  bool deadline = false;  // ttl_ms is one
  uint32_t time_limit_ms = 0;
  bool fresh_process = false;
  uint64_t session = 0;               // that it is bound to; 0: none
  core::Time applied = core::kNever;  // first
  uint64_t applied_epoch = 0;
  core::TaskId told{0};            // the one task that it became, as far as anybody was told
  bool retried = false;            // its task was made ready by an operator, at some time
  std::set<core::TaskId> aliases;  // tasks of other puts that answered it, by their unique key
};

struct TaskFacts {
  core::TaskId id{0};
  uint64_t number = 0;
  std::string queue;
  core::Durability durability = core::Durability::kFsync;
  // The commit that each was told behind; 0: not told.
  uint64_t acked_at = 0, ended_at = 0, over_at = 0;
  uint64_t process_at = 0;  // it succeeded, and how its process ended was accepted
  bool may_end = false;     // something was applied that may have ended it
  bool touched = false;     // delivered, given back, retried or made known too late to check its place
  bool delivered = false;
  bool retried = false;
  uint64_t acked_round = 0;
  core::Time accepted{}, accepted_latest = core::kNever;
  core::Time not_before{};
  core::Token newest;  // of the deliveries that were told
};

struct LeaseFacts {
  core::Token token;
  uint64_t session = 0;  // 0: ends by time
  core::Time granted{};
  uint64_t marked_at = 0;  // the commit that certainly has it on disk; 0: none
};

// What is known of a client's session.
struct SessionFacts {
  core::CallerId stream = core::kNobody;
  core::Time safe_until{};  // it cannot have ended before
  bool may_be_over = false;
};

// The process that the simulated workers run a task in, if it has its own.
inline uint32_t PidOf(core::TaskId task) {
  return static_cast<uint32_t>(1 + Raw(task) % 30'000);
}

// A lease that was on disk when the broker died: nobody else gets the task before `until`.
struct Protected {
  core::Token token;
  uint64_t session = 0;
  core::Time until{};
};

// What a run has seen.
struct Totals {
  uint64_t seeds = 0, rounds = 0, operations = 0, puts = 0, acked = 0, deliveries = 0, redeliveries = 0,
           ended = 0;
  uint64_t crashes = 0, machine_crashes = 0, commits = 0, commits_lost = 0, rows_moved = 0, loads = 0;
  uint64_t breaks = 0, repeats = 0, joins_ok = 0, joins_late = 0, results = 0, protected_leases = 0,
           sweeps = 0;
  uint64_t cancels_sure = 0, cancels_unsure = 0;  // that waited for the end of the work
  uint64_t order_checks = 0, bound = 0, processes = 0;

  void Add(const Totals& other);
  std::string Text() const;
  // "" or which figure is too small for the run to mean anything.
  std::string TooLittle() const;
};

}  // namespace joinq::sim
