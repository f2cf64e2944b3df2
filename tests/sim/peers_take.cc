// Those who take tasks a few at a time: with leases of time, or of a client's session.
#include <algorithm>
#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/sim/peers.h"

namespace joinq::sim {
namespace {

class ConsumerPeer final : public Peer {
 public:
  ConsumerPeer(World* world, uint64_t id, bool with_session)
      : world_(world), id_(id), with_session_(with_session), session_(id) {}

  void Act() override {
    Random& random = world_->random();
    if (with_session_ && !Attached()) return;
    if (with_session_ && random.OneIn(80)) return Leave();
    if (with_session_ && random.OneIn(100)) return Die();
    Heartbeat();
    if (held_.empty() || random.OneIn(3)) {
      if (gets_.size() < 3) Get();
      return;
    }
    const size_t at = random.Below(held_.size());
    const Held held = held_[at];
    const uint64_t how = random.Below(12);
    if (how < 6) {
      held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(at));
      Done(held);
    } else if (how < 8) {
      held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(at));
      Fail(held);
    } else if (how < 10) {
      held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(at));
      Release(held);
    } else if (how == 10) {
      Extend(held);
    } else if (random.OneIn(3)) {
      held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(at));  // forgotten: its lease runs out
    }
  }
  void Finish() override {
    for (const ConnPtr& get : std::exchange(gets_, {})) world_->Break(get);
    if (with_session_ && !Attached()) return;
    Heartbeat();
    for (const Held& held : std::exchange(held_, {})) Done(held);
    // Nobody comes back for what was handed over and lost: the session ends.
    if (with_session_ && ++finishing_ % 10 == 0) Leave();
  }
  std::string Unfinished() const override {
    return held_.empty() && asked_ == 0 ? "" : absl::StrCat("a completion of consumer ", id_);
  }
  void Broken(const ConnPtr& conn) override {
    if (conn == conn_) conn_ = nullptr;
  }
  void Cancelled(const core::LeaseRef& lease) override {
    std::erase_if(held_, [&](const Held& held) {
      return held.lease.task == lease.task && held.lease.token == lease.token;
    });
  }

 private:
  struct Held {
    std::string queue;
    core::LeaseRef lease;
  };

  bool Attached() {
    if (conn_ != nullptr) return welcome_;
    if (world_->random().Percent(50)) return false;
    welcome_ = false;
    conn_ = world_->Connect(this);
    std::vector<core::LeaseRef> held;
    for (const Held& each : held_) held.push_back(each.lease);
    world_->Send(conn_, [this, conn = conn_, held, session = session_](core::Broker& broker) {
      core::SessionProfile profile;
      profile.id = session;
      profile.name = "client";
      world_->oracle().StreamOfSession(conn->id, session);
      auto welcome = broker.AttachClient(conn->id, profile, held);
      if (!welcome.ok()) return world_->oracle().Violation("attach: " + welcome.status().ToString());
      world_->Attached(conn);
      world_->oracle().SessionAttached(session, held, welcome->lost);
      world_->Trace("client %llu attaches with %zu leases, %zu lost",
                    static_cast<unsigned long long>(session), held.size(), welcome->lost.size());
      world_->Answer(conn, [this, session, lost = welcome->lost] {
        welcome_ = true;
        if (session == session_) world_->SetSession(this, session);
        for (const core::LeaseRef& lease : lost) Cancelled(lease);
      });
    });
    return false;
  }
  void Heartbeat() {
    if (conn_ == nullptr || !world_->random().OneIn(3)) return;
    world_->Send(conn_, [this, conn = conn_, session = session_](core::Broker& broker) {
      if (!world_->Current(conn, broker)) return;
      world_->oracle().SessionHeard(session);
      broker.SessionHeard(conn->id);
    });
  }
  void Leave() {
    if (conn_ == nullptr) return;
    world_->Send(conn_, [this, stream = conn_->id, session = session_](core::Broker& broker) {
      world_->oracle().SessionLeft(session);
      broker.ClientLeaves(stream);
    });
    Die();
  }
  // It forgets everything and comes back as somebody else.
  void Die() {
    held_.clear();
    if (conn_ != nullptr) world_->Break(conn_);
    conn_ = nullptr;
    session_ += 1;
    world_->SetSession(this, 0);
  }

  void Get() {
    Random& random = world_->random();
    core::GetSpec spec;
    spec.max_tasks = random.Any<uint32_t>({1, 1, 3, 10});
    spec.timeout_ms = random.Any<uint32_t>({0, 50, 1000});
    spec.no_wait = random.OneIn(4);
    spec.lease_ms = random.Any<uint32_t>({0, 1000, 2500});
    spec.ack = random.OneIn(8);
    if (with_session_) spec.session_id = session_;
    std::vector<std::string> queues = {world_->AnyQueue()};
    while (random.OneIn(3)) queues.push_back(world_->AnyQueue());
    std::sort(queues.begin(), queues.end());
    queues.erase(std::unique(queues.begin(), queues.end()), queues.end());
    Oracle::Call call;
    call.queue = queues[0];
    call.ack = spec.ack;
    call.session = spec.session_id;
    if (spec.no_wait) {
      call.deadline = core::Time(core::Millis(5000));  // what it may wait for a payload on disk
    } else if (spec.timeout_ms > 0) {
      call.deadline = core::Time(core::Millis(spec.timeout_ms));
    }
    auto slot = std::make_shared<ConnPtr>();
    *slot = world_->Call(
        this, call,
        [queues, spec](core::Broker& broker, core::CallerId caller) {
          std::vector<core::QueueChoice> choices;
          for (const std::string& queue : queues)
            choices.push_back({queue, static_cast<uint32_t>(1 + choices.size())});
          broker.Get(caller, choices, spec);
        },
        [this, slot, session = session_](const core::Reply* reply) {
          std::erase(gets_, *slot);
          slot->reset();
          if (reply == nullptr || session != session_) return;
          for (const core::Delivery& delivery : reply->deliveries) {
            if (delivery.token.epoch == 0) continue;
            held_.push_back({delivery.queue.str(), {delivery.task, delivery.token}});
          }
        });
    gets_.push_back(*slot);
  }

  void Done(const Held& held) {
    ++asked_;
    std::vector<Item> items;
    if (world_->random().OneIn(6)) items.push_back(NewItem(world_, world_->AnyQueue()));
    world_->Ask(
        this,
        [this, held, items](core::Broker& broker) {
          Oracle& oracle = world_->oracle();
          std::vector<core::FollowUp> follow_ups;
          std::vector<uint64_t> numbers;
          for (const Item& item : items) {
            follow_ups.push_back(FollowUpOf(world_, item, broker));
            numbers.push_back(item.number);
          }
          const bool holds = oracle.Holds(held.lease);
          std::vector<core::TaskId> ids;
          const absl::Status status =
              broker.Done(held.queue, {&held.lease, 1}, absl::StrCat("result of ", Raw(held.lease.task)), "",
                          std::move(follow_ups), &ids);
          world_->Trace("done with task %llu: %s", static_cast<unsigned long long>(Raw(held.lease.task)),
                        status.ToString().c_str());
          if (status.ok()) oracle.Completed(held.lease, core::Verdict::kDone, 0);
          if (status.ok() && holds) oracle.FollowUpsPut(numbers, ids);
          return status;
        },
        [this, held](const absl::Status* status) {
          --asked_;
          if (status == nullptr && (world_->random().Percent(80) || world_->finishing())) Done(held);
        });
  }
  void Fail(const Held& held) {
    ++asked_;
    core::TaskError error;
    error.message = "failed";
    error.final = world_->random().OneIn(6);
    world_->Ask(
        this,
        [this, held, error](core::Broker& broker) {
          const bool holds = world_->oracle().Holds(held.lease);
          const absl::Status status = broker.Fail(held.queue, {&held.lease, 1}, error);
          if (status.ok() && holds) world_->oracle().Completed(held.lease, core::Verdict::kFailed, 0);
          return status;
        },
        [this, held](const absl::Status* status) {
          --asked_;
          if (status == nullptr && world_->random().Percent(50)) Fail(held);
        });
  }
  void Release(const Held& held) {
    ++asked_;
    const uint32_t delay = world_->random().Any<uint32_t>({0, 300});
    world_->Ask(
        this,
        [this, held, delay](core::Broker& broker) {
          const bool holds = world_->oracle().Holds(held.lease);
          const absl::Status status = broker.Release(held.queue, {&held.lease, 1}, delay);
          if (status.ok() && holds) world_->oracle().Completed(held.lease, core::Verdict::kReleased, delay);
          return status;
        },
        [this](const absl::Status*) { --asked_; });
  }
  void Extend(const Held& held) {
    ++asked_;
    world_->Ask(
        this,
        [this, held](core::Broker& broker) {
          const absl::Status status = broker.Extend(held.queue, {&held.lease, 1}, 2000);
          if (status.ok()) world_->oracle().Extended(held.lease.task);
          return status;
        },
        [this](const absl::Status*) { --asked_; });
  }

  World* const world_;
  const uint64_t id_;
  const bool with_session_;
  uint64_t session_;
  ConnPtr conn_;
  bool welcome_ = false;
  std::vector<Held> held_;
  std::vector<ConnPtr> gets_;
  uint64_t asked_ = 0, finishing_ = 0;
};

}  // namespace

std::unique_ptr<Peer> MakeConsumer(World* world, uint64_t id, bool with_session) {
  return std::make_unique<ConsumerPeer>(world, id, with_session);
}

}  // namespace joinq::sim
