// The broker against a naive model: delays, priorities, expiry, death and retry, with
// restarts between any two steps. Sequences shrink to the shortest that differs.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <map>
#include <vector>

#include "tests/support/core_harness.h"
#include "tests/support/sweeps.h"

namespace joinq::core {
namespace {

using testing::CoreHarness;

// What is known of a task; the model looks at all of them to find the next one.
struct ModelTask {
  enum State { kDelayed, kReady, kLeased, kDead, kGone } state = kReady;
  int64_t since = 0, due = 0, expires = INT64_MAX;
  int16_t priority = 0;
  uint64_t line = 0;  // its place among those that became ready at one instant
  int failures = 0;
};

class Model {
 public:
  explicit Model(Order order) : order_(order), core_(Tiny()) {
    core_.Create("q", {.ageing_ms = kAgeing, .order = order});
  }

  void Step(uint32_t choice) {
    const uint32_t detail = choice / 8;
    switch (choice % 8) {
      case 0:
      case 1:
      case 2:
        return Put(detail);
      case 3:
        return Get();
      case 4:
        return End(detail);
      case 5:
        return Advance(detail % 400);
      case 6:
        return Retry();
      default:
        if (detail % 4 == 0) Restart();
    }
  }
  void Compare() {
    uint64_t ready = 0, delayed = 0, leased = 0, dead = 0;
    for (const auto& [id, task] : tasks_) {
      ready += task.state == ModelTask::kReady;
      delayed += task.state == ModelTask::kDelayed;
      leased += task.state == ModelTask::kLeased;
      dead += task.state == ModelTask::kDead;
    }
    const QueueStats stats = core_.Stats("q");
    RC_ASSERT(stats.ready == ready);
    RC_ASSERT(stats.delayed == delayed);
    RC_ASSERT(stats.leased == leased);
    RC_ASSERT(stats.dead_kept == dead);
    RC_ASSERT(stats.expired_total == expired_);
    RC_ASSERT(stats.done_total == done_);
    RC_ASSERT(stats.retried_total == retried_);
    RC_ASSERT(stats.put_total == put_);
  }

 private:
  static constexpr uint32_t kAgeing = 50;
  static Limits Tiny() {
    Limits limits;
    limits.journal_bytes_min = 700;
    limits.memory_budget_bytes = 200;
    return limits;
  }
  int64_t now() const { return core_.now.time_since_epoch().count(); }

