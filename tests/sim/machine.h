// The broker's process as the core sees it: rounds, one commit under way at a time
// whose answers wait for it, payloads read back late, and sudden death at any moment.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/core/broker.h"
#include "server/storage/record_codec.h"
#include "tests/sim/random.h"
#include "tests/sim/sabotage.h"
#include "tests/sim/sim_store.h"

namespace joinq::sim {

// What a machine tells. All calls come while a round is on, but for Died.
class MachineListener {
 public:
  virtual ~MachineListener() = default;
  // Effects of this round so far; called again whenever there may be more.
  virtual void Produced(core::Effects* effects) = 0;
  // A commit has begun: it holds what was applied until now. Effects start anew.
  virtual void CommitBegins() = 0;
  virtual void CommitIsThrough() = 0;
  // These may be known to the world. True for each delivery that somebody got.
  virtual void Released(core::Effects* effects) = 0;
};

class Machine {
 public:
  struct Pace {
    uint32_t commit_rounds_max = 0;  // a commit takes 0 to so many rounds
    uint32_t load_rounds_max = 3;
  };
  Machine(core::Limits limits, Pace pace, Sabotage sabotage, Random* random, MachineListener* listener);

  bool up() const { return broker_ != nullptr; }
  core::Broker& broker() { return *broker_; }
  // What is wrong with what was found on disk, if anything is.
  std::string Start(core::Time now);
  // Where a death may catch it; `machine` is whether the unsynced is lost as well.
  void Die(bool machine);
  bool committing() const { return committing_; }

  void BeginRound(core::Time now);
  // After the round's operations; an explanation if something is wrong.
  std::string FinishRound();
  // To be called once what was applied until now is as durable as it was promised.
  void WhenReleased(std::function<void()> then) { waiting_.push_back(std::move(then)); }
  // A delivery that found nobody; within Released only.
  void Undelivered(const core::Delivery& delivery);
  // The commit under way, and the one that gathers, are to end without delay.
  void set_prompt(bool prompt) { prompt_ = prompt; }
  core::Time next_tick() const { return next_tick_; }

  SimDisk& disk() { return disk_; }
  uint64_t commits() const { return commits_; }
  uint64_t loads() const { return loads_done_; }
  uint64_t relocations() const { return relocations_; }

 private:
  struct Load {
    core::TaskId task{0};
    uint32_t rounds = 0;  // until it is read, then until it is answered
    bool read = false, found = false;
    std::string headers, payload;
  };
  void TakeLoads();
  void AnswerLoads();
  void BeginCommit();
  void EndCommit();
  void Release();

  const core::Limits limits_;
  const Pace pace_;
  const Sabotage sabotage_;
  Random* const random_;
  MachineListener* const listener_;
  SimDisk disk_;

  std::unique_ptr<SimStore> store_;
  storage::BatchEncoder encoder_;
  std::unique_ptr<FaultySink> sink_;
  std::unique_ptr<core::Broker> broker_;
  uint64_t epoch_ = 0, seq_ = 0;
  core::Time next_tick_{};

  bool committing_ = false, prompt_ = false;
  uint32_t rounds_left_ = 0;
  storage::Batch under_way_;
  core::Effects held_;  // of the commit under way
  std::vector<std::function<void()>> waiting_, held_waiting_;
  std::vector<Load> loads_;
  std::string problem_;
  uint64_t commits_ = 0, loads_done_ = 0, relocations_ = 0;
};

}  // namespace joinq::sim
