#include "tests/sim/plan.h"

namespace joinq::sim {

using core::Millis;

Plan Plan::Make(Random* random) {
  Plan plan;
  core::Limits& limits = plan.limits;
  limits.worker_timeout = Millis(3000);
  limits.worker_grace = Millis(random->Any<int64_t>({300, 800}));
  limits.restart_grace = Millis(2500);
  limits.mark_after = Millis(random->Any<int64_t>({20, 100, 400, 1000}));
  plan.short_memory = random->OneIn(6);
  if (plan.short_memory) {
    limits.producer_grace = Millis(2000);
    limits.request_window = Millis(2000);
  }
  limits.journal_bytes_min = random->Any<uint64_t>({400, 2000, 10'000, 1 << 20});
  limits.memory_budget_bytes = random->Any<uint64_t>({1 << 30, 1 << 30, 300, 3000});
  if (random->OneIn(12)) limits.memory_bytes = 6000;
  if (random->OneIn(12)) limits.parked_calls_max = 5;
  plan.pace.commit_rounds_max = random->Any<uint32_t>({0, 1, 4, 12});
  plan.pace.load_rounds_max = random->Any<uint32_t>({0, 3, 10});
  const uint64_t queues = random->From(2, 5);
  for (uint64_t n = 0; n < queues; ++n) plan.queues.push_back("q" + std::to_string(n));
  plan.delay_max_ms = random->Any<uint32_t>({1, 20, 60, 300});
  plan.break_one_in = random->Any<uint32_t>({0, 400, 100, 30});
  plan.crash_one_in = random->Any<uint32_t>({0, 200, 80, 30});
  plan.machine_crash_percent = random->Any<uint32_t>({0, 50, 100});
  plan.jump_one_in = random->Any<uint32_t>({0, 100, 30});
  plan.clock_stands = random->OneIn(4);
  plan.operator_meddles = random->Percent(60);
  plan.payload_max = random->Any<uint32_t>({10, 120, 600});
  return plan;
}

core::QueueOptions Plan::AnyOptions(Random* random) {
  core::QueueOptions options;
  options.maxsize = random->Any<uint64_t>({0, 0, 3, 12});
  options.max_bytes = random->Any<uint64_t>({0, 0, 0, 1500});
  options.lease_ms = static_cast<uint32_t>(random->From(1000, 3000));
  options.ageing_ms = random->Any<uint32_t>({10, 200, 3000});
  options.dead_max = random->Any<uint32_t>({10'000, 10'000, 10'000, 2, 0});
  options.order =
      random->Any({core::Order::kFifo, core::Order::kFifo, core::Order::kLifo, core::Order::kPriority});
  options.durability =
      random->Any({core::Durability::kFsync, core::Durability::kFsync, core::Durability::kFsync,
                   core::Durability::kWal, core::Durability::kMemory});
  return options;
}

}  // namespace joinq::sim
