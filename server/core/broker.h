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
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/container/node_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/core/bound_tasks.h"
#include "server/core/changes.h"
#include "server/core/effects.h"
#include "server/core/journal_ledger.h"
#include "server/core/keys.h"
#include "server/core/limits.h"
#include "server/core/operations.h"
#include "server/core/parties.h"
#include "server/core/queue.h"
#include "server/core/shape_table.h"
#include "server/core/task_pool.h"
#include "server/core/timers.h"
#include "server/core/types.h"
#include "server/core/waiters.h"

namespace joinq::core {

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
  // The commit that the last EndRound closed is through: what it wrote as rows may
  // leave memory.
  void Committed();

  // ---- queues
  absl::StatusOr<QueueView> CreateQueue(std::string_view name, QueueOptions options, bool allow_existing);
  absl::StatusOr<QueueView> GetQueue(std::string_view name) const;
  // In the order of names, those greater than `after` that start with `prefix`.
  std::vector<QueueView> ListQueues(std::string_view prefix, std::string_view after, size_t limit,
                                    bool* more) const;
  absl::StatusOr<QueueView> UpdateQueue(std::string_view name, const QueueChanges& changes);
  absl::Status CloseQueue(std::string_view name);
  absl::Status PauseQueue(std::string_view name, bool paused);
  // These go through many tasks, some a round; each is answered at its end, the first
  // three with how many tasks it was. Dead tasks go back to work, the oldest first
  // (limit 0: all), or are forgotten.
  void RetryDead(CallerId caller, std::string_view name, uint64_t limit);
  void PurgeDead(CallerId caller, std::string_view name);
  void PurgeQueue(CallerId caller, std::string_view name);
  void DeleteQueue(CallerId caller, std::string_view name, bool force);
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

  // ---- tasks
  absl::StatusOr<TaskView> GetTask(TaskId task) const;
  // At most `limit` of those that match; looks at a bounded number. `next` is where to
  // go on, 0 at the end.
  std::vector<TaskView> ListTasks(const TaskFilter& filter, uint64_t* next) const;
  // What would be handed out next, in that order.
  absl::StatusOr<std::vector<TaskView>> Peek(std::string_view queue, size_t limit) const;
  // The task is cancelled at once. With wait_ms the caller is told the end of its work,
  // now or later. Who asked for it before may ask again, and terminate what was only
  // asked to end.
  absl::StatusOr<CancelAnswer> CancelTask(CallerId caller, TaskId task, const CancelSpec& spec);
  absl::StatusOr<TaskView> CancelTask(TaskId task);
  absl::StatusOr<TaskView> RetryTask(TaskId task);
  // What it wrote: asks the worker that has it, or else those that may have run it.
  void GetTaskLog(CallerId caller, TaskId task);
  absl::StatusOr<Why> WhyTask(TaskId task) const;

  // ---- payloads that are not in memory (see Effects::loads)
  void PayloadLoaded(TaskId task, std::string_view headers, std::string_view payload);
  void PayloadLost(TaskId task);

  // ---- consuming
  void Get(CallerId caller, std::span<const QueueChoice> queues, const GetSpec& spec);
  void Get(CallerId caller, std::string_view queue, const GetSpec& spec) {
    const QueueChoice one{queue, 1};
    Get(caller, {&one, 1}, spec);
  }
  // All or none. The follow-ups' ids go to `follow_up_ids`, unless null; a repeated
  // completion puts nothing again and names none.
  absl::Status Done(std::string_view queue, std::span<const LeaseRef> leases, std::string_view result,
                    std::string_view content_type, std::vector<FollowUp> follow_ups = {},
                    std::vector<TaskId>* follow_up_ids = nullptr);
  absl::Status Fail(std::string_view queue, std::span<const LeaseRef> leases, const TaskError& error);
  absl::Status Release(std::string_view queue, std::span<const LeaseRef> leases, uint32_t delay_ms);
  absl::Status Extend(std::string_view queue, std::span<const LeaseRef> leases, uint32_t lease_ms);
  absl::Status ReportProgress(std::string_view queue, const LeaseRef& lease, std::string_view progress);
  // Gives back what could not be handed over. Leases that are stale are passed over.
  void ReturnUndelivered(std::span<const LeaseRef> leases);

