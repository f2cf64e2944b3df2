// Tasks that are bound to a client's session: cancelled when it ends, a bounded number
// of them a round. A restart of the broker gives the session time to come back, and
// cancels them if it does not.
#include "absl/strings/str_cat.h"
#include "common/names.h"
#include "server/core/broker.h"

namespace joinq::core {

// Puts that are repeated after a restart may come before the session's stream does: it has
// the same time as those that are known to have been open.
absl::Status Broker::MayBind(const PutSpec& spec) {
  auto it = sessions_.find(spec.session_id);
  if (it != sessions_.end() && it->second->kind == SessionKind::kClient) return absl::OkStatus();
  if (it == sessions_.end() && now_ < sessions_return_until_ &&
      !ended_since_restart_.contains(spec.session_id)) {
    Session* session = AddSession(spec.session_id, SessionKind::kClient);
    session->last_heard = now_;
    session->ends = sessions_return_until_;
    ArmSessionTimer(session, session->ends);
    return absl::OkStatus();
  }
  return FieldError(absl::StatusCode::kFailedPrecondition, "options.session_id",
                    absl::StrCat("session ", spec.session_id,
                                 " is not open: open it with SessionService.Keep before the put"));
}

void Broker::Bind(Task* task, uint64_t session) {
  task->bound = true;
  bound_.Add(task->id, session);
}

void Broker::Unbind(Task* task) {
  task->bound = false;
  bound_.Remove(task->id);
}

// What is put by a session of the same id from now on is not meant.
void Broker::EndBoundTo(uint64_t session) {
  if (now_ < sessions_return_until_) {
    ended_since_restart_.insert(session);
  } else if (!ended_since_restart_.empty()) {
    ended_since_restart_.clear();
  }
  if (bound_.Has(session)) ended_sessions_.push_back({session, TaskId{counters_.next_task}});
}

// As far as this round may go. The caller dispatches the queues.
void Broker::CancelBound(std::vector<Queue*>* touched) {
  while (!ended_sessions_.empty() && cancels_left_ > 0) {
    const EndedSession& ended = ended_sessions_.front();
    const TaskId id = bound_.First(ended.session);
    if (id == TaskId{0} || id >= ended.below) {
      ended_sessions_.pop_front();
      continue;
    }
    Task* task = tasks_.Find(id);
    if (touched->empty() || touched->back() != task->queue()) touched->push_back(task->queue());
    Cancel(task, /*terminate=*/false);
    --cancels_left_;
  }
}

void Broker::CancelBound() {
  std::vector<Queue*> touched;
  CancelBound(&touched);
  for (Queue* queue : touched) Dispatch(queue);
}

}  // namespace joinq::core
