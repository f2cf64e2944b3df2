#include "server/rpc/core_loop.h"

#include <grpc/support/time.h>

#include <chrono>
#include <cstdlib>

#include "server/storage/recovery.h"
#include "spdlog/spdlog.h"

namespace joinq::rpc {
namespace {

constexpr int kEventsPerRound = 256;
constexpr size_t kGatheredBytesMin = 256 << 10, kGatheredBytesMax = 16 << 20;
constexpr size_t kReadsMax = 64;
constexpr size_t kRowsPerRead = 1024;
constexpr core::Millis kLongestSleep{1'000};
constexpr core::Millis kReadAgainAfter{1'000};
constexpr core::Millis kStallCheckEvery{5'000};

}  // namespace

// Wall time at the start, driven on by the steady clock: it never jumps.
core::Time CoreLoop::Now() {
  static const auto wall = std::chrono::system_clock::now();
  static const auto steady = std::chrono::steady_clock::now();
  return std::chrono::time_point_cast<core::Millis>(wall + (std::chrono::steady_clock::now() - steady));
}

absl::StatusOr<std::unique_ptr<CoreLoop>> CoreLoop::Open(const Options& options) {
  auto loop = std::unique_ptr<CoreLoop>(new CoreLoop);
  loop->store_ = options.store;
  loop->disk_ = options.disk;
  loop->durable_ = options.store->durability() != "memory";
  auto acquired = options.store->Acquire(0, "joinqd");
  if (!acquired.ok()) return acquired.status();
  core::ChangeSink* sink = loop->durable_ ? static_cast<core::ChangeSink*>(&loop->encoder_) : &loop->no_sink_;
  loop->broker_ = std::make_unique<core::Broker>(options.limits, acquired->epoch, acquired->next_entry, sink,
                                                 options.seed);
  const auto begin = std::chrono::steady_clock::now();
  auto recovered = storage::Recover(options.store, 0, Now(), loop->broker_.get());
  if (!recovered.ok()) return recovered.status();
  loop->records_set_aside_ = recovered->set_aside;
  if (!recovered->aside.empty()) {
    std::swap(loop->encoder_.batch(), recovered->aside);  // goes with the first commit
    loop->encoder_.batch().sync = true;
  }
  if (loop->durable_) {
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    spdlog::info("restored {} task(s) in {} queue(s) from {} rows and {} journal entries in {:.2f} s",
                 loop->broker_->task_count(), loop->broker_->queue_count(), recovered->rows,
                 recovered->entries, took.count());
    loop->loader_ = std::make_unique<storage::Loader>(options.store, 0, kReadsMax);
    loop->committer_ = std::make_unique<storage::Committer>(
        options.store, 0, acquired->epoch, [raw = loop.get()] { raw->Wake(); },
        [disk = options.disk](size_t bytes) {
          if (disk != nullptr) disk->Writing(bytes);
        });
  }
  return loop;
}

CoreLoop::~CoreLoop() {
  loader_.reset();
  committer_.reset();
}

bool CoreLoop::ReadRows(std::vector<std::string> keys, std::function<void(const storage::LoadedRows&)> done) {
  if (loader_ == nullptr) return false;
  return loader_->Load(&keys, [this, done = std::move(done)](storage::LoadedRows rows) {
    auto shared = std::make_shared<storage::LoadedRows>(std::move(rows));
    Post([done, shared] { done(*shared); });
  });
}

// Payloads are read in requests of a bounded size; what does not fit waits its turn.
void CoreLoop::SendLoads() {
  if (!unread_.empty() && broker_->now() >= ask_again_) {
    wanted_.insert(wanted_.end(), unread_.begin(), unread_.end());
    unread_.clear();
  }
  while (!wanted_.empty()) {
    const size_t count = std::min(wanted_.size(), kRowsPerRead);
    std::vector<core::TaskId> ids(wanted_.begin(), wanted_.begin() + count);
    std::vector<std::string> keys;
    for (core::TaskId id : ids) keys.push_back(storage::RowKey(id));
    const bool taken =
        ReadRows(std::move(keys), [this, ids = std::move(ids)](const storage::LoadedRows& rows) {
          for (size_t i = 0; i < ids.size(); ++i) Loaded(ids[i], rows.values[i]);
        });
    if (!taken) return;
    wanted_.erase(wanted_.begin(), wanted_.begin() + count);
  }
}

// What is missing or damaged is lost. A disk that fails to read says nothing of the
// task: it waits, and so does its queue, until the disk is well.
void CoreLoop::Loaded(core::TaskId task, const absl::StatusOr<std::string>& row) {
  if (!row.ok() && storage::MayComeBack(row.status())) {
    if (unread_.empty()) {
      ask_again_ = broker_->now() + kReadAgainAfter;
      spdlog::error("the payload of task {} cannot be read now, it is tried again: {}", core::Raw(task),
                    std::string(row.status().message()));
    }
    return unread_.push_back(task);
  }
  const auto payload = row.ok() ? storage::DecodePayload(*row) : row.status();
  if (payload.ok()) return broker_->PayloadLoaded(task, payload->headers, payload->payload);
  spdlog::error("the payload of task {} is lost: {}", core::Raw(task),
                std::string(payload.status().message()));
  broker_->PayloadLost(task);
}

void CoreLoop::Wake() {
  if (waking_.exchange(true)) return;
  // Long past, not now: gRPC rounds a deadline up to the next millisecond.
  alarm_.Set(queue_, gpr_time_0(GPR_CLOCK_MONOTONIC), TagOf(this));
}

void CoreLoop::Post(std::function<void()> work) {
  {
    std::lock_guard lock(inbox_mutex_);
    inbox_.push_back(std::move(work));
  }
  Wake();
}

void CoreLoop::OnEvent(bool) {
  waking_.store(false);
  std::vector<std::function<void()>> work;
  {
    std::lock_guard lock(inbox_mutex_);
    work.swap(inbox_);
  }
  for (auto& run : work) run();
}

void CoreLoop::Run() {
  core::Time next_tick = Now();
  core::Time next_stall_check = Now() + kStallCheckEvery;
  for (;;) {
    void* tag = nullptr;
    bool ok = false;
    const auto sleep = std::clamp(next_tick - Now(), core::Millis(0), kLongestSleep);
    auto got = queue_->AsyncNext(
        &tag, &ok,
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(sleep.count(), GPR_TIMESPAN)));
    if (got == grpc::CompletionQueue::SHUTDOWN) return;
    broker_->BeginRound(Now());
    ++figures_.rounds;
    for (int events = 0; got == grpc::CompletionQueue::GOT_EVENT;) {
      static_cast<Event*>(tag)->OnEvent(ok);
      ++figures_.events;
      if (++events == kEventsPerRound) break;
      got = queue_->AsyncNext(&tag, &ok, gpr_time_0(GPR_CLOCK_MONOTONIC));
    }
    if (got == grpc::CompletionQueue::SHUTDOWN) return;
    next_tick = broker_->Tick();
    if (broker_->now() >= next_stall_check) {
      next_stall_check = broker_->now() + kStallCheckEvery;
      targets_.ForEach([this](Target* target) { target->CheckStalled(broker_->now()); });
    }
    FinishRound();
    if (stopping_) CheckStop();
  }
}

// What gathers was accepted before anyone looked whether the disk has room for it.
size_t CoreLoop::GatheredBytesMax() const {
  if (disk_ == nullptr) return kGatheredBytesMax;
  return std::clamp<size_t>(disk_->state().free_bytes / 8, kGatheredBytesMin, kGatheredBytesMax);
}

void CoreLoop::FinishRound() {
  auto undelivered = [this](const core::Delivery& delivery) {
    const core::LeaseRef lease{delivery.task, delivery.token};
    if (delivery.token.epoch != 0) broker_->ReturnUndelivered({&lease, 1});
  };
  for (;;) {
    auto& loads = broker_->effects().loads;
    wanted_.insert(wanted_.end(), loads.begin(), loads.end());
    loads.clear();
    SendLoads();
    if (committer_ != nullptr) {
      if (encoder_.batch().bytes() > GatheredBytesMax()) committer_->Wait();
      storage::CommitResult result;
      if (committer_->Take(&result)) {
        if (result.outcome != storage::CommitOutcome::kDurable) StorageFailed(result);
        broker_->Committed();
        targets_.Publish(&committing_, undelivered);
      }
      if (committer_->busy()) return;
      if (encoder_.journal_bytes() > 0 || !encoder_.batch().empty()) {
        encoder_.batch().entry_number = broker_->journal_position() + 1;
        broker_->EndRound();
        std::swap(committing_, broker_->effects());
        ++figures_.commits;
        figures_.committed_bytes += encoder_.batch().bytes();
        committer_->Submit(&encoder_.batch());
        encoder_.Reset();
        return;
      }
    }
    if (broker_->effects().empty()) return;
    // Nothing to wait for. Publishing may cause more (a lease that nobody was there to take).
    std::swap(committing_, broker_->effects());
    targets_.Publish(&committing_, undelivered);
  }
}

void CoreLoop::Stop(std::function<void()> closed) {
  if (stopping_) return;
  stopping_ = true;
  on_closed_ = std::move(closed);
  broker_->Shutdown();
  targets_.ForEach([](Target* target) { target->Close(); });
}

void CoreLoop::CheckStop() {
  if (!on_closed_ || (committer_ != nullptr && committer_->busy()) || !broker_->effects().empty()) return;
  std::exchange(on_closed_, nullptr)();
}

// A commit that failed may or may not be on disk: nothing may be answered any
// more. The restart finds out.
void CoreLoop::StorageFailed(const storage::CommitResult& result) {
  spdlog::critical("the store failed ({}): stopping at once, nothing unacknowledged counts", result.error);
  std::_Exit(1);
}

}  // namespace joinq::rpc
