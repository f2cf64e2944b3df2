// The broker's rules: queues, tasks, leases, parked calls, sessions. A pure state
// machine: time is passed in, changes go to a ChangeSink, answers into Effects.
//
// Use, by one thread, in rounds:
//   broker.BeginRound(now);
//   ... operations, in any number and order ...
//   Time next = broker.Tick();      // all time-driven work; when to be called again
//   broker.EndRound();              // closes the journal entry
//   commit what the sink gathered, then send and clear broker.effects().
//
// Operations that can wait answer through Effects, at once or later, to the
// CallerId they were given; a caller that goes away must be reported with
// CallerGone, after which nothing is sent to it. Errors name the field at fault
// (common/names.h) and leave everything as it was.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/node_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/core/changes.h"
#include "server/core/effects.h"
#include "server/core/journal_ledger.h"
#include "server/core/parties.h"
#include "server/core/queue.h"
#include "server/core/task.h"
#include "server/core/timers.h"
#include "server/core/types.h"
#include "server/core/waiters.h"

namespace joinq::core {

struct Limits {
  uint32_t max_payload_bytes = 1 << 20;
  uint64_t memory_bytes = 4ull << 30;  // payloads and task records; puts beyond it are refused
  Millis worker_timeout{15'000};       // silence after which a worker is dead
  Millis worker_grace{3'000};          // for reconnecting after its stream broke
  Millis producer_grace{600'000};      // how long a producer's tags are kept without a stream
  uint32_t queues_max = 100'000;
  uint32_t parked_calls_max = 100'000;       // in total
  uint32_t producer_tags_max = 1 << 20;      // unacknowledged puts of one producer
  uint64_t journal_bytes_min = 64ull << 20;  // a journal below this is left alone
};

// How a holder ends its lease; kNone ends none.
enum class Verdict : uint8_t { kDone = 0, kFailed = 1, kReleased = 2, kNone = 3 };

struct Completion {
  LeaseRef lease;
  Verdict verdict = Verdict::kDone;
  std::string_view result, content_type;  // kDone
  TaskError error;                        // kFailed
};

struct WorkerWelcome {
  std::vector<LeaseRef> lost;
  uint64_t completions_seen = 0;
};

class Broker {
 public:
  // `epoch` grows with every start; `first_entry` is the number of the next
  // journal entry. `sink` must outlive the broker. `seed` feeds the jitter.
  Broker(Limits limits, uint64_t epoch, uint64_t first_entry, ChangeSink* sink, uint64_t seed);
  ~Broker();
  Broker(const Broker&) = delete;
  Broker& operator=(const Broker&) = delete;

  // ---- rounds
  void BeginRound(Time now);
  Time Tick();
  void EndRound();
  Effects& effects() { return effects_; }
  // Entries up to this one must be durable before the effects may be sent.
  uint64_t journal_position() const { return ledger_.current() - 1; }

  // ---- queues
  absl::StatusOr<QueueView> CreateQueue(std::string_view name, QueueOptions options, bool allow_existing);
  absl::StatusOr<QueueView> GetQueue(std::string_view name) const;
  // In the order of names, those greater than `after` that start with `prefix`.
  std::vector<QueueView> ListQueues(std::string_view prefix, std::string_view after, size_t limit,
                                    bool* more) const;
  absl::Status CloseQueue(std::string_view name);
  absl::StatusOr<uint64_t> PurgeQueue(std::string_view name);
  absl::Status DeleteQueue(std::string_view name, bool force);
  void Join(CallerId caller, std::string_view name, uint32_t timeout_ms, bool no_wait);

  // ---- putting
  Name Intern(std::string_view text) { return names_.Intern(text); }
  // All or none; one Reply.
  void Put(CallerId caller, const PutSpec& spec, std::vector<NewTask> tasks);
  // A stream of puts; each task has its own PutAck or PutRefusal.
  absl::Status AttachProducer(CallerId stream, uint64_t producer_id, std::string_view name);
  void PutStream(CallerId stream, const PutSpec& spec, std::span<NewTask> tasks);
  void ProducerAcked(CallerId stream, uint64_t acked_below);
  void WatchResult(CallerId stream, uint64_t tag, TaskId task);
  // Drops kept results early. Ids that are not kept results are passed over.
  void ForgetResults(CallerId stream, std::span<const uint64_t> task_ids);
  void GetResult(CallerId caller, TaskId task, uint32_t wait_ms, bool forget);
  // Calls and puts that this caller has parked, and the bytes of their payloads.
  WaiterIndex::Load ParkedOf(CallerId caller) const { return waiters_.LoadOf(caller); }

  // ---- consuming
  void Get(CallerId caller, std::string_view queue, const GetSpec& spec);
  // All or none.
  absl::Status Done(std::string_view queue, std::span<const LeaseRef> leases, std::string_view result,
                    std::string_view content_type);
  absl::Status Fail(std::string_view queue, std::span<const LeaseRef> leases, const TaskError& error);
  absl::Status Release(std::string_view queue, std::span<const LeaseRef> leases, uint32_t delay_ms);
  absl::Status Extend(std::string_view queue, std::span<const LeaseRef> leases, uint32_t lease_ms);
  // Gives back what could not be handed over. Leases that are stale are passed over.
  void ReturnUndelivered(std::span<const LeaseRef> leases);

  // ---- workers
  absl::StatusOr<WorkerWelcome> AttachWorker(CallerId stream, const WorkerProfile& profile,
                                             std::span<const LeaseRef> held);
  void WorkerCredit(CallerId stream, uint32_t credit);
  void WorkerCompletions(CallerId stream, uint64_t seq, std::span<const Completion> completions);
  void WorkerHeard(CallerId stream);
  void WorkerReports(CallerId stream, const WorkerStatus& status);
  void WorkerDrains(CallerId stream);
  std::vector<WorkerView> ListWorkers() const;
  // Whether the stream is still the one that its worker or producer speaks through.
  bool IsCurrent(CallerId stream) const {
    return workers_by_stream_.contains(stream) || producers_by_stream_.contains(stream);
  }

  // ---- callers
  void CallerGone(CallerId caller);
  // Every parked call is answered UNAVAILABLE. Nothing may be parked afterwards.
  void Shutdown();

  uint64_t epoch() const { return epoch_; }
  const Limits& limits() const { return limits_; }
  Time now() const { return now_; }
  size_t task_count() const { return tasks_.size(); }
  size_t parked_count() const { return waiters_.size(); }
  size_t queue_count() const { return queues_.size(); }
  uint64_t memory_used() const { return memory_used_; }
  size_t timer_count() const { return timers_.size(); }
  size_t journal_bytes() const { return ledger_.bytes(); }
  // Recounts everything from the tasks and compares; an explanation if it differs.
  std::string CheckInvariants() const;

 private:
  friend class Restorer;

  // time (broker.cc)
  bool Means(const Timer& timer) const;

  // queues (broker_queues.cc)
  absl::StatusOr<Queue*> FindQueue(std::string_view name) const;
  Queue* AddQueue(QueueId id, std::string_view name, QueueOptions options);
  void AnswerJoins(Queue* queue, const absl::Status& status);
  void CheckJoins(Queue* queue) {
    if (!queue->joins.empty() && queue->unfinished() == 0) AnswerJoins(queue, absl::OkStatus());
  }
  void AnswerAllParked(Queue* queue, WaiterList* list, const absl::Status& status);
  QueueRecord RecordOf(const Queue& queue) const;

  // puts (broker_puts.cc)
  absl::Status CheckSpec(const PutSpec& spec) const;
  absl::Status CheckTask(const NewTask& task, size_t index) const;
  absl::Status MayPark(CallerId caller) const;
  absl::Status MayPut(const Queue& queue, uint64_t bytes, uint64_t count) const;
  Task* AddTask(Queue* queue, const PutSpec& spec, NewTask&& task, Producer* producer);
  void AdmitPuts(Queue* queue);
  void Answer(Waiter&& waiter, const absl::Status& status);
  void ForgetProducer(Producer* producer);
  void DropProducerRef(Task* task);

  // leases and ends (broker_leases.cc)
  // Null if the lease is stale; `repeated` says that it ended with this very verdict.
  Task* FindLease(const LeaseRef& lease, Verdict verdict, bool* repeated) const;
  absl::StatusOr<std::vector<Task*>> FindLeases(std::string_view queue, std::span<const LeaseRef> leases,
                                                Verdict verdict);
  Delivery Lease(Task* task, CallerId to, WorkerSession* holder, Time lease_end);
  void Unlease(Task* task);
  void MakeReady(Task* task, bool front);
  void MakeDelayed(Task* task, Time due);
  void RememberCompletion(const Task& task, Verdict verdict);
  void FailAttempt(Task* task, const TaskError& error);
  void End(Task* task, Outcome outcome, std::string_view result, std::string_view content_type);
  void Dispatch(Queue* queue);
  bool ServeGet(Queue* queue, Waiter& waiter);
  void Erase(Task* task);
  void LeaseEnded(Task* task);

  // results (broker_results.cc)
  void KeepResult(Task* task, std::string_view result, std::string_view content_type);
  void ShelveResult(Task* task);
  void DropResult(Task* task);
  void ExpireResults(int64_t second);
  ResultNotice NoticeOf(const Task& task, CallerId to) const;
  bool AnswerResultWaiters(const Task& task);

  // workers (broker_workers.cc)
  void ServeWorker(WorkerSession* worker);
  void EndWorker(WorkerSession* worker);
  void DetachQueues(WorkerSession* worker);
  void ArmWorkerTimer(WorkerSession* worker, Time when);
  void CheckWorkerTimer(uint64_t worker_id, Time due);
  void CheckProducerTimer(uint64_t producer_id);

  // journal (broker_journal.cc)
  TaskRecord RecordOf(const Task& task) const;
  void Touch(Task* task) {
    if (journaled_) ledger_.Touch(task->id, &task->dirty_since);
  }
  void Touch(Queue* queue) {
    if (journaled_) ledger_.Touch(queue->id, &queue->dirty_since);
  }
  void WriteQueueRow(Queue* queue, uint64_t as_of);
  void Relocate();

  static uint64_t MemoryOf(const Task& task) {
    return sizeof(Task) + 32 + task.payload.size() + task.headers.size();
  }

  const Limits limits_;
  const uint64_t epoch_;
  ChangeSink* const sink_;
  const bool journaled_;
  Time now_{};
  bool stopping_ = false;

  NameTable names_;  // outlives all that holds names
  Effects effects_;
  absl::flat_hash_map<uint64_t, std::unique_ptr<Producer>> producers_;
  absl::flat_hash_map<CallerId, Producer*> producers_by_stream_;
  absl::flat_hash_map<Producer*, std::unique_ptr<Producer>> forgotten_producers_;
  absl::flat_hash_map<uint64_t, std::unique_ptr<WorkerSession>> workers_;
  absl::flat_hash_map<CallerId, WorkerSession*> workers_by_stream_;
  absl::btree_map<std::string, std::unique_ptr<Queue>, std::less<>> queues_;
  absl::flat_hash_map<QueueId, Queue*> queues_by_id_;
  TaskTable tasks_;
  std::map<int64_t, TaskList> results_by_second_;  // of expiry
  absl::node_hash_map<TaskId, WaiterList>
      result_waiters_;  // the index points at the lists: they must not move
  WaiterIndex waiters_;
  TimerHeap timers_;
  JournalLedger ledger_;
  CounterRecord counters_;
  uint64_t next_sequence_ = 1;
  uint64_t memory_used_ = 0;
  std::mt19937_64 random_;

  // The newest completions, so that a repeated one is told from a stale one.
  struct Completed {
    TaskId task{0};
    uint64_t sequence = 0;
    Verdict verdict = Verdict::kDone;
  };
  static constexpr size_t kCompletedSlots = 1 << 16;
  std::unique_ptr<std::array<Completed, kCompletedSlots>> completed_;
  // After a pause of the whole broker nobody is declared dead before what they
  // sent meanwhile can have been read.
  Time no_expiry_before_{};
};

}  // namespace joinq::core