  // ---- sessions: of workers, and of clients
  absl::StatusOr<SessionWelcome> AttachWorker(CallerId stream, const SessionProfile& profile,
                                              std::span<const LeaseRef> held);
  absl::StatusOr<SessionWelcome> AttachClient(CallerId stream, const SessionProfile& profile,
                                              std::span<const LeaseRef> held);
  void SessionHeard(CallerId stream);
  // Leases that have arrived last as long as the session from now on; before, no longer
  // than their queues' lease time.
  void ClientReceived(CallerId stream, std::span<const LeaseRef> leases);
  // Leases that nobody holds any more go back at no cost.
  void ClientDropped(CallerId stream, std::span<const LeaseRef> leases);
  // A client's session ended in order: what it holds goes back at no cost.
  void ClientLeaves(CallerId stream);
  void WorkerCredit(CallerId stream, uint32_t credit);
  void WorkerCompletions(CallerId stream, uint64_t seq, std::span<Completion> completions);
  void WorkerProgress(CallerId stream, const LeaseRef& lease, std::string_view progress);
  // The work on a cancelled lease is over. What is not waited for is passed over.
  void WorkerStopped(CallerId stream, const LeaseRef& lease, WorkEnd end);
  // The process of a task with fresh_process runs.
  void WorkerStarted(CallerId stream, const LeaseRef& lease, uint32_t pid);
  void WorkerReports(CallerId stream, const WorkerStatus& status);
  // The answer to a LogAsk; null: it has none. One that is not waited for is passed over.
  void WorkerLog(CallerId stream, uint64_t ask, std::unique_ptr<TaskLog> log);
  void WorkerDrains(CallerId stream);
  std::vector<WorkerView> ListWorkers() const;
  // Tells the workers of this name, or with this id, what to do: those that were told.
  absl::StatusOr<std::vector<WorkerView>> ControlWorker(std::string_view name, WorkerAction action,
                                                        uint32_t children = 0);
  // Whether the stream is still the one that its worker or producer speaks through.
  bool IsCurrent(CallerId stream) const {
    return sessions_by_stream_.contains(stream) || producers_by_stream_.contains(stream);
  }

  // ---- callers
  void CallerGone(CallerId caller);
  void SetDiskLevel(DiskLevel level);
  DiskLevel disk_level() const { return disk_level_; }
  // Every parked call is answered UNAVAILABLE. Nothing may be parked afterwards.
  void Shutdown();

  uint64_t epoch() const { return epoch_; }
  const Limits& limits() const { return limits_; }
  Time now() const { return now_; }
  size_t task_count() const { return tasks_.size(); }
  size_t parked_count() const { return waiters_.size(); }
  size_t queue_count() const { return queues_.size(); }
  // Task records and payloads in memory.
  uint64_t memory_used() const { return tasks_.size() * kTaskBytes + resident_bytes_; }
  uint64_t resident_bytes() const { return resident_bytes_; }
  uint64_t payload_bytes() const { return payload_bytes_; }  // in memory or not
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
  void AnswerAllParked(WaiterList* list, const absl::Status& status);
  void AnswerDrainedGets(Queue* queue);
  static bool AllDrained(std::span<const WeightedQueue> queues);
  QueueRecord RecordOf(const Queue& queue) const;
  void QueueChanged(Queue* queue);

  // many tasks at once (broker_sweeps.cc)
  enum class SweepKind : uint8_t { kPurge, kRetryDead, kPurgeDead, kDelete };
  struct Sweep {
    CallerId caller = kNobody;
    SweepKind kind = SweepKind::kPurge;
    Queue* queue = nullptr;
    uint64_t left = UINT64_MAX;  // tasks at most
    uint64_t done = 0;
    TaskId below{0};  // kPurge: tasks that were put before it began have smaller ids
    // kDelete: the second of the next results to look at, the keys still to go
    int64_t second = 0;
    bool keys_listed = false;
    std::vector<uint64_t> keys = {};
  };
  void StartSweep(Sweep sweep);
  void AnswerSweep(const Sweep& sweep, const absl::Status& status);
  void RunSweeps();
  Task* WaitingBefore(const Sweep& sweep) const;
  bool IsPurged(const Task& task) const;
  bool Step(Sweep* sweep, uint64_t* steps);
  bool DropResults(Sweep* sweep, uint64_t* steps);
  bool DropKey(Sweep* sweep);
  void RemoveQueue(Queue* queue);

