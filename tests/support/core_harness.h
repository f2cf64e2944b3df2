// A broker's core with a store that survives "restarts" and a clock that the test
// moves. Each Do is one round, committed at once unless told otherwise.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/core/broker.h"
#include "server/storage/memory_store.h"
#include "server/storage/record_codec.h"
#include "server/storage/recovery.h"

namespace joinq::testing {

class CoreHarness {
 public:
  explicit CoreHarness(core::Limits limits = {}) : limits_(limits) { Restart(); }

  // Forgets everything that was not committed and comes back from the store.
  void Restart() {
    broker_.reset();
    encoder_.Reset();
    loads_.clear();
    store_ = std::make_unique<storage::MemoryStore>(disk_);
    auto acquired = store_->Acquire(0, "test");
    ASSERT_TRUE(acquired.ok());
    epoch_ = acquired->epoch;
    seq_ = 0;
    broker_ = std::make_unique<core::Broker>(limits_, acquired->epoch, acquired->next_entry, &encoder_, 1);
    auto recovered = storage::Recover(store_.get(), 0, now, broker_.get());
    ASSERT_TRUE(recovered.ok()) << recovered.status();
    EXPECT_EQ(recovered->orphans, 0u);
    EXPECT_EQ(recovered->set_aside, expected_set_aside);
    if (!recovered->aside.empty()) {
      ASSERT_EQ(store_->Commit(0, epoch_, ++seq_, recovered->aside).outcome,
                storage::CommitOutcome::kDurable);
    }
  }

  // One round, committed; then as many as it takes to read the payloads that were asked for.
  core::Effects Do(const std::function<void(core::Broker&)>& operations) {
    core::Effects effects = DoWithoutCommit(operations);
    Commit();
    while (!loads_.empty()) {
      const std::vector<core::TaskId> loads = std::exchange(loads_, {});
      Append(DoWithoutCommit([&](core::Broker& broker) { Load(broker, loads); }), &effects);
      Commit();
    }
    return effects;
  }
  core::Effects DoWithoutCommit(const std::function<void(core::Broker&)>& operations) {
    broker_->BeginRound(now);
    operations(*broker_);
    next_tick = broker_->Tick();
    EXPECT_EQ(broker_->CheckInvariants(), "");
    core::Effects effects = std::exchange(broker_->effects(), {});
    loads_.insert(loads_.end(), effects.loads.begin(), effects.loads.end());
    return effects;
  }
  void Commit() {
    if (encoder_.batch().empty()) return;
    encoder_.batch().entry_number = broker_->journal_position() + 1;
    broker_->EndRound();
    last_sync = encoder_.batch().sync;
    ASSERT_EQ(store_->Commit(0, epoch_, ++seq_, encoder_.batch()).outcome, storage::CommitOutcome::kDurable);
    encoder_.Reset();
    broker_->Committed();
    EXPECT_EQ(broker_->CheckInvariants(), "");
  }
  core::Effects Advance(int64_t ms) {
    now += core::Millis(ms);
    return Do([](core::Broker&) {});
  }

