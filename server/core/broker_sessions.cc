// Sessions of workers and clients: attaching, completions, and what happens when
// one is lost.
#include <algorithm>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "common/names.h"
#include "server/core/broker.h"

namespace joinq::core {
namespace {

absl::Status CheckProfile(const SessionProfile& profile) {
  if (profile.id == 0) return InvalidField("hello.worker_id", "must not be 0");
  if (absl::Status bad = CheckName("hello.name", profile.name); !bad.ok()) return bad;
  if (profile.host.size() > 255) return InvalidField("hello.host", "is longer than 255 bytes");
  if (profile.queues.empty() || profile.queues.size() > 100) {
    return InvalidField("hello.queues",
                        absl::StrCat("has ", profile.queues.size(), " names; it needs 1 to 100"));
  }
  for (const std::string& name : profile.queues) {
    if (absl::Status bad = CheckName("hello.queues", name); !bad.ok()) return bad;
  }
  if (profile.handlers.size() > 10'000) return InvalidField("hello.handlers", "has more than 10000 names");
  for (const std::string& name : profile.handlers) {
    if (absl::Status bad = CheckName("hello.handlers", name); !bad.ok()) return bad;
  }
  return absl::OkStatus();
}

}  // namespace

Session* Broker::AddSession(uint64_t id, SessionKind kind) {
  auto& slot = sessions_[id];
  if (slot == nullptr) {
    slot = std::make_unique<Session>(tasks_.pool());
    slot->kind = kind;
    slot->profile.id = id;
    slot->connected = now_;
  }
  return slot.get();
}

Session* Broker::SessionOf(CallerId stream, SessionKind kind) const {
  auto it = sessions_by_stream_.find(stream);
  return it == sessions_by_stream_.end() || it->second->kind != kind ? nullptr : it->second;
}

absl::StatusOr<SessionWelcome> Broker::AttachWorker(CallerId stream, const SessionProfile& profile,
                                                    std::span<const LeaseRef> held) {
  if (stopping_) return absl::UnavailableError("the broker is stopping");
  if (absl::Status bad = CheckProfile(profile); !bad.ok()) return bad;
  if (absl::Status bad = CheckKind(profile.id, SessionKind::kWorker); !bad.ok()) return bad;
  for (const std::string& name : profile.queues) {
    if (auto created = CreateQueue(name, QueueOptions{}, /*allow_existing=*/true); !created.ok())
      return created.status();
  }
  Session* worker = AddSession(profile.id, SessionKind::kWorker);
  DetachQueues(worker);
  SessionWelcome welcome = Attach(worker, stream, profile, held);
  for (const std::string& name : profile.queues) {
    Queue* queue = queues_.find(name)->second.get();
    if (std::find(worker->queues.begin(), worker->queues.end(), queue) != worker->queues.end()) continue;
    worker->queues.push_back(queue);
    queue->workers.push_back(worker);
  }
  return welcome;
}

absl::StatusOr<SessionWelcome> Broker::AttachClient(CallerId stream, const SessionProfile& profile,
                                                    std::span<const LeaseRef> held) {
  if (stopping_) return absl::UnavailableError("the broker is stopping");
  if (profile.id == 0) return InvalidField("hello.session_id", "must not be 0");
  if (profile.name.empty() || profile.name.size() > kNameBytesMax) {
    return InvalidField("hello.name",
                        absl::StrCat("has ", profile.name.size(), " bytes; it needs 1 to ", kNameBytesMax));
  }
  if (profile.host.size() > 255) return InvalidField("hello.host", "is longer than 255 bytes");
  if (absl::Status bad = CheckKind(profile.id, SessionKind::kClient); !bad.ok()) return bad;
  return Attach(AddSession(profile.id, SessionKind::kClient), stream, profile, held);
}

absl::Status Broker::CheckKind(uint64_t id, SessionKind kind) const {
  auto it = sessions_.find(id);
  if (it == sessions_.end() || it->second->kind == kind) return absl::OkStatus();
  return InvalidField("hello", absl::StrCat("id ", id, " belongs to a session of another kind"));
}

SessionWelcome Broker::Attach(Session* session, CallerId stream, const SessionProfile& profile,
                              std::span<const LeaseRef> held) {
  if (session->stream != kNobody) {  // superseded
    sessions_by_stream_.erase(session->stream);
    AsksLost(*session);
  }
  session->profile = profile;
  session->stream = stream;
  session->credit = 0;
  session->draining = false;
  session->last_heard = now_;
  session->ends = kNever;
  ArmSessionTimer(session, now_ + limits_.worker_timeout);
  sessions_by_stream_[stream] = session;
  SessionWelcome welcome;
  welcome.completions_seen = session->completions_seen;
  absl::flat_hash_set<TaskId> kept;
  std::vector<Queue*> reclaimed;
  for (const LeaseRef& lease : held) {
    Task* task = FindLease(lease);
    if (task != nullptr && task->ties->holder == session) {
      kept.insert(lease.task);
      task->when = kNever;  // it has arrived
      if (task->ties->marked) MarkLease(task);
    } else if (Reclaim(session, lease)) {
      kept.insert(lease.task);
      reclaimed.push_back(tasks_.Find(lease.task)->queue());
    } else {
      welcome.lost.push_back(lease);
      // For good, even if the same is held out again before this is heard.
      if (Task* lost = tasks_.Find(lease.task); lost != nullptr) lost->fresh = false;
    }
  }
  // What was sent on the old stream and never arrived goes back.
  std::vector<LeaseRef> undelivered;
  const TaskList& leases = session->leases.tasks;
  for (Task* task = leases.front(); task != nullptr; task = leases.Next(task)) {
    if (!kept.contains(task->id)) undelivered.push_back({task->id, task->ties->token});
  }
  ReturnUndelivered(undelivered);
  if (session->kind == SessionKind::kWorker) TellAllCancelled(*session);
  // What left its line made room there.
  for (Queue* queue : reclaimed) Dispatch(queue);
  return welcome;
}

// After a restart of the broker: a lease too young to be on disk is its holder's
// still, as long as nobody has got the task since. The greatest token wins.
bool Broker::Reclaim(Session* session, const LeaseRef& lease) {
  Task* task = tasks_.Find(lease.task);
  if (task == nullptr || lease.token.epoch >= epoch_) return false;
  // One that was completed already: its holder only does not know yet.
  if (auto last = completed_before_.find(lease.task);
      last != completed_before_.end() && last->second.token >= lease.token)
    return false;
  if (task->state == TaskState::kLeased) {
    if (task->ties->token.epoch >= epoch_ || task->ties->token >= lease.token) return false;
    if (Session* other = task->ties->holder; other != nullptr && other->stream != kNobody)
      effects_.cancels.push_back({other->stream, {task->id, task->ties->token}});
    GiveBack(task, Verdict::kNone);
  } else if (!task->fresh || task->queue()->deleting) {
    return false;
  } else if (task->state == TaskState::kDelayed && task->when <= now_) {
    MakeReady(task, /*back_again=*/false);  // as it was when it was handed out
  } else if (task->state != TaskState::kReady) {
    return false;
  }
  Grant(task, session, lease.token, kNever);
  return true;
}

void Broker::DetachQueues(Session* worker) {
  for (Queue* queue : worker->queues) std::erase(queue->workers, worker);
  worker->queues.clear();
  worker->next_queue = 0;
}

void Broker::SessionHeard(CallerId stream) {
  if (auto it = sessions_by_stream_.find(stream); it != sessions_by_stream_.end())
    it->second->last_heard = now_;
}

void Broker::ClientReceived(CallerId stream, std::span<const LeaseRef> leases) {
  Session* client = SessionOf(stream, SessionKind::kClient);
  for (const LeaseRef& lease : leases) {
    Task* task = FindLease(lease);
    if (task == nullptr || client == nullptr || task->ties->holder != client) continue;
    task->when = kNever;
    if (task->ties->marked) MarkLease(task);  // the end on disk has moved
  }
}

void Broker::ClientDropped(CallerId stream, std::span<const LeaseRef> leases) {
  Session* client = SessionOf(stream, SessionKind::kClient);
  std::vector<LeaseRef> own;
  for (const LeaseRef& lease : leases) {
    Task* task = FindLease(lease);
    if (task != nullptr && client != nullptr && task->ties->holder == client) own.push_back(lease);
  }
  ReturnUndelivered(own);
}

void Broker::ClientLeaves(CallerId stream) {
  Session* client = SessionOf(stream, SessionKind::kClient);
  if (client == nullptr) return;
  std::vector<LeaseRef> held;
  const TaskList& leases = client->leases.tasks;
  for (Task* task = leases.front(); task != nullptr; task = leases.Next(task))
    held.push_back({task->id, task->ties->token});
  ReturnUndelivered(held);
  EndSession(client, WorkEnd::kNotRunning);
}

void Broker::WorkerReports(CallerId stream, const WorkerStatus& status) {
  Session* worker = SessionOf(stream, SessionKind::kWorker);
  if (worker == nullptr) return;
  worker->status = status;
  std::string& trouble = worker->status.trouble;
  if (trouble.size() <= kTroubleBytesMax) return;
  size_t end = kTroubleBytesMax;
  while (end > 0 && (trouble[end] & 0xc0) == 0x80) --end;  // not within a character
  trouble.resize(end);
}

void Broker::WorkerDrains(CallerId stream) {
  Session* worker = SessionOf(stream, SessionKind::kWorker);
  if (worker == nullptr) return;
  worker->draining = true;
  worker->credit = 0;
}

void Broker::WorkerProgress(CallerId stream, const LeaseRef& lease, std::string_view progress) {
  Task* task = FindLease(lease);
  if (task == nullptr || SessionOf(stream, SessionKind::kWorker) == nullptr) return;
  task->more().progress = std::make_unique<std::string>(progress.substr(0, kProgressBytesMax));
}

void Broker::WorkerStarted(CallerId stream, const LeaseRef& lease, uint32_t pid) {
  const Session* worker = SessionOf(stream, SessionKind::kWorker);
  Task* task = FindLease(lease);
  if (task == nullptr || worker == nullptr || task->ties->holder != worker || !task->policy().fresh_process)
    return;
  task->more().process = std::make_unique<ProcessInfo>(ProcessInfo{worker->profile.host, pid});
}

void Broker::ProcessEnded(Task* task, const Session& worker, const Completion& completion) {
  if (!task->policy().fresh_process) return;
  task->more().process = std::make_unique<ProcessInfo>(
      ProcessInfo{worker.profile.host, completion.pid, /*ended=*/true, completion.exit_code});
}

void Broker::WorkerCompletions(CallerId stream, uint64_t seq, std::span<Completion> completions) {
  Session* worker = SessionOf(stream, SessionKind::kWorker);
  if (worker == nullptr) return;
  CompletionsAck ack;
  ack.to = stream;
  if (seq > worker->completions_seen) {
    worker->completions_seen = seq;
    Queue* last_queue = nullptr;
    for (Completion& completion : completions) {
      Task* task = FindLease(completion.lease);
      if (task == nullptr) {
        if (!Repeats(completion.lease, completion.verdict)) ack.stale.push_back(completion.lease.task);
        CompletedCancelled(*worker, completion);
        continue;
      }
      Queue* queue = task->queue();
      RememberCompletion(*task, completion.verdict);
      if (completion.pid != 0) ProcessEnded(task, *worker, completion);
      if (completion.verdict == Verdict::kDone) {
        Complete(task, &completion);
      } else if (completion.verdict == Verdict::kFailed) {
        FailAttempt(task, completion.error, completion.verdict);
      } else {
        GiveBack(task, completion.verdict);
      }
      // A success makes no room in the line and no task ready.
      if (completion.verdict == Verdict::kDone) continue;
      if (queue != last_queue && last_queue != nullptr) Dispatch(last_queue);
      last_queue = queue;
    }
    if (last_queue != nullptr) Dispatch(last_queue);
  }
  ack.completions_seq = worker->completions_seen;
  effects_.completion_acks.push_back(std::move(ack));
}

// A worker's success, unless what comes with it is refused: then the attempt has failed for good.
void Broker::Complete(Task* task, Completion* completion) {
  absl::Status bad;
  if (completion->result.size() > limits_.max_payload_bytes) {
    bad = absl::InvalidArgumentError(absl::StrCat("the result has ", completion->result.size(),
                                                  " bytes; at most ", limits_.max_payload_bytes,
                                                  " are allowed"));
  } else if (!completion->follow_ups.empty()) {
    bad = CheckFollowUps(completion->follow_ups);
  }
  if (!bad.ok()) {
    TaskError error;
    error.kind = FailureKind::kHandlerError;
    error.message = std::string(bad.message());
    error.final = true;
    return FailAttempt(task, error, Verdict::kDone);
  }
  if (!completion->follow_ups.empty()) {
    ReleaseUnique(task, /*ended=*/true);
    PutFollowUps(completion->follow_ups, nullptr);
  }
  End(task, Outcome::kSucceeded, completion->result, completion->content_type, Verdict::kDone);
}

// Only the timer armed last counts; the others find that out when they come due.
void Broker::ArmSessionTimer(Session* session, Time when) {
  session->timer = when;
  timers_.Add(when, TimerKind::kSession, session->profile.id);
}

void Broker::CheckSessionTimer(uint64_t id, Time due) {
  auto it = sessions_.find(id);
  if (it == sessions_.end() || it->second->timer != due) return;
  Session* session = it->second.get();
  const Time end = session->stream != kNobody ? session->last_heard + limits_.worker_timeout : session->ends;
  if (end > now_) {
    ArmSessionTimer(session, end);
  } else {
    EndSession(session);
  }
}

// The session is gone for good. A worker works in the order of delivery, so its
// oldest leases, as many as it has children, may have been running: those are
// charged with a crash, and so are those in processes of their own. The others were never
// started and go back at no cost. What a client held may all have been running. `cancelled`
// is the end of its cancelled work.
void Broker::EndSession(Session* session, WorkEnd cancelled) {
  DetachQueues(session);
  std::vector<Queue*> touched;
  EndBoundTo(session->profile.id);
  CancelBound(&touched);  // before the leases, some of which may be of these
  while (!session->cancelled.empty()) WorkEnded(session->cancelled.front(), cancelled);
  AsksLost(*session);
  std::vector<Task*> leases;
  for (Task* task = session->leases.tasks.front(); task != nullptr; task = session->leases.tasks.Next(task))
    leases.push_back(task);
  const bool worker = session->kind == SessionKind::kWorker;
  const size_t started = worker
                             ? std::min<size_t>(leases.size(), std::max<uint32_t>(1, session->runs_at_once()))
                             : leases.size();
  for (size_t i = leases.size(); i-- > 0;) {
    Task* task = leases[i];
    if (std::find(touched.begin(), touched.end(), task->queue()) == touched.end())
      touched.push_back(task->queue());
    if (i < started || task->process() != nullptr) {
      TaskError error;
      error.kind = FailureKind::kHostLost;
      error.message = absl::StrCat(
          worker ? "worker " : "client ",
          session->profile.name.empty() ? "of an earlier run" : session->profile.name, " was lost");
      FailAttempt(task, error);
    } else {
      GiveBack(task, Verdict::kNone);
    }
  }
  if (session->stream != kNobody) sessions_by_stream_.erase(session->stream);
  sessions_.erase(session->profile.id);
  for (Queue* queue : touched) Dispatch(queue);
}

}  // namespace joinq::core
