// Workers: sessions, credit, completions, and what happens when one is lost.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/names.h"
#include "server/core/broker.h"

namespace joinq::core {
namespace {

constexpr uint64_t kTasksPerTurn = 64;  // of one queue before the next has its turn
constexpr uint64_t kCreditMax = 1 << 20;

absl::Status CheckProfile(const WorkerProfile& profile) {
  if (profile.worker_id == 0) return InvalidField("hello.worker_id", "must not be 0");
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

absl::StatusOr<WorkerWelcome> Broker::AttachWorker(CallerId stream, const WorkerProfile& profile,
                                                   std::span<const LeaseRef> held) {
  if (stopping_) return absl::UnavailableError("the broker is stopping");
  if (absl::Status bad = CheckProfile(profile); !bad.ok()) return bad;
  for (const std::string& name : profile.queues) {
    if (auto created = CreateQueue(name, QueueOptions{}, /*allow_existing=*/true); !created.ok())
      return created.status();
  }
  auto& slot = workers_[profile.worker_id];
  if (slot == nullptr) {
    slot = std::make_unique<WorkerSession>();
    slot->connected = now_;
  }
  WorkerSession* worker = slot.get();
  if (worker->stream != kNobody) workers_by_stream_.erase(worker->stream);  // superseded
  DetachQueues(worker);
  worker->profile = profile;
  worker->stream = stream;
  worker->credit = 0;
  worker->draining = false;
  worker->last_heard = now_;
  worker->ends = kNever;
  ArmWorkerTimer(worker, now_ + limits_.worker_timeout);
  workers_by_stream_[stream] = worker;
  for (const std::string& name : profile.queues) {
    Queue* queue = queues_.find(name)->second.get();
    if (std::find(worker->queues.begin(), worker->queues.end(), queue) != worker->queues.end()) continue;
    worker->queues.push_back(queue);
    queue->workers.push_back(worker);
  }
  WorkerWelcome welcome;
  welcome.completions_seen = worker->completions_seen;
  absl::flat_hash_map<TaskId, uint64_t> kept;
  for (const LeaseRef& lease : held) {
    bool repeated = false;
    Task* task = FindLease(lease, Verdict::kNone, &repeated);
    if (task != nullptr && task->holder == worker) {
      kept[lease.task] = lease.token.sequence;
    } else {
      welcome.lost.push_back(lease);
    }
  }
  // What was sent on the old stream and never arrived goes back.
  std::vector<LeaseRef> undelivered;
  for (Task* task = worker->leases.front(); task != nullptr; task = worker->leases.Next(task)) {
    if (!kept.contains(task->id)) undelivered.push_back({task->id, {epoch_, task->lease_sequence}});
  }
  ReturnUndelivered(undelivered);
  return welcome;
}

void Broker::DetachQueues(WorkerSession* worker) {
  for (Queue* queue : worker->queues) std::erase(queue->workers, worker);
  worker->queues.clear();
  worker->next_queue = 0;
}

void Broker::WorkerHeard(CallerId stream) {
  if (auto it = workers_by_stream_.find(stream); it != workers_by_stream_.end())
    it->second->last_heard = now_;
}

void Broker::WorkerReports(CallerId stream, const WorkerStatus& status) {
  if (auto it = workers_by_stream_.find(stream); it != workers_by_stream_.end()) it->second->status = status;
}

void Broker::WorkerDrains(CallerId stream) {
  if (auto it = workers_by_stream_.find(stream); it != workers_by_stream_.end()) {
    it->second->draining = true;
    it->second->credit = 0;
  }
}

void Broker::WorkerCredit(CallerId stream, uint32_t credit) {
  auto it = workers_by_stream_.find(stream);
  if (it == workers_by_stream_.end() || it->second->draining || stopping_) return;
  it->second->credit = std::min(kCreditMax, it->second->credit + credit);
  ServeWorker(it->second);
}

// Gives the worker what is ready in its queues, turn by turn.
void Broker::ServeWorker(WorkerSession* worker) {
  size_t idle = 0;
  while (worker->credit > 0 && idle < worker->queues.size()) {
    if (worker->next_queue >= worker->queues.size()) worker->next_queue = 0;
    Queue* queue = worker->queues[worker->next_queue++];
    if (queue->ready_count == 0) {
      ++idle;
      continue;
    }
    idle = 0;
    for (uint64_t n = 0; n < kTasksPerTurn && worker->credit > 0 && queue->ready_count > 0; ++n) {
      effects_.deliveries.push_back(Lease(queue->ready.front(), worker->stream, worker, kNever));
    }
    if (!queue->puts.empty()) AdmitPuts(queue);
  }
}

void Broker::WorkerCompletions(CallerId stream, uint64_t seq, std::span<const Completion> completions) {
  auto it = workers_by_stream_.find(stream);
  if (it == workers_by_stream_.end()) return;
  WorkerSession* worker = it->second;
  CompletionsAck ack;
  ack.to = stream;
  if (seq > worker->completions_seen) {
    worker->completions_seen = seq;
    Queue* last_queue = nullptr;
    for (const Completion& completion : completions) {
      bool repeated = false;
      Task* task = FindLease(completion.lease, completion.verdict, &repeated);
      if (task == nullptr) {
        if (!repeated) ack.stale.push_back(completion.lease.task);
        continue;
      }
      Queue* queue = task->queue;
      RememberCompletion(*task, completion.verdict);
      switch (completion.verdict) {
        case Verdict::kDone:
          if (completion.result.size() > limits_.max_payload_bytes) {
            TaskError error;
            error.kind = FailureKind::kHandlerError;
            error.message = absl::StrCat("the result has ", completion.result.size(), " bytes; at most ",
                                         limits_.max_payload_bytes, " are allowed");
            error.final = true;
            FailAttempt(task, error);
          } else {
            End(task, Outcome::kSucceeded, completion.result, completion.content_type);
          }
          continue;
        case Verdict::kFailed:
          FailAttempt(task, completion.error);
          break;
        case Verdict::kReleased:
        case Verdict::kNone:
          Unlease(task);
          MakeReady(task, /*front=*/true);
          break;
      }
      if (queue != last_queue && last_queue != nullptr) Dispatch(last_queue);
      last_queue = queue;
    }
    if (last_queue != nullptr) Dispatch(last_queue);
  }
  ack.completions_seq = worker->completions_seen;
  effects_.completion_acks.push_back(std::move(ack));
}

// Only the timer armed last counts; the others find that out when they come due.
void Broker::ArmWorkerTimer(WorkerSession* worker, Time when) {
  worker->timer = when;
  timers_.Add(when, TimerKind::kWorker, worker->profile.worker_id);
}

void Broker::CheckWorkerTimer(uint64_t worker_id, Time due) {
  auto it = workers_.find(worker_id);
  if (it == workers_.end()) return;
  WorkerSession* worker = it->second.get();
  if (worker->timer != due) return;
  const Time end = worker->stream != kNobody ? worker->last_heard + limits_.worker_timeout : worker->ends;
  if (end > now_) {
    ArmWorkerTimer(worker, end);
  } else {
    EndWorker(worker);
  }
}

// The worker is gone for good. It works in the order of delivery, so its oldest
// leases, as many as it has children, may have been running: those are charged
// with a crash. The others were never started and go back at no cost.
void Broker::EndWorker(WorkerSession* worker) {
  DetachQueues(worker);
  std::vector<Task*> leases;
  for (Task* task = worker->leases.front(); task != nullptr; task = worker->leases.Next(task))
    leases.push_back(task);
  const size_t started = std::min<size_t>(leases.size(), std::max<uint32_t>(1, worker->profile.concurrency));
  std::vector<Queue*> touched;
  for (size_t i = leases.size(); i-- > 0;) {
    Task* task = leases[i];
    if (std::find(touched.begin(), touched.end(), task->queue) == touched.end())
      touched.push_back(task->queue);
    if (i < started) {
      TaskError error;
      error.kind = FailureKind::kHostLost;
      error.message = absl::StrCat("worker ", worker->profile.name, " was lost");
      FailAttempt(task, error);
    } else {
      Unlease(task);
      MakeReady(task, /*front=*/true);
    }
  }
  if (worker->stream != kNobody) workers_by_stream_.erase(worker->stream);
  workers_.erase(worker->profile.worker_id);
  for (Queue* queue : touched) Dispatch(queue);
}

std::vector<WorkerView> Broker::ListWorkers() const {
  std::vector<WorkerView> views;
  for (const auto& [id, worker] : workers_) {
    WorkerView view;
    view.profile = worker->profile;
    view.status = worker->status;
    view.silent_ms = static_cast<uint64_t>((now_ - worker->last_heard).count());
    view.connected_ms = static_cast<uint64_t>((now_ - worker->connected).count());
    view.leases = worker->lease_count;
    if (worker->stream == kNobody) {
      view.state = WorkerState::kGone;
    } else if (worker->draining) {
      view.state = WorkerState::kDraining;
    } else if (now_ - worker->last_heard > limits_.worker_timeout / 2) {
      view.state = WorkerState::kLate;
    }
    views.push_back(std::move(view));
  }
  std::sort(views.begin(), views.end(), [](const WorkerView& a, const WorkerView& b) {
    return std::tie(a.profile.name, a.profile.worker_id) < std::tie(b.profile.name, b.profile.worker_id);
  });
  return views;
}

}  // namespace joinq::core