  void Create(const std::string& name, core::QueueOptions options = {}) {
    Do([&](core::Broker& broker) { EXPECT_TRUE(broker.CreateQueue(name, options, false).ok()); });
  }
  core::PutSpec Spec(const std::string& queue) {
    core::PutSpec spec;
    spec.queue = queue;
    return spec;
  }
  // The id of a put that is expected to be accepted at once.
  core::TaskId Put(const core::PutSpec& spec, std::string_view payload) {
    auto effects = Do([&](core::Broker& broker) {
      std::vector<core::NewTask> tasks(1);
      tasks[0].payload = core::Blob(payload);
      broker.Put(caller(1), spec, std::move(tasks));
    });
    EXPECT_EQ(effects.replies.size(), 1u);
    if (effects.replies.empty() || effects.replies[0].task_ids.empty()) return core::TaskId{0};
    return effects.replies[0].task_ids[0];
  }
  core::TaskId Put(const std::string& queue, std::string_view payload) { return Put(Spec(queue), payload); }
  // What an immediate get hands out, or nothing.
  std::vector<core::Delivery> Get(const std::string& queue, uint32_t max = 1, uint32_t lease_ms = 0) {
    core::GetSpec spec;
    spec.max_tasks = max;
    spec.no_wait = true;
    spec.lease_ms = lease_ms;
    auto effects = Do([&](core::Broker& broker) { broker.Get(caller(2), queue, spec); });
    for (auto& reply : effects.replies) {
      if (reply.to == caller(2)) return std::move(reply.deliveries);
    }
    return {};
  }
  absl::Status Done(const std::string& queue, const core::Delivery& delivery, std::string_view result = {}) {
    absl::Status status;
    const core::LeaseRef lease{delivery.task, delivery.token};
    Do([&](core::Broker& broker) { status = broker.Done(queue, {&lease, 1}, result, {}); });
    return status;
  }
  absl::Status Fail(const std::string& queue, const core::Delivery& delivery, core::TaskError error = {}) {
    absl::Status status;
    const core::LeaseRef lease{delivery.task, delivery.token};
    Do([&](core::Broker& broker) { status = broker.Fail(queue, {&lease, 1}, error); });
    return status;
  }
  core::QueueStats Stats(const std::string& queue) {
    auto view = broker_->GetQueue(queue);
    EXPECT_TRUE(view.ok()) << view.status();
    return view.ok() ? view->stats : core::QueueStats{};
  }
  static core::CallerId caller(uint64_t n) { return core::CallerId{n}; }

  core::Broker& broker() { return *broker_; }
  storage::MemoryStore::Disk& disk() { return *disk_; }
  core::Time now{core::Millis(1'700'000'000'000)};
  core::Time next_tick{};
  bool last_sync = false;           // whether the last commit asked for it
  uint64_t expected_set_aside = 0;  // records, at a restart

 private:
  void Load(core::Broker& broker, const std::vector<core::TaskId>& loads) {
    for (core::TaskId id : loads) {
      const std::string key = storage::RowKey(id);
      bool found = false;
      EXPECT_TRUE(store_
                      ->ReadRows(0, {&key, 1},
                                 [&](size_t, std::string_view value) {
                                   auto row = storage::DecodePayload(value);
                                   ASSERT_TRUE(row.ok());
                                   found = true;
                                   broker.PayloadLoaded(id, row->headers, row->payload);
                                 })
                      .ok());
      if (!found) broker.PayloadLost(id);
    }
  }
  static void Append(core::Effects more, core::Effects* to) {
    const auto add = [](auto& from, auto& onto) {
      std::move(from.begin(), from.end(), std::back_inserter(onto));
    };
    add(more.put_acks, to->put_acks);
    add(more.put_refusals, to->put_refusals);
    add(more.deliveries, to->deliveries);
    add(more.results, to->results);
    add(more.completion_acks, to->completion_acks);
    add(more.cancels, to->cancels);
    add(more.actions, to->actions);
    add(more.log_asks, to->log_asks);
    add(more.replies, to->replies);
  }

  const core::Limits limits_;
  std::shared_ptr<storage::MemoryStore::Disk> disk_ = std::make_shared<storage::MemoryStore::Disk>();
  std::unique_ptr<storage::MemoryStore> store_;
  storage::BatchEncoder encoder_;
  std::unique_ptr<core::Broker> broker_;
  std::vector<core::TaskId> loads_;  // payloads that were asked for
  uint64_t epoch_ = 0, seq_ = 0;
};

// The reply to a caller, if there is one among the effects.
inline const core::Reply* ReplyTo(const core::Effects& effects, core::CallerId caller) {
  for (const auto& reply : effects.replies) {
    if (reply.to == caller) return &reply;
  }
  return nullptr;
}

}  // namespace joinq::testing