  // puts (broker_puts.cc)
  absl::Status CheckSpec(const Queue& queue, const PutSpec& spec) const;
  absl::Status CheckTask(const NewTask& task, size_t index) const;
  absl::Status MayPark(CallerId caller) const;
  absl::Status MayPut(const Queue& queue, uint64_t bytes, uint64_t count) const;
  // The task that a request id or unique key stands for; 0: none.
  TaskId Existing(Queue* queue, const NewTask& task) const;
  Task* AddTask(Queue* queue, const PutSpec& spec, NewTask&& task, Producer* producer);
  void AddKeys(Task* task, const PutSpec& spec, NewTask* given, TaskRecord* record);
  void Admit(Waiter&& waiter);
  void AdmitPuts(Queue* queue);
  void Answer(Waiter&& waiter, const absl::Status& status);
  // A waiter was taken out: drops what was kept for it alone.
  void Unparked(const Waiter& waiter);
  absl::Status CheckFollowUps(std::span<const FollowUp> follow_ups);
  void PutFollowUps(std::span<FollowUp> follow_ups, std::vector<TaskId>* ids);
  void ForgetKey(KeyEntry* entry);
  void ReleaseUnique(Task* task, bool ended);

  // tasks that end with a session (broker_bound.cc)
  struct EndedSession {
    uint64_t session = 0;
    TaskId below{0};  // tasks that were put before its end have smaller ids
  };
  absl::Status MayBind(const PutSpec& spec);
  void Bind(Task* task, uint64_t session);
  void Unbind(Task* task);
  void EndBoundTo(uint64_t session);
  void CancelBound(std::vector<Queue*>* touched);
  void CancelBound();

  // producers (broker_producers.cc)
  void Detach(Producer* producer);
  void ForgetProducer(Producer* producer);
  void DropProducerRef(Task* task);
  void CheckProducerTimer(uint64_t producer_id);

  // leases (broker_leases.cc)
  // Null if the lease is stale.
  Task* FindLease(const LeaseRef& lease) const;
  bool Repeats(const LeaseRef& lease, Verdict verdict) const;
  absl::StatusOr<std::vector<Task*>> FindLeases(std::string_view queue, std::span<const LeaseRef> leases,
                                                Verdict verdict);
  LeaseList& LeasesOf(const Task& task);
  LeaseRecord LeaseOf(const Task& task) const;
  void Grant(Task* task, Session* holder, Token token, Time lease_end);
  Delivery Lease(Task* task, CallerId to, Session* holder, Time lease_end);
  bool Unlease(Task* task);
  void GiveBack(Task* task, Verdict verdict);
  void RememberCompletion(const Task& task, Verdict verdict);
  void LeaseEnded(Task* task);
  void MarkLeases(LeaseList* leases, TimerKind kind, uint64_t subject);
  void MarkLease(Task* task);

  // handing out (broker_dispatch.cc)
  Task* NextReady(Queue* queue);
  void ReadAhead(Queue* queue);
  uint64_t AheadBytesMax() const;
  void MakeRoomAhead(const Queue* queue, uint64_t bytes);
  void Dispatch(Queue* queue);
  bool ServeGet(Waiter& waiter);
  Task* NextOfSeveral(std::span<const WeightedQueue> queues);
  void ServeWorker(Session* worker);

  // the life of a task (broker_tasks.cc)
  void MakeReady(Task* task, bool back_again) { MakeReady(task, back_again, now_); }
  void MakeReady(Task* task, bool back_again, Time since);
  void MakeDelayed(Task* task, Time due);
  void TakeFromLine(Task* task);
  void TakeOut(Task* task);
  CancelledWork* Cancel(Task* task, bool terminate);
  void FailAttempt(Task* task, const TaskError& error, Verdict verdict = Verdict::kNone);
  CompletedLease CompletionOf(const Task& task, Verdict verdict) const;
  bool TellOutcome(Task* task);
  static absl::Status UnknownTask(TaskId task);
  void End(Task* task, Outcome outcome, std::string_view result, std::string_view content_type,
           Verdict verdict = Verdict::kNone);
  void Bury(Task* task, Outcome outcome, Verdict verdict);
  void Drained(Queue* queue);
  void Erase(Task* task);
  void DropDead(Task* task);
  void Exhume(Task* task);
  void SetPayload(Task* task, Blob payload);
  void Evict(Task* task);
  void StopReading(Task* task);
  // What the journal is to learn besides the state that a task is in now.
  struct Change {
    CompletedLease completed;
    bool last_attempt_only = false;  // of its history; the journal has the rest
    bool buried = false;
    bool exhumed = false;
  };
  void Changed(Task* task, const Change& change);
  void Changed(Task* task) { Changed(task, Change{}); }

