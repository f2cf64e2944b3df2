// Those who rule and those who wait: an operator, and callers of join and results.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "tests/sim/peers.h"
#include "tests/support/sweeps.h"

namespace joinq::sim {
namespace {

using core::TaskId;
using core::TaskState;

class OperatorPeer final : public Peer {
 public:
  explicit OperatorPeer(World* world) : world_(world) {}

  void Act() override {
    if (created_ < world_->plan().queues.size()) return Create(world_->plan().queues[created_++]);
    Random& random = world_->random();
    const std::string queue = world_->AnyQueue();
    switch (random.Below(world_->plan().operator_meddles ? 40 : 12)) {
      case 0:
        return Create(queue);
      case 1:
      case 2:
        return Ask([this, queue, pause = random.OneIn(3)](core::Broker& broker) {
          world_->Trace("%s %s", pause ? "pause" : "resume", queue.c_str());
          return broker.PauseQueue(queue, pause);
        });
      case 3:
        return Update(queue);
      case 4:
        return Ask(
            [this, level = random.Any({core::DiskLevel::kOk, core::DiskLevel::kOk, core::DiskLevel::kLow,
                                       core::DiskLevel::kCritical})](core::Broker& broker) {
              world_->Trace("disk level %d", static_cast<int>(level));
              broker.SetDiskLevel(level);
              return absl::OkStatus();
            });
      case 5:
      case 6:
        return RetryDead(queue, random.Below(3));
      case 7:
        return Retry();
      case 12:
        return Purge(queue);
      case 13:
        return PurgeDead(queue);
      case 14:
        if (random.OneIn(2)) Delete(queue, random.OneIn(2));
        return;
      case 15:
        if (random.OneIn(3)) Close(queue);
        return;
      case 16:
      case 17:
        return Cancel();
      case 18:
      case 19:
        return CancelAndWait();
      default:
        return;
    }
  }
  // Lets everything run, and takes what nobody takes.
  void Finish() override {
    for (const std::string& queue : world_->plan().queues) {
      Ask([queue](core::Broker& broker) {
        broker.SetDiskLevel(core::DiskLevel::kOk);
        return broker.PauseQueue(queue, false);
      });
      core::GetSpec spec;
      spec.max_tasks = 100;
      spec.no_wait = true;
      spec.ack = true;
      Oracle::Call call;
      call.queue = queue;
      call.ack = true;
      call.deadline = core::Time(core::Millis(5000));
      ++taking_;
      world_->Call(
          this, call,
          [queue, spec](core::Broker& broker, core::CallerId caller) { broker.Get(caller, queue, spec); },
          [this](const core::Reply* reply) {
            --taking_;
            got_ = reply != nullptr && !reply->deliveries.empty();
          });
    }
  }
  std::string Unfinished() const override {
    return got_ ? "tasks are left" : cancelling_ > 0 ? "a cancel that waits" : "";
  }

