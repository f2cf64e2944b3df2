#include "tests/sim/machine.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/storage/recovery.h"

namespace joinq::sim {

Machine::Machine(core::Limits limits, Pace pace, Sabotage sabotage, Random* random, MachineListener* listener)
    : limits_(limits), pace_(pace), sabotage_(sabotage), random_(random), listener_(listener) {}

std::string Machine::Start(core::Time now) {
  store_ = std::make_unique<SimStore>(&disk_, random_);
  encoder_.Reset();
  sink_ = std::make_unique<FaultySink>(&encoder_, sabotage_);
  auto acquired = store_->Acquire(0, "simulation");
  epoch_ = acquired->epoch;
  seq_ = 0;
  broker_ =
      std::make_unique<core::Broker>(limits_, epoch_, acquired->next_entry, sink_.get(), random_->Next());
  auto recovered = storage::Recover(store_.get(), 0, now, broker_.get());
  if (!recovered.ok()) return recovered.status().ToString();
  if (recovered->set_aside > 0)
    return absl::StrCat(recovered->set_aside, " damaged record(s) after a restart");
  if (recovered->orphans > 0)
    return absl::StrCat(recovered->orphans, " task(s) without a queue after a restart");
  return {};
}

void Machine::Die(bool machine) {
  if (committing_ && random_->Percent(50)) {
    // Written, but the sync may not have happened.
    under_way_.sync = under_way_.sync && random_->Percent(50);
    disk_.Apply(under_way_);
  }
  if (machine) disk_.LoseTail(random_);
  committing_ = false;
  broker_.reset();
  sink_.reset();
  store_.reset();
  held_.Clear();
  waiting_.clear();
  held_waiting_.clear();
  loads_.clear();
}

void Machine::BeginRound(core::Time now) {
  broker_->BeginRound(now);
  AnswerLoads();
}

// Rows are read some rounds after they were asked for and handed over in any order.
void Machine::AnswerLoads() {
  for (size_t i = 0; i < loads_.size();) {
    Load& load = loads_[i];
    if (load.rounds-- > 0) {
      ++i;
      continue;
    }
    if (!load.read) {
      const std::string key = storage::RowKey(load.task);
      (void)store_->ReadRows(0, {&key, 1}, [&](size_t, std::string_view value) {
        auto row = storage::DecodePayload(value);
        if (!row.ok()) return;
        load.found = true;
        load.headers = std::string(row->headers);
        load.payload = std::string(row->payload);
      });
      load.read = true;
      load.rounds = static_cast<uint32_t>(random_->Below(pace_.load_rounds_max + 1));
      ++i;
      continue;
    }
    const Load done = std::move(load);
    loads_.erase(loads_.begin() + static_cast<std::ptrdiff_t>(i));
    ++loads_done_;
    if (done.found) {
      broker_->PayloadLoaded(done.task, done.headers, done.payload);
    } else {
      if (auto view = broker_->GetTask(done.task); view.ok() && view->evicted)
        problem_ = absl::StrCat("the payload of task ", Raw(done.task), " is neither in memory nor on disk");
      broker_->PayloadLost(done.task);
    }
    listener_->Produced(&broker_->effects());
  }
}

void Machine::TakeLoads() {
  for (core::TaskId task : broker_->effects().loads) {
    Load load;
    load.task = task;
    load.rounds = static_cast<uint32_t>(random_->Below(pace_.load_rounds_max + 1));
    loads_.insert(loads_.begin() + static_cast<std::ptrdiff_t>(random_->Below(loads_.size() + 1)), load);
  }
  broker_->effects().loads.clear();
}

void Machine::BeginCommit() {
  encoder_.batch().entry_number = broker_->journal_position() + 1;
  const uint64_t deletes = encoder_.batch().row_deletes.size();
  broker_->EndRound();
  relocations_ += encoder_.batch().row_puts.size() + encoder_.batch().row_deletes.size() - deletes;
  std::swap(under_way_, encoder_.batch());
  encoder_.Reset();
  std::swap(held_, broker_->effects());
  std::swap(held_waiting_, waiting_);
  listener_->CommitBegins();
  committing_ = true;
  store_->set_under_way(&under_way_);
  rounds_left_ = prompt_ ? 0 : static_cast<uint32_t>(random_->Below(pace_.commit_rounds_max + 1));
}

void Machine::EndCommit() {
  const storage::CommitResult result = store_->Commit(0, epoch_, ++seq_, under_way_);
  if (result.outcome != storage::CommitOutcome::kDurable) problem_ = "a commit failed: " + result.error;
  store_->set_under_way(nullptr);
  committing_ = false;
  ++commits_;
  listener_->CommitIsThrough();
  broker_->Committed();
  Release();
}

void Machine::Release() {
  listener_->Released(&held_);
  held_.Clear();
  for (auto& then : std::exchange(held_waiting_, {})) then();
  listener_->Produced(&broker_->effects());
  TakeLoads();
}

// As the wiring's loop does it: one commit at a time, the next one gathers meanwhile.
std::string Machine::FinishRound() {
  next_tick_ = broker_->Tick();
  listener_->Produced(&broker_->effects());
  TakeLoads();
  if (std::string wrong = broker_->CheckInvariants(); !wrong.empty()) return wrong;
  for (;;) {
    if (committing_) {
      if (rounds_left_ > 0 && !prompt_) {
        --rounds_left_;
        break;
      }
      EndCommit();
    }
    if (!encoder_.batch().empty()) {
      BeginCommit();
      if (sabotage_ == Sabotage::kReleaseEarly) Release();
      if (rounds_left_ > 0) break;
      continue;
    }
    if (broker_->effects().empty() && waiting_.empty()) break;
    std::swap(held_, broker_->effects());
    std::swap(held_waiting_, waiting_);
    listener_->CommitBegins();
    Release();
  }
  if (problem_.empty()) problem_ = broker_->CheckInvariants();
  return std::exchange(problem_, {});
}

void Machine::Undelivered(const core::Delivery& delivery) {
  const core::LeaseRef lease{delivery.task, delivery.token};
  if (delivery.token.epoch != 0) broker_->ReturnUndelivered({&lease, 1});
}

}  // namespace joinq::sim
