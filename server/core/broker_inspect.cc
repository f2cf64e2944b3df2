// Looking at tasks: one, many, the next ones, and why one is not running.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/names.h"
#include "server/core/broker.h"

namespace joinq::core {
namespace {

constexpr size_t kLooksPerCall = 100'000;
constexpr uint64_t kPositionMax = 1'000'000;

uint64_t UnixMs(Time time) {
  return static_cast<uint64_t>(time.time_since_epoch().count());
}

}  // namespace

TaskView Broker::ViewOf(const Task& task) const {
  TaskView view;
  view.id = task.id;
  view.queue = task.queue()->name.str();
  view.handler = task.shape->handler.str();
  view.content_type = task.shape->content_type.str();
  view.state = task.state;
  view.outcome = task.outcome;
  view.policy = task.policy();
  view.payload_bytes = task.payload_size;
  view.payload = task.payload;
  view.evicted = task.evicted;
  view.when = task.when;
  view.deliveries = task.deliveries;
  if (task.bound) view.session_id = bound_.SessionOf(task.id);
  if (task.ties != nullptr) {
    if (task.state == TaskState::kEnded) view.content_type = task.ties->result_type.str();
    view.token = task.ties->token;
    if (task.ties->holder != nullptr) view.holder = task.ties->holder->profile.name;
  }
  if (task.extra != nullptr) {
    view.expires = task.extra->expires;
    view.deadline_ms = task.extra->deadline_ms;
    view.attempts = task.extra->attempts;
    view.crashes = task.extra->crashes;
    if (task.extra->error != nullptr) view.error = std::make_unique<TaskError>(*task.extra->error);
    view.history = task.extra->history;
    if (task.extra->progress != nullptr) view.progress = *task.extra->progress;
    if (task.extra->process != nullptr) view.process = *task.extra->process;
    if (task.extra->unique != nullptr) view.unique_key = task.extra->unique->text;
  }
  return view;
}

absl::StatusOr<TaskView> Broker::GetTask(TaskId id) const {
  const Task* task = tasks_.Find(id);
  if (task == nullptr) return UnknownTask(id);
  return ViewOf(*task);
}

std::vector<TaskView> Broker::ListTasks(const TaskFilter& filter, uint64_t* next) const {
  std::vector<TaskView> views;
  size_t looks = 0;
  uint64_t last = filter.after, go_on = 0;
  tasks_.Walk(filter.after, filter.newest_first, [&](const Task* task) {
    if (views.size() == filter.limit || looks == kLooksPerCall) {
      go_on = last;
      return false;
    }
    ++looks;
    last = Raw(task->id);
    if (filter.state != TaskState::kNew && task->state != filter.state) return true;
    if (!filter.queue.empty() && task->queue()->name.view() != filter.queue) return true;
    views.push_back(ViewOf(*task));
    return true;
  });
  *next = go_on;
  return views;
}

absl::StatusOr<std::vector<TaskView>> Broker::Peek(std::string_view name, size_t limit) const {
  auto found = FindQueue(name);
  if (!found.ok()) return found.status();
  std::vector<TaskView> views;
  (*found)->ready.Walk([&](const Task* task) {
    if (views.size() < limit) views.push_back(ViewOf(*task));
    return views.size() < limit;
  });
  return views;
}

absl::StatusOr<Why> Broker::WhyTask(TaskId id) const {
  const Task* task = tasks_.Find(id);
  if (task == nullptr) return UnknownTask(id);
  const Queue& queue = *task->queue();
  const std::string what = absl::StrCat("task ", Raw(id));
  const std::string where = absl::StrCat("queue \"", queue.name.str(), "\"");
  const auto left = absl::StrCat((std::max(task->when, now_) - now_).count(), " ms");
  switch (task->state) {
    case TaskState::kLeased: {
      const Session* holder = task->ties->holder;
      return Why{
          WhyReason::kLeased, 0,
          absl::StrCat(what, " is not waiting: ",
                       holder == nullptr                      ? "a consumer"
                       : holder->kind == SessionKind::kWorker ? absl::StrCat("worker ", holder->profile.name)
                                                              : absl::StrCat("client ", holder->profile.name),
                       " has had it for ", (now_ - task->ties->granted).count(), " ms")};
    }
    case TaskState::kEnded:
      return Why{WhyReason::kEnded, 0, absl::StrCat(what, " has ended; joinq task result shows how")};
    case TaskState::kDead:
      return Why{WhyReason::kEnded, 0,
                 absl::StrCat(what, " is dead: ", task->error() == nullptr ? "" : task->error()->message,
                              "; joinq task retry gives it fresh attempts")};
    case TaskState::kDelayed:
      if (task->attempts() > 0) {
        return Why{WhyReason::kBackoff, UnixMs(task->when),
                   absl::StrCat(what, " failed ", task->attempts(), " of ", task->policy().max_attempts,
                                " times and is tried again in ", left)};
      }
      return Why{WhyReason::kDelayed, UnixMs(task->when),
                 absl::StrCat(what, " is delayed for ", left, " more")};
    default:
      break;
  }
  if (queue.paused)
    return Why{WhyReason::kQueuePaused, 0, absl::StrCat(where, " is paused; joinq queue resume starts it")};
  if (disk_level_ == DiskLevel::kCritical && Journaled(queue))
    return Why{WhyReason::kDiskFull, 0,
               "the broker's disk is almost full: nothing is handed out until there is room"};
  if (queue.workers.empty() && queue.gets.empty())
    return Why{WhyReason::kNoConsumer, 0,
               absl::StrCat("nobody serves ", where, " or waits for a task of it")};
  const Name& handler = task->shape->handler;
  if (!handler.empty() && queue.gets.empty()) {
    const bool known = std::any_of(queue.workers.begin(), queue.workers.end(), [&](const Session* worker) {
      const auto& handlers = worker->profile.handlers;
      return std::find(handlers.begin(), handlers.end(), handler.view()) != handlers.end();
    });
    if (!known) {
      return Why{WhyReason::kUnknownHandler, 0,
                 absl::StrCat("none of the ", queue.workers.size(), " worker(s) of ", where,
                              " has a handler \"", handler.str(), "\"")};
    }
  }
  uint64_t before = 0;
  queue.ready.Walk([&](const Task* each) { return each != task && ++before < kPositionMax; });
  if (before == 0 && task->evicted)
    return Why{WhyReason::kLoading, 0, absl::StrCat(what, " is next; its payload is being read from disk")};
  const bool credit = std::any_of(queue.workers.begin(), queue.workers.end(),
                                  [](const Session* worker) { return worker->credit > 0; });
  if (!credit && queue.gets.empty()) {
    return Why{WhyReason::kNoCredit, before,
               absl::StrCat("all ", queue.workers.size(), " worker(s) of ", where, " are busy; ", before,
                            " task(s) stand before ", what)};
  }
  return Why{WhyReason::kInLine, before, absl::StrCat(before, " task(s) of ", where, " stand before ", what)};
}

}  // namespace joinq::core