  // looking (broker_inspect.cc)
  TaskView ViewOf(const Task& task) const;

  // cancelled work (broker_cancels.cc)
  using CancelledWorks = absl::node_hash_map<TaskId, CancelledWork>;
  absl::StatusOr<CancelAnswer> CancelAgain(CallerId caller, CancelAnswer answer, const CancelSpec& spec);
  CancelledWork* Cancelled(Session* holder, TaskId task, Token token, bool terminate);
  void TellHolder(const CancelledWork& work, TaskId task);
  void ParkCancel(CallerId caller, TaskId task, CancelledWork* work, uint32_t wait_ms);
  void WorkEnded(TaskId task, WorkEnd end);
  void CompletedCancelled(const Session& worker, const Completion& completion);
  void TellAllCancelled(const Session& worker);

  // what tasks wrote (broker_logs.cc)
  struct PendingLog {
    std::vector<uint64_t> asked;  // sessions that have not answered
    std::string lost;             // the name of one that went away instead
  };
  std::vector<Session*> WorkersToAsk(const Task* task) const;
  absl::Status LogTimedOut(const Waiter& waiter) const;
  void LogNotFoundIn(uint64_t ask, uint64_t session, bool lost);
  void AsksLost(const Session& worker);

  // results (broker_results.cc)
  void KeepResult(Task* task, std::string_view result, std::string_view content_type);
  void ShelveResult(Task* task);
  void DropResult(Task* task);
  void ForgetResult(Task* task);
  void ExpireResults(int64_t second);
  ResultNotice NoticeOf(const Task& task, CallerId to) const;
  bool AnswerResultWaiters(const Task& task);

  // sessions (broker_sessions.cc)
  Session* AddSession(uint64_t id, SessionKind kind);
  Session* SessionOf(CallerId stream, SessionKind kind) const;
  absl::Status CheckKind(uint64_t id, SessionKind kind) const;
  bool Reclaim(Session* session, const LeaseRef& lease);
  void Complete(Task* task, Completion* completion);
  static void ProcessEnded(Task* task, const Session& worker, const Completion& completion);
  SessionWelcome Attach(Session* session, CallerId stream, const SessionProfile& profile,
                        std::span<const LeaseRef> held);
  void EndSession(Session* session, WorkEnd cancelled = WorkEnd::kHostLost);
  void DetachQueues(Session* worker);
  void ArmSessionTimer(Session* session, Time when);
  void CheckSessionTimer(uint64_t id, Time due);

  // workers (broker_workers.cc)
  WorkerView ViewOf(const Session& worker) const;

  // journal (broker_journal.cc)
  bool Journaled(const Queue& queue) const {
    return journaled_ && queue.options.durability != Durability::kMemory;
  }
  // What a put into the queue survives once it is acknowledged.
  Durability ReachedBy(const Queue& queue) const {
    return journaled_ ? queue.options.durability : Durability::kMemory;
  }
  // Where the records of a queue's tasks go.
  JournalSink* JournalOf(const Queue& queue) {
    if (!Journaled(queue)) return &no_sink_;
    if (queue.options.durability == Durability::kFsync) sink_->NeedSync();
    return sink_;
  }
  TaskRecord RecordOf(const Task& task) const;
  ProgressRecord ProgressOf(const Task& task) const;
  void Touch(Task* task) {
    if (Journaled(*task->queue())) ledger_.Touch(task->id, &task->dirty_since);
  }
  void Touch(Queue* queue) {
    if (journaled_) ledger_.Touch(queue->id, &queue->dirty_since);
  }
  void WriteQueueRow(Queue* queue, uint64_t as_of);
  bool Relocate(Task* task, uint64_t as_of);
  void RelocateRest(const JournalLedger::Entry& entry, uint64_t as_of);
  void Relocate();
  uint64_t JournalBound() const;
  void WriteCounters();
  void ReserveIds();

