// What one seed looks like: the limits, the queues, how bad the world is.
#pragma once

#include <string>
#include <vector>

#include "server/core/broker.h"
#include "tests/sim/machine.h"
#include "tests/sim/random.h"

namespace joinq::sim {

struct Plan {
  core::Limits limits;
  Machine::Pace pace;
  std::vector<std::string> queues;     // names; they come and go
  uint32_t delay_max_ms = 30;          // of a message
  uint32_t break_one_in = 0;           // messages until a connection breaks; 0: never
  uint32_t crash_one_in = 0;           // rounds until the broker dies; 0: never
  uint32_t machine_crash_percent = 0;  // of these, so many take the machine with them
  uint32_t jump_one_in = 0;            // rounds until the clock jumps
  bool clock_stands = false;           // much of the time
  bool operator_meddles = false;       // purges, deletes, cancels
  bool short_memory = false;           // request ids and tags are soon forgotten
  uint32_t payload_max = 120;

  static Plan Make(Random* random);
  static core::QueueOptions AnyOptions(Random* random);
};

}  // namespace joinq::sim