 private:
  void Ask(std::function<absl::Status(core::Broker&)> operation) {
    world_->Ask(this, std::move(operation), [](const absl::Status*) {});
  }
  void Create(const std::string& queue) {
    const core::QueueOptions options = Plan::AnyOptions(&world_->random());
    Ask([this, queue, options](core::Broker& broker) {
      auto made = broker.CreateQueue(queue, options, true);
      if (made.ok()) world_->oracle().QueueExists(queue, made->options.dead_max);
      world_->Trace("queue %s: %s, %s", queue.c_str(), made.status().ToString().c_str(),
                    made.ok() ? std::string(NameOf(made->options.durability)).c_str() : "");
      return made.status();
    });
  }
  void Update(const std::string& queue) {
    Random& random = world_->random();
    const core::QueueOptions options = Plan::AnyOptions(&random);
    core::QueueChanges changes;
    if (random.OneIn(2)) changes.maxsize = options.maxsize;
    if (random.OneIn(2)) changes.max_bytes = options.max_bytes;
    if (random.OneIn(3)) changes.dead_max = options.dead_max;
    if (random.OneIn(3)) changes.order = options.order;
    if (random.OneIn(3)) changes.durability = options.durability;
    Ask([this, queue, changes](core::Broker& broker) {
      auto updated = broker.UpdateQueue(queue, changes);
      world_->Trace("update %s: %s, %s", queue.c_str(), updated.status().ToString().c_str(),
                    updated.ok() ? std::string(NameOf(updated->options.durability)).c_str() : "");
      if (updated.ok()) world_->oracle().QueueExists(queue, updated->options.dead_max);
      return updated.status();
    });
  }
  void RetryDead(const std::string& queue, uint64_t limit) {
    Ask([this, queue, limit](core::Broker& broker) {
      const auto dead = world_->oracle().TasksOf(queue, {TaskState::kDead});
      auto retried = joinq::testing::RetryDead(broker, queue, limit);
      if (retried.ok() && *retried > 0) {
        for (TaskId id : dead) world_->oracle().Retried(id);
      }
      return retried.status();
    });
  }
  TaskId AnyTask() {
    const auto ids = world_->oracle().KnownTasks();
    if (ids.empty()) return TaskId{1};
    // The newer ones are more interesting.
    const size_t recent = std::min<size_t>(ids.size(), 30);
    return ids[ids.size() - 1 - world_->random().Below(recent)];
  }
  void Retry() {
    Ask([this, id = AnyTask()](core::Broker& broker) {
      auto view = broker.RetryTask(id);
      if (view.ok()) world_->oracle().Retried(id);
      return view.status();
    });
  }
  void Cancel() {
    Ask([this, id = AnyTask()](core::Broker& broker) {
      Oracle& oracle = world_->oracle();
      auto view = broker.CancelTask(id);
      world_->Trace("cancel task %llu: %s", static_cast<unsigned long long>(Raw(id)),
                    view.status().ToString().c_str());
      if (!view.ok()) return view.status();
      oracle.MayEnd(id);
      oracle.Ended(id);
      return absl::OkStatus();
    });
  }
  // Answered when the worker says that the work is over, when it is lost, or at the deadline.
  void CancelAndWait() {
    const core::CancelSpec spec{.terminate = world_->random().OneIn(2),
                                .wait_ms = world_->random().Any<uint32_t>({1, 200, 5000})};
    Oracle::Call call;
    call.kind = Oracle::Call::kCancel;
    call.task = AnyTask();
    call.deadline = core::Time(core::Millis(spec.wait_ms));
    ++cancelling_;
    world_->Call(
        this, call,
        [this, id = call.task, spec](core::Broker& broker, core::CallerId caller) {
          auto cancelled = broker.CancelTask(caller, id, spec);
          world_->Trace("cancel task %llu and wait %u: %s", static_cast<unsigned long long>(Raw(id)),
                        spec.wait_ms, cancelled.status().ToString().c_str());
          if (cancelled.ok()) {
            world_->oracle().MayEnd(id);
            world_->oracle().Ended(id);
            if (cancelled->parked) return;
          }
          core::Reply reply;
          reply.to = caller;
          reply.status = cancelled.status();
          if (cancelled.ok()) reply.work_end = cancelled->work_end;
          broker.effects().replies.push_back(std::move(reply));
        },
        [this](const core::Reply*) { --cancelling_; });
  }
  void Purge(const std::string& queue) {
    Ask([this, queue](core::Broker& broker) {
      Oracle& oracle = world_->oracle();
      const auto waiting = oracle.TasksOf(queue, {TaskState::kDelayed, TaskState::kReady});
      auto purged = joinq::testing::Purge(broker, queue);
      if (!purged.ok()) return purged.status();
      world_->Trace("purge %s: %zu tasks", queue.c_str(), waiting.size());
      if (*purged != waiting.size()) oracle.Violation("a purge counts other tasks than those that waited");
      for (TaskId id : waiting) {
        oracle.MayEnd(id);
        oracle.Ended(id);
      }
      return absl::OkStatus();
    });
  }
  void PurgeDead(const std::string& queue) {
    Ask([this, queue](core::Broker& broker) {
      Oracle& oracle = world_->oracle();
      const auto dead = oracle.TasksOf(queue, {TaskState::kDead});
      auto purged = joinq::testing::PurgeDead(broker, queue);
      if (!purged.ok()) return purged.status();
      for (TaskId id : dead) {
        oracle.MayEnd(id);
        oracle.Ended(id);
      }
      return absl::OkStatus();
    });
  }
  void Delete(const std::string& queue, bool force) {
    Ask([this, queue, force](core::Broker& broker) {
      Oracle& oracle = world_->oracle();
      const auto tasks = oracle.TasksOf(queue, {TaskState::kDelayed, TaskState::kReady, TaskState::kLeased,
                                                TaskState::kDead, TaskState::kEnded});
      const absl::Status status = joinq::testing::Delete(broker, queue, force);
      world_->Trace("delete %s: %s", queue.c_str(), status.ToString().c_str());
      if (!status.ok()) return status;
      oracle.QueueDeleting(queue);
      oracle.QueueDeleted(queue, tasks);
      return status;
    });
  }
  void Close(const std::string& queue) {
    Ask([this, queue](core::Broker& broker) {
      const absl::Status status = broker.CloseQueue(queue);
      if (status.ok()) world_->oracle().QueueClosed(queue);
      return status;
    });
  }

  World* const world_;
  size_t created_ = 0;
  int taking_ = 0, cancelling_ = 0;
  bool got_ = false;
};

class JoinerPeer final : public Peer {
 public:
  explicit JoinerPeer(World* world) : world_(world) {}

  void Act() override {
    if (waiting_ > 8) return;
    Random& random = world_->random();
    ++waiting_;
    Oracle::Call call;
    const uint32_t timeout = random.Any<uint32_t>({0, 1, 200, 3000});
    const auto then = [this](const core::Reply*) { --waiting_; };
    if (random.OneIn(2)) {
      call.kind = Oracle::Call::kJoin;
      call.queue = world_->AnyQueue();
      const bool no_wait = random.OneIn(4);
      if (no_wait || timeout > 0) call.deadline = core::Time(core::Millis(no_wait ? 0 : timeout));
      world_->Call(
          this, call,
          [queue = call.queue, timeout, no_wait](core::Broker& broker, core::CallerId caller) {
            broker.Join(caller, queue, timeout, no_wait);
          },
          then);
      return;
    }
    const auto ids = world_->oracle().KnownTasks();
    call.kind = Oracle::Call::kResult;
    call.task = ids.empty() ? TaskId{1} : random.Any(ids);
    call.deadline = core::Time(core::Millis(timeout));
    const bool forget = random.OneIn(3);
    world_->Call(
        this, call,
        [task = call.task, timeout, forget](core::Broker& broker, core::CallerId caller) {
          broker.GetResult(caller, task, timeout, forget);
        },
        then);
  }
  std::string Unfinished() const override { return waiting_ == 0 ? "" : "a join or a call for a result"; }

 private:
  World* const world_;
  uint64_t waiting_ = 0;
};

}  // namespace

std::unique_ptr<Peer> MakeOperator(World* world) {
  return std::make_unique<OperatorPeer>(world);
}

std::unique_ptr<Peer> MakeJoiner(World* world) {
  return std::make_unique<JoinerPeer>(world);
}

}  // namespace joinq::sim