  void Put(uint32_t detail) {
    PutSpec spec = core_.Spec("q");
    ModelTask task;
    if (order_ == Order::kPriority)
      task.priority = spec.policy.priority = static_cast<int16_t>(detail % 5) - 2;
    spec.policy.max_attempts = 2;
    spec.policy.retry_delay_ms = 100;
    if (detail % 7 == 0) spec.delay_ms = 1 + detail % 200;
    if (detail % 6 == 0) spec.ttl_ms = 1 + detail % 300;
    task.since = now();
    task.line = next_line_++;
    if (spec.delay_ms != 0) {
      task.state = ModelTask::kDelayed;
      task.due = now() + spec.delay_ms;
    }
    if (spec.ttl_ms != 0) task.expires = now() + spec.ttl_ms;
    const TaskId id = core_.Put(spec, "payload");
    RC_ASSERT(Raw(id) != 0u);
    RC_ASSERT(tasks_.emplace(Raw(id), task).second);
    ++put_;
  }
  // The only rule there is, said at length: of those that are ready, the best one.
  uint64_t Next() const {
    uint64_t best = 0;
    for (const auto& [id, task] : tasks_) {
      if (task.state != ModelTask::kReady) continue;
      if (best == 0 || Before(task, tasks_.at(best))) best = id;
    }
    return best;
  }
  bool Before(const ModelTask& a, const ModelTask& b) const {
    if (order_ == Order::kLifo) return a.line > b.line;
    if (order_ == Order::kFifo) return a.line < b.line;
    const int64_t place_a = a.since + a.priority * int64_t{kAgeing},
                  place_b = b.since + b.priority * int64_t{kAgeing};
    if (place_a != place_b) return place_a < place_b;
    return std::pair(a.priority, a.line) < std::pair(b.priority, b.line);
  }
  void Get() {
    const uint64_t expected = Next();
    auto got = core_.Get("q", 1, 3'600'000);
    RC_ASSERT(got.size() == (expected == 0 ? 0u : 1u));
    if (expected == 0) return;
    RC_ASSERT(Raw(got[0].task) == expected);
    RC_ASSERT(got[0].payload.view() == "payload");
    tasks_[expected].state = ModelTask::kLeased;
    held_.push_back(std::move(got[0]));
  }
  void End(uint32_t detail) {
    if (held_.empty()) return;
    const size_t at = detail / 2 % held_.size();
    const Delivery delivery = held_[at];
    held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(at));
    ModelTask& task = tasks_[Raw(delivery.task)];
    if (detail % 2 == 0) {
      RC_ASSERT(core_.Done("q", delivery).ok());
      task.state = ModelTask::kGone;
      ++done_;
      return;
    }
    RC_ASSERT(core_.Fail("q", delivery).ok());
    if (++task.failures == 2) {
      task.state = ModelTask::kDead;
      return;
    }
    // Between three quarters of the delay and all of it: ask.
    auto view = core_.broker().GetTask(delivery.task);
    if (!view.ok()) {
      RC_ASSERT(task.expires <= now() + 100);
      task.state = ModelTask::kGone;
      ++expired_;
      return;
    }
    const int64_t due = view->when.time_since_epoch().count();
    RC_ASSERT(due >= now() + 75 && due <= now() + 100);
    RC_ASSERT(due < task.expires);
    task.state = ModelTask::kDelayed;
    task.due = due;
  }
  void Advance(uint32_t ms) {
    // One instant at a time, so that what becomes ready does so in order.
    for (const int64_t end = now() + ms; now() < end;) {
      int64_t next = end;
      for (const auto& [id, task] : tasks_) {
        if (task.state == ModelTask::kDelayed) next = std::min(next, task.due);
        if (task.state == ModelTask::kDelayed || task.state == ModelTask::kReady)
          next = std::min(next, task.expires);
      }
      core_.Advance(next - now());
      for (auto& [id, task] : tasks_) {
        const bool waits = task.state == ModelTask::kDelayed || task.state == ModelTask::kReady;
        if (waits && task.expires <= now()) {
          task.state = ModelTask::kGone;
          ++expired_;
        } else if (task.state == ModelTask::kDelayed && task.due <= now()) {
          task.state = ModelTask::kReady;
          task.since = now();
          task.line = next_line_++;
        }
      }
    }
  }
  void Retry() {
    core_.Do([&](Broker& broker) { RC_ASSERT(joinq::testing::RetryDead(broker, "q", 0).ok()); });
    for (auto& [id, task] : tasks_) {
      if (task.state != ModelTask::kDead) continue;
      task.state = ModelTask::kReady;
      task.since = now();
      task.failures = 0;
      task.expires = INT64_MAX;
      ++retried_;
    }
    Realign();
  }
  // Which of several came first is the broker's to say: learned, not judged.
  void Realign() {
    auto views = core_.broker().Peek("q", 1000);
    RC_ASSERT(views.ok());
    uint64_t place = 0;
    for (const TaskView& view : *views) {
      ModelTask& task = tasks_[Raw(view.id)];
      RC_ASSERT(task.state == ModelTask::kReady);
      task.line = next_line_ + (order_ == Order::kLifo ? views->size() - place : place);
      if (order_ == Order::kPriority) task.since = view.when.time_since_epoch().count();
      ++place;
    }
    next_line_ += views->size() + 1;
  }
  // Leases this young are not on disk: their tasks wait again.
  void Restart() {
    core_.Restart();
    // What was due by now is, and what had expired while it was held.
    core_.Advance(0);
    for (auto it = held_.begin(); it != held_.end();) {
      auto view = core_.broker().GetTask(it->task);
      if (view.ok() && view->state == TaskState::kLeased) {
        ++it;
        continue;
      }
      ModelTask& task = tasks_[Raw(it->task)];
      const bool back = view.ok() ? view->state == TaskState::kReady : task.expires <= now();
      RC_ASSERT(back);
      task.state = ModelTask::kReady;
      it = held_.erase(it);
    }
    for (auto& [id, task] : tasks_) {
      if (task.state != ModelTask::kReady || task.expires > now()) continue;
      task.state = ModelTask::kGone;
      ++expired_;
    }
    Realign();
  }

  const Order order_;
  CoreHarness core_;
  std::map<uint64_t, ModelTask> tasks_;
  std::vector<Delivery> held_;
  uint64_t next_line_ = 1, put_ = 0, done_ = 0, expired_ = 0, retried_ = 0;
};

RC_GTEST_PROP(BrokerProperty, AgreesWithTheNaiveModel, (const std::vector<uint32_t>& choices)) {
  Model model(*rc::gen::element(Order::kFifo, Order::kLifo, Order::kPriority));
  for (uint32_t choice : choices) {
    model.Step(choice);
    model.Compare();
  }
}

}  // namespace
}  // namespace joinq::core