  // How long a get that would not wait does so for a payload that is being read.
  static constexpr uint32_t kLoadPatienceMs = 5000;
  static constexpr uint64_t kIdsReserved = 1 << 20;
  // What a task takes besides its payload: the record, its place in the table.
  static constexpr uint64_t kTaskBytes = sizeof(Task) + sizeof(TaskHandle);

  const Limits limits_;
  const uint64_t epoch_;
  ChangeSink* const sink_;
  const bool journaled_;
  NullChangeSink no_sink_;
  Time now_{};
  bool stopping_ = false;
  DiskLevel disk_level_ = DiskLevel::kOk;

  NameTable names_;  // outlives all that holds names
  ShapeTable shapes_;
  KeyTable keys_;
  Effects effects_;
  absl::flat_hash_map<uint64_t, std::unique_ptr<Producer>> producers_;
  absl::flat_hash_map<CallerId, Producer*> producers_by_stream_;
  absl::flat_hash_map<Producer*, std::unique_ptr<Producer>> forgotten_producers_;
  absl::btree_set<std::pair<Time, uint64_t>> detached_producers_;  // when each ends, and its id
  TaskTable tasks_;
  absl::flat_hash_map<uint64_t, std::unique_ptr<Session>> sessions_;
  absl::flat_hash_map<CallerId, Session*> sessions_by_stream_;
  absl::btree_map<std::string, std::unique_ptr<Queue>, std::less<>> queues_;
  absl::flat_hash_map<QueueId, Queue*> queues_by_id_;
  std::map<int64_t, TaskList> results_by_second_;  // of expiry
  absl::node_hash_map<TaskId, WaiterList>
      result_waiters_;                                  // the index points at the lists: they must not move
  CancelledWorks cancelled_work_;                       // likewise
  absl::flat_hash_map<uint64_t, PendingLog> log_asks_;  // by the id of the parked call
  WaiterIndex waiters_;
  std::deque<Sweep> sweeps_;  // under way; the first one has the next turn
  BoundTasks bound_;
  // After a restart: until then a client's session may be open that has not come back yet.
  Time sessions_return_until_{};
  absl::flat_hash_set<uint64_t> ended_since_restart_;  // until then
  std::deque<EndedSession> ended_sessions_;            // whose tasks are not all cancelled yet
  uint64_t cancels_left_ = 0;                          // of them, in this round
  TimerHeap timers_;
  JournalLedger ledger_;
  CounterRecord counters_;
  uint64_t ids_reserved_ = 0;  // on disk, ids below this one count as given out
  uint64_t next_sequence_ = 1;
  uint64_t resident_bytes_ = 0;
  uint64_t payload_bytes_ = 0;
  uint64_t ahead_bytes_ = 0;       // of payloads asked for, or read back and not handed out yet
  std::deque<TaskId> read_back_;   // the oldest first; some have been handed out since
  size_t read_back_standing_ = 0;  // those that have not
  const Task* chosen_ = nullptr;   // of several queues' next tasks: stays in memory meanwhile
  static constexpr size_t kEvictableMax = 1 << 16;
  std::vector<TaskId> evictable_;  // got their rows in the commit under way
  std::mt19937_64 random_;

  // The newest completions, so that a repeated one is told from a stale one.
  struct Completed {
    TaskId task{0};
    Token token;
    Verdict verdict = Verdict::kNone;
    bool cancelled = false;
    WorkEnd work_end = WorkEnd::kUnspecified;  // of a cancelled one
  };
  static constexpr size_t kCompletedSlots = 1 << 16;
  std::unique_ptr<std::array<Completed, kCompletedSlots>> completed_;
  // Those of leases from before the last restart: ids do not run on over one, so they
  // would be overwritten at once in the slots.
  absl::flat_hash_map<TaskId, Completed> completed_before_;
  // After a pause of the whole broker nobody is declared dead before what they
  // sent meanwhile can have been read.
  Time no_expiry_before_{};
};

}  // namespace joinq::core
