// Workers' daemons: what they hold, what they have completed, and what of that the
// broker has not acknowledged yet.
#include <algorithm>
#include <deque>
#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/sim/peers.h"

namespace joinq::sim {
namespace {

class WorkerPeer final : public Peer {
 public:
  WorkerPeer(World* world, uint64_t id) : world_(world), session_(id) {
    for (const std::string& queue : world->plan().queues) {
      if (world->random().OneIn(2)) queues_.push_back(queue);
    }
    if (queues_.empty()) queues_.push_back(world->AnyQueue());
  }

  void Act() override {
    Random& random = world_->random();
    if (silent_ > 0) {
      --silent_;
      return;
    }
    if (!Attached()) return;
    if (random.OneIn(120)) return Die();
    if (random.OneIn(150)) silent_ = random.From(5, 60);
    if (random.OneIn(3)) Heartbeat();
    if (random.OneIn(200)) {
      world_->Send(conn_, [stream = conn_->id](core::Broker& broker) { broker.WorkerDrains(stream); });
      draining_ = true;
    }
    if (!draining_ && held_.size() < 8) Credit(random.From(1, 5));
    Complete(random.Below(4));
  }
  void Finish() override {
    silent_ = 0;
    if (!Attached()) return;
    Heartbeat();
    if (draining_ && unacked_.empty() && held_.empty()) return Die();
    if (held_.size() < 4 && !draining_) Credit(2);
    Complete(100);
  }
  std::string Unfinished() const override {
    if (conn_ == nullptr && (!held_.empty() || !unacked_.empty()))
      return absl::StrCat("worker ", session_, " is not back");
    return unacked_.empty() ? "" : absl::StrCat("a completion of worker ", session_);
  }
  void Broken(const ConnPtr& conn) override {
    if (conn == conn_) conn_ = nullptr;
  }
  void Delivered(const core::Delivery& delivery) override {
    held_.push_back({{delivery.task, delivery.token}, delivery.queue.str(), delivery.fresh_process});
    if (!delivery.fresh_process || conn_ == nullptr || !world_->random().OneIn(2)) return;
    world_->Send(conn_, [stream = conn_->id, lease = held_.back().lease](core::Broker& broker) {
      broker.WorkerStarted(stream, lease, PidOf(lease.task));
    });
  }
  void Cancelled(const core::LeaseRef& lease) override {
    const bool held = Drop(lease);
    if (conn_ == nullptr || world_->random().OneIn(6)) return;  // it never ends, or is asked again
    const auto end = held ? world_->random().Any({core::WorkEnd::kReturned, core::WorkEnd::kKilled})
                          : core::WorkEnd::kNotRunning;
    world_->Send(conn_, [conn = conn_, lease, end](core::Broker& broker) {
      broker.WorkerStopped(conn->id, lease, end);
    });
  }
  void CompletionsAcked(const core::CompletionsAck& ack) override {
    while (!unacked_.empty() && unacked_.front().seq <= ack.completions_seq) unacked_.pop_front();
  }

 private:
  struct Held {
    core::LeaseRef lease;
    std::string queue;
    bool fresh_process = false;
  };
  struct One {
    core::LeaseRef lease;
    bool fresh_process = false;
    core::Verdict verdict = core::Verdict::kDone;
    bool final = false;
    std::vector<Item> follow_ups;
  };
  struct Message {
    uint64_t seq = 0;
    std::vector<One> completions;
  };

