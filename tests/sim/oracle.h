// Judges what the broker told. It hears every operation when it is applied and every
// effect when it is produced; only what is released counts as a promise, and each
// promise must hold as long as its queue's durability says.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "server/core/broker.h"
#include "tests/sim/facts.h"

namespace joinq::sim {

class Oracle {
 public:
  Oracle(const core::Limits& limits, bool short_memory, Totals* totals)
      : limits_(limits), short_memory_(short_memory), totals_(totals) {}

  void set_trace(std::function<void(const std::string&)> trace) { trace_ = std::move(trace); }
  // "" or the first promise that was broken.
  const std::string& problem() const { return problem_; }
  void Violation(const std::string& what);

  // ---- the broker's life
  void Started(core::Broker* broker, core::Time now);
  // Before it dies, and after it is known what is left of the disk.
  void Dying(const core::Broker& broker);
  void Died(bool machine, uint64_t commits_left);
  void NewRound(core::Time now);
  void RoundOver();

  // ---- effects
  bool IsJoin(core::CallerId caller) const;
  void Produced(const core::Effects& effects);
  void CommitBegins();
  void CommitIsThrough(uint64_t commits);
  void Released(uint64_t commits);

  // ---- puts
  PutFacts& NewPut() {
    PutFacts& put = puts_[next_number_];
    put.number = next_number_++;
    return put;
  }
  PutFacts& put(uint64_t number) { return puts_[number]; }
  void PutApplied(uint64_t number);
  void StreamOpened(core::CallerId stream, uint64_t producer) { streams_[stream] = producer; }
  void TagIs(uint64_t producer, uint64_t tag, uint64_t number) { tags_[{producer, tag}] = number; }
  void FollowUpsPut(const std::vector<uint64_t>& numbers, const std::vector<core::TaskId>& ids);

  // ---- calls that are answered by a reply
  struct Call {
    enum Kind { kPut, kGet, kJoin, kResult, kCancel } kind = kGet;
    std::string queue;
    core::Time deadline = core::kNever;
    std::vector<uint64_t> numbers;      // kPut
    bool ack = false;                   // kGet
    uint64_t session = 0;               // kGet
    std::set<core::TaskId> unfinished;  // kJoin: when it was called
    core::TaskId task{0};               // kResult, kCancel
  };
  void Called(core::CallerId caller, Call call);
  void CallerGone(core::CallerId caller);

  // ---- leases and ends. Those that take a status are called after the operation.
  void SessionAttached(uint64_t session, const std::vector<core::LeaseRef>& held,
                       const std::vector<core::LeaseRef>& lost);
  void SessionLeft(uint64_t session);
  void StreamOfSession(core::CallerId stream, uint64_t session) {
    session_streams_[stream] = session;
    sessions_[session].stream = stream;
  }
  void SessionHeard(uint64_t session) { sessions_[session].safe_until = now_ + limits_.worker_timeout; }
  bool Holds(const core::LeaseRef& lease) const;
  void Completed(const core::LeaseRef& lease, core::Verdict verdict, uint32_t delay_ms);
  void ProcessEnded(core::TaskId task);
  void Extended(core::TaskId task) { protected_.erase(task); }  // which may be to an earlier end
  void MayEnd(core::TaskId task);
  void Ended(core::TaskId task);
  std::vector<core::TaskId> TasksOf(const std::string& queue,
                                    std::initializer_list<core::TaskState> states) const;
  void Retried(core::TaskId task);

  // ---- queues
  void QueueExists(const std::string& name, uint32_t dead_max);
  void QueueDeleting(const std::string& name);
  void QueueDeleted(const std::string& name, const std::vector<core::TaskId>& tasks);
  void QueueClosed(const std::string& name);

  // Compares everything promised with what the broker has.
  void Sweep();
  // Whether no task is unfinished.
  bool Drained() const;
  // After the end: everything was taken out.
  void CheckEmpty();
  std::vector<core::TaskId> KnownTasks() const;

 private:
  void Confirm(std::function<void()> told) { gathering_.push_back(std::move(told)); }
  TaskFacts* Find(core::TaskId task);
  TaskFacts& FactsOf(core::TaskId task, uint64_t number, const std::string& queue);
  uint64_t NumberOf(core::TaskId task) const;
  static uint64_t NumberIn(std::string_view payload);
  void Accepted(uint64_t number, core::TaskId task, bool existing);
  void BecameTask(uint64_t number, core::TaskId task);
  void Delivered(const core::Delivery& delivery, uint64_t session, bool ack);
  void CheckRun(const core::Delivery& delivery, const TaskFacts& task, const PutFacts& put);
  void CheckProcess(core::TaskId task, core::Outcome outcome, const core::ProcessInfo& process);
  void CheckLeft();
  bool MayHaveEndedWithSession(core::TaskId task);
  void CheckPlace(const TaskFacts& task, const PutFacts& put);
  void JoinAnswered(const Call& call);
  void Told(const core::ResultNotice& notice);
  void Answered(const core::Reply& reply);
  void CheckUnique();
  void CheckTask(const TaskFacts& task);
  bool SmallDead(const std::string& queue) const { return small_dead_.contains(queue); }

  const core::Limits limits_;
  const bool short_memory_;
  Totals* const totals_;
  core::Broker* broker_ = nullptr;
  core::Time now_{};
  uint64_t round_ = 0, position_ = 0;
  std::string problem_;
  std::function<void(const std::string&)> trace_;  // may be null

  std::map<uint64_t, PutFacts> puts_;
  uint64_t next_number_ = 1;
  std::map<core::TaskId, TaskFacts> tasks_;
  std::map<core::TaskId, LeaseFacts> leases_;
  std::vector<std::pair<core::TaskId, LeaseFacts>> marks_;  // in the commit under way
  std::map<core::TaskId, LeaseFacts> at_death_;
  std::map<core::TaskId, Protected> protected_;
  std::map<core::CallerId, Call> calls_;
  std::map<core::CallerId, uint64_t> streams_, session_streams_;
  std::map<uint64_t, SessionFacts> sessions_;
  std::set<uint64_t> left_;                                 // sessions, in this round
  std::map<std::pair<uint64_t, uint64_t>, uint64_t> tags_;  // producer and tag: number of the put
  std::map<std::string, core::TaskId> newest_first_;        // fifo queues: the last one handed out first
  std::set<std::string> queues_, closed_, small_dead_;
  std::map<std::string, uint64_t> deletions_;  // of queues by name: what was promised before is void
  std::vector<std::function<void()>> gathering_, held_;
  struct Seen {
    size_t acks = 0, refusals = 0, deliveries = 0, results = 0, replies = 0;
  } seen_;
};

}  // namespace joinq::sim
