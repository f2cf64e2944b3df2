// Behind TaskStream: a bounded window of tasks and the batch sink that collects
// their outcomes, waking the consumer once a message.
#pragma once

#include <joinq/pool.h>

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "client/src/connection.h"
#include "client/src/outstanding.h"

namespace joinq::internal {

// Collects outcomes. Owned by the stream and by the producer's pending tasks, so it
// must not hold the connection.
class OutcomeCollector : public ResultSink {
 public:
  explicit OutcomeCollector(std::shared_ptr<Outstanding> outstanding)
      : ResultSink(false), outstanding_(std::move(outstanding)) {}

  void OnAck(uint64_t, uint64_t, bool) override {}
  void OnRefused(uint64_t cookie, const absl::Status& status) override;
  void OnResult(uint64_t cookie, v1::ProducedResult& result) override;
  void OnLost(uint64_t cookie, uint64_t task_id, const absl::Status& status) override;
  void OnBatchEnd() override;
  // From the submitting thread: an outcome without the producer.
  void Add(Outcome outcome);

  // Waits until there are outcomes or `Wake` is called; swaps them with `out`.
  void Take(std::vector<Outcome>* out, bool wait);
  // The connection was given up, if it was.
  absl::Status lost() const;
  void Wake();
  bool has_any() const { return any_.load(std::memory_order_acquire); }

 private:
  const std::shared_ptr<Outstanding> outstanding_;
  std::vector<Outcome> staged_;  // of the producer's thread
  absl::Status staged_lost_;     // likewise
  std::atomic<bool> any_{false};

  // A lock, since the producer's thread hands over to the consumer's, a batch at a time.
  mutable std::mutex mutex_;
  std::condition_variable ready_;
  std::vector<Outcome> outcomes_ ABSL_GUARDED_BY(mutex_);
  absl::Status lost_ ABSL_GUARDED_BY(mutex_);
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
};

class TaskStreamState {
 public:
  TaskStreamState(std::shared_ptr<Connection> connection, std::shared_ptr<const PutSpec> raw,
                  std::shared_ptr<const PutSpec> packed, std::shared_ptr<Outstanding> outstanding,
                  uint32_t window, bool ordered);

  void Submit(std::string_view payload, std::string_view content_type, bool more);
  bool HasRoom() const;
  void Flush();
  void Close();
  std::optional<Outcome> Next();
  bool HasOutcome();
  uint64_t submitted() const { return submitted_.load(std::memory_order_acquire); }

 private:
  bool PopReady(std::optional<Outcome>* out);
  void Sort();

  const std::shared_ptr<Connection> connection_;
  const std::shared_ptr<const PutSpec> raw_spec_;
  const std::shared_ptr<const PutSpec> packed_spec_;
  const std::shared_ptr<Outstanding> outstanding_;
  const std::shared_ptr<OutcomeCollector> collector_;
  const uint32_t window_;
  const bool ordered_;

  std::atomic<uint64_t> submitted_{0};
  std::atomic<uint64_t> yielded_{0};
  std::atomic<bool> closed_{false};

  // Of the consuming thread.
  std::vector<Outcome> batch_;  // unordered: [position_, end) are to be yielded
  size_t position_ = 0;
  std::vector<std::optional<Outcome>> waiting_;  // ordered: by index modulo the window

  // A lock for the submitter that waits for room only.
  std::mutex room_mutex_;
  std::condition_variable room_;
  std::atomic<bool> room_wanted_{false};
};

}  // namespace joinq::internal