  // Whether it was held.
  bool Drop(const core::LeaseRef& lease) {
    return std::erase_if(held_, [&](const Held& held) {
             return held.lease.task == lease.task && held.lease.token == lease.token;
           }) > 0;
  }
  bool Attached() {
    if (conn_ != nullptr) return welcome_;
    if (world_->random().Percent(60)) return false;
    welcome_ = draining_ = false;
    conn_ = world_->Connect(this);
    std::vector<core::LeaseRef> held;
    for (const Held& each : held_) held.push_back(each.lease);
    for (const Message& message : unacked_) {
      for (const One& each : message.completions) held.push_back(each.lease);
    }
    world_->Send(conn_, [this, conn = conn_, held, session = session_](core::Broker& broker) {
      core::SessionProfile profile;
      profile.id = session;
      profile.name = "worker";
      profile.host = "host";
      profile.concurrency = 2;
      profile.queues = queues_;
      world_->oracle().StreamOfSession(conn->id, session);
      auto welcome = broker.AttachWorker(conn->id, profile, held);
      if (!welcome.ok()) return world_->oracle().Violation("attach: " + welcome.status().ToString());
      world_->Attached(conn);
      world_->oracle().SessionAttached(session, held, welcome->lost);
      for (const std::string& queue : queues_) world_->oracle().QueueExists(queue, 10'000);
      world_->Trace("worker %llu attaches with %zu leases, %zu lost, seen %llu",
                    static_cast<unsigned long long>(session), held.size(), welcome->lost.size(),
                    static_cast<unsigned long long>(welcome->completions_seen));
      world_->Answer(conn, [this, conn, welcome = *welcome] {
        if (conn != conn_) return;
        welcome_ = true;
        for (const core::LeaseRef& lease : welcome.lost) Drop(lease);
        while (!unacked_.empty() && unacked_.front().seq <= welcome.completions_seen) unacked_.pop_front();
        for (const Message& message : unacked_) {
          if (conn_ != nullptr) Send(message);
        }
      });
    });
    return false;
  }
  void Heartbeat() {
    if (conn_ == nullptr) return;
    world_->Send(conn_, [this, conn = conn_](core::Broker& broker) {
      if (world_->Current(conn, broker)) broker.SessionHeard(conn->id);
    });
  }
  void Credit(uint64_t credit) {
    if (conn_ == nullptr) return;
    world_->Send(conn_, [stream = conn_->id, credit](core::Broker& broker) {
      broker.WorkerCredit(stream, static_cast<uint32_t>(credit));
    });
  }
  // The daemon is killed; another one takes its place.
  void Die() {
    held_.clear();
    unacked_.clear();
    next_seq_ = 1;
    ++session_;
    if (conn_ != nullptr) world_->Break(conn_);
    conn_ = nullptr;
    draining_ = false;
  }
  void Complete(uint64_t most) {
    Random& random = world_->random();
    Message message;
    while (most-- > 0 && !held_.empty()) {
      const size_t at = random.Below(held_.size());
      One& one = message.completions.emplace_back();
      one.lease = held_[at].lease;
      one.fresh_process = held_[at].fresh_process;
      held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(at));
      one.verdict = random.Any({core::Verdict::kDone, core::Verdict::kDone, core::Verdict::kDone,
                                core::Verdict::kFailed, core::Verdict::kReleased});
      if (world_->finishing()) one.verdict = core::Verdict::kDone;
      one.final = random.OneIn(6);
      if (one.verdict == core::Verdict::kDone && random.OneIn(8) && !world_->finishing())
        one.follow_ups.push_back(NewItem(world_, world_->AnyQueue()));
    }
    if (message.completions.empty() || conn_ == nullptr) return;
    message.seq = next_seq_++;
    unacked_.push_back(message);
    Send(message);
  }
  void Send(const Message& message) {
    world_->Send(conn_, [this, conn = conn_, message](core::Broker& broker) {
      if (world_->Current(conn, broker)) Apply(broker, conn->id, message);
    });
  }
  void Apply(core::Broker& broker, core::CallerId stream, const Message& message) {
    Oracle& oracle = world_->oracle();
    std::vector<core::Completion> completions;
    std::vector<bool> holds;
    const std::string result = "result";
    for (const One& one : message.completions) {
      core::Completion& completion = completions.emplace_back();
      completion.lease = one.lease;
      completion.verdict = one.verdict;
      completion.result = result;
      completion.error.final = one.final;
      if (one.fresh_process && one.verdict != core::Verdict::kReleased) {
        completion.pid = PidOf(one.lease.task);
        completion.exit_code = one.verdict == core::Verdict::kDone ? 0 : 1;
      }
      for (const Item& item : one.follow_ups)
        completion.follow_ups.push_back(FollowUpOf(world_, item, broker));
      holds.push_back(oracle.Holds(one.lease));
    }
    for (size_t i = 0; i < holds.size(); ++i) {
      // Its end may come with the operation, and with it answers that tell of it.
      if (holds[i] && completions[i].verdict == core::Verdict::kDone)
        oracle.MayEnd(completions[i].lease.task);
    }
    broker.WorkerCompletions(stream, message.seq, completions);
    for (size_t i = 0; i < completions.size(); ++i) {
      world_->Trace("worker %llu ends task %llu with verdict %d", static_cast<unsigned long long>(session_),
                    static_cast<unsigned long long>(Raw(completions[i].lease.task)),
                    static_cast<int>(completions[i].verdict));
      if (!holds[i] || oracle.Holds(completions[i].lease)) continue;
      oracle.Completed(completions[i].lease, completions[i].verdict, 0);
      if (completions[i].pid != 0 && completions[i].verdict == core::Verdict::kDone)
        oracle.ProcessEnded(completions[i].lease.task);
    }
  }

  World* const world_;
  uint64_t session_;
  std::vector<std::string> queues_;
  ConnPtr conn_;
  bool welcome_ = false, draining_ = false;
  uint64_t silent_ = 0, next_seq_ = 1;
  std::vector<Held> held_;
  std::deque<Message> unacked_;
};

}  // namespace

std::unique_ptr<Peer> MakeWorker(World* world, uint64_t id) {
  return std::make_unique<WorkerPeer>(world, id);
}

}  // namespace joinq::sim
