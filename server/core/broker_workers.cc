// Workers as an operator sees them: the list, and what they are told to do.
#include <algorithm>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "common/names.h"
#include "server/core/broker.h"

namespace joinq::core {

WorkerView Broker::ViewOf(const Session& worker) const {
  WorkerView view;
  view.profile = worker.profile;
  view.status = worker.status;
  view.silent_ms = static_cast<uint64_t>((now_ - worker.last_heard).count());
  view.connected_ms = static_cast<uint64_t>((now_ - worker.connected).count());
  view.leases = worker.leases.count;
  if (worker.stream == kNobody) {
    view.state = WorkerState::kGone;
  } else if (worker.draining) {
    view.state = WorkerState::kDraining;
  } else if (now_ - worker.last_heard > limits_.worker_timeout / 2) {
    view.state = WorkerState::kLate;
  } else if (!worker.status.trouble.empty()) {
    view.state = WorkerState::kFailing;
  } else if (worker.profile.paused) {
    view.state = WorkerState::kPaused;
  }
  return view;
}

std::vector<WorkerView> Broker::ListWorkers() const {
  std::vector<WorkerView> views;
  for (const auto& [id, session] : sessions_) {
    if (session->kind == SessionKind::kWorker) views.push_back(ViewOf(*session));
  }
  std::sort(views.begin(), views.end(), [](const WorkerView& a, const WorkerView& b) {
    return std::tie(a.profile.name, a.profile.id) < std::tie(b.profile.name, b.profile.id);
  });
  return views;
}

absl::StatusOr<std::vector<WorkerView>> Broker::ControlWorker(std::string_view name, WorkerAction action,
                                                              uint32_t children) {
  if (name.empty()) return InvalidField("worker", "must be the name or the id of a worker");
  if (action == WorkerAction::kResize ? children < 1 || children > kChildrenMax : children != 0) {
    return InvalidField("children",
                        action == WorkerAction::kResize
                            ? absl::StrCat("is ", children, "; it must be from 1 to ", kChildrenMax)
                            : absl::StrCat("is ", children, "; it goes with RESIZE only"));
  }
  std::vector<Session*> meant;
  for (const auto& [id, session] : sessions_) {
    if (session->kind != SessionKind::kWorker) continue;
    if (session->profile.name == name || absl::StrCat(id) == name) meant.push_back(session.get());
  }
  const auto error = [&](absl::StatusCode code, const char* what) {
    return FieldError(code, "worker", absl::StrCat("worker \"", std::string(name), "\" ", what));
  };
  if (meant.empty()) return error(absl::StatusCode::kNotFound, "is not known here: see the list of workers");
  std::erase_if(meant, [](const Session* worker) { return worker->stream == kNobody; });
  if (meant.empty()) return error(absl::StatusCode::kFailedPrecondition, "is not connected just now");
  std::vector<WorkerView> told;
  for (Session* worker : meant) {
    effects_.actions.push_back({worker->stream, action, children});
    if (action == WorkerAction::kDrain) {
      worker->draining = true;
      worker->credit = 0;
    } else if (action != WorkerAction::kResize) {
      worker->profile.paused = action == WorkerAction::kPause;
    }
    told.push_back(ViewOf(*worker));
  }
  // Serving may end a session's turn, but not the session.
  if (action == WorkerAction::kResume) {
    for (Session* worker : meant) ServeWorker(worker);
  }
  return told;
}

}  // namespace joinq::core
