// Recounts everything from the tasks: after a restart, and in every test.
#include <algorithm>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "server/core/broker.h"

namespace joinq::core {
namespace {

struct Counted {
  QueueStats stats;
  uint64_t evicted_ready = 0;
};

// What is wrong with one task by itself.
std::string ProblemOf(const Task& task) {
  const auto says = [&](const char* what) { return absl::StrCat("task ", Raw(task.id), " ", what); };
  switch (task.state) {
    case TaskState::kNew:
      return says("has no state");
    case TaskState::kLeased:
      if (task.ties == nullptr) return says("is leased without a lease");
      break;
    case TaskState::kEnded:
    case TaskState::kDead:
      if (task.outcome == Outcome::kUnfinished) return says("ended without outcome");
      break;
    default:
      if (task.outcome != Outcome::kUnfinished) return says("waits though it has an outcome");
      break;
  }
  if (task.bound && (task.state == TaskState::kEnded || task.state == TaskState::kDead))
    return says("is bound to a session though it is over");
  if (task.loading && !task.evicted) return says("is being read though it is in memory");
  if (task.read_back && (task.evicted || task.state != TaskState::kReady))
    return says("counts as read ahead without waiting in memory");
  if (task.evicted && !task.has_row) return says("is neither in memory nor on disk");
  if (task.evicted && task.payload.footprint() > 0) return says("is in memory though it was evicted");
  if (!task.evicted && task.payload.size() != task.payload_size)
    return says("has another size than its payload");
  return {};
}

}  // namespace

std::string Broker::CheckInvariants() const {
  absl::flat_hash_map<const Queue*, Counted> counted;
  absl::flat_hash_set<uint64_t> sequences;
  std::string problem;
  uint64_t resident = 0, payloads = 0, ahead = 0, bound = 0;
  tasks_.ForEach([&](Task* task) {
    if (std::string found = ProblemOf(*task); !found.empty()) problem = found;
    bound += task->bound;
    resident += task->payload.footprint();
    payloads += task->payload_size;
    if (task->loading || task->read_back) ahead += task->payload_size;
    Counted& count = counted[task->queue()];
    switch (task->state) {
      case TaskState::kReady:
        ++count.stats.ready;
        count.evicted_ready += task->evicted;
        break;
      case TaskState::kDelayed:
        ++count.stats.delayed;
        break;
      case TaskState::kLeased:
        ++count.stats.leased;
        if (task->ties != nullptr && task->ties->token.epoch == epoch_ &&
            !sequences.insert(task->ties->token.sequence).second)
          problem = absl::StrCat("two leases have the sequence ", task->ties->token.sequence);
        break;
      case TaskState::kDead:
        ++count.stats.dead_kept;
        return;
      default:
        return;
    }
    count.stats.bytes += task->payload_size;
    if (task->waiting()) count.stats.waiting_bytes += task->payload_size;
  });
  if (resident != resident_bytes_ || payloads != payload_bytes_) {
    problem = absl::StrCat("payloads: counted ", resident_bytes_, " in memory of ", payload_bytes_, ", hold ",
                           resident, " of ", payloads);
  }
  if (bound != bound_.size())
    problem = absl::StrCat("lists ", bound_.size(), " tasks of sessions, holds ", bound);
  bound_.ForEach([&](uint64_t session, TaskId id) {
    const Task* task = tasks_.Find(id);
    if (task == nullptr || !task->bound)
      problem = absl::StrCat("lists task ", Raw(id), " as bound to session ", session, ", which it is not");
    const bool ends = std::any_of(
        ended_sessions_.begin(), ended_sessions_.end(),
        [&, id = id](const EndedSession& ended) { return ended.session == session && id < ended.below; });
    if (!ends && !sessions_.contains(session))
      problem = absl::StrCat("task ", Raw(id), " outlives its session ", session);
  });
  if (ahead != ahead_bytes_) problem = absl::StrCat("reads ", ahead, " bytes ahead, counts ", ahead_bytes_);
  for (const auto& [name, queue] : queues_) {
    const Counted& count = counted[queue.get()];
    const QueueStats& stats = count.stats;
    const auto says = [&, &queue_name = name](const std::string& what) {
      problem = absl::StrCat("queue ", queue_name, ": ", what);
    };
    if (stats.ready != queue->ready.size() || stats.delayed != queue->delayed_count ||
        stats.leased != queue->leased_count || stats.dead_kept != queue->dead_count ||
        stats.bytes != queue->bytes || stats.waiting_bytes != queue->waiting_bytes ||
        count.evicted_ready != queue->evicted_ready) {
      says(absl::StrCat("counts ", queue->ready.size(), "/", queue->delayed_count, "/", queue->leased_count,
                        "/", queue->dead_count, "/", queue->bytes, "/", queue->waiting_bytes, "/",
                        queue->evicted_ready, " but holds ", stats.ready, "/", stats.delayed, "/",
                        stats.leased, "/", stats.dead_kept, "/", stats.bytes, "/", stats.waiting_bytes, "/",
                        count.evicted_ready));
    }
    // Each of these was counted once, however it ended; dead ones that were retried twice.
    const uint64_t ended =
        queue->done_total + queue->dead_total + queue->cancelled_total + queue->expired_total;
    if (queue->put_total + queue->retried_total != ended + queue->unfinished() &&
        queue->options.durability != Durability::kMemory) {
      says(absl::StrCat("put ", queue->put_total, " and retried ", queue->retried_total, ", but ended ",
                        ended, " and unfinished ", queue->unfinished()));
    }
    if (queue->unfinished() == 0 && !queue->joins.empty()) says("a join sleeps at 0");
    if (queue->unfinished() == 0 && queue->closed) {
      for (uint64_t id : queue->gets) {
        if (waiters_.Get(id).queues.size() == 1) says("a get sleeps at a queue that is closed and drained");
      }
    }
    const bool deliverable = !queue->ready.empty() && !queue->paused && disk_level_ != DiskLevel::kCritical &&
                             !queue->ready.front()->evicted;
    if (deliverable && !queue->gets.empty()) says("a get sleeps on a ready task");
    if (!queue->ready.empty() && queue->ready.front()->evicted && !queue->ready.front()->loading &&
        !queue->paused && disk_level_ != DiskLevel::kCritical && !queue->gets.empty())
      says("nobody loads what is next");
    if (!queue->puts.empty() && disk_level_ == DiskLevel::kOk) {
      const Waiter& first = waiters_.Get(queue->puts.front());
      if (queue->HasRoomFor(first.tasks.size(), first.bytes)) says("a put sleeps though there is room");
    }
  }
  size_t cancelled = 0;
  for (const auto& [id, session] : sessions_) {
    uint32_t leases = 0;
    for (const Task* task = session->leases.tasks.front(); task != nullptr;
         task = session->leases.tasks.Next(task)) {
      ++leases;
      if (task->state != TaskState::kLeased || task->ties->holder != session.get())
        problem = absl::StrCat("session ", id, " lists task ", Raw(task->id), " that it does not hold");
    }
    if (leases != session->leases.count) problem = absl::StrCat("session ", id, " miscounts its leases");
    cancelled += session->cancelled.size();
    for (TaskId task : session->cancelled) {
      auto work = cancelled_work_.find(task);
      if (work == cancelled_work_.end() || work->second.holder != session.get())
        problem = absl::StrCat("session ", id, " lists task ", Raw(task), " as cancelled under it");
    }
  }
  if (cancelled != cancelled_work_.size()) problem = "cancelled work is left of a session that has ended";
  return problem;
}

}  // namespace joinq::core
