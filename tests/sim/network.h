// Connections between clients and the broker: each way in order, late, and cut at
// any point. A unary call is a connection of its own that ends with its reply.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <utility>
#include <vector>

#include "server/core/broker.h"
#include "tests/sim/random.h"

namespace joinq::sim {

class Peer;

struct Conn {
  core::CallerId id = core::kNobody;
  Peer* peer = nullptr;
  bool open = true;               // the client's end
  bool gone = false;              // the broker's end
  bool attached = false;          // a stream that said hello
  core::Time cut = core::kNever;  // what would arrive at the broker later is lost
  core::Time last_in{}, last_out{};
  std::function<void(const core::Reply*)> on_reply;  // unary calls; null: the connection broke
};
using ConnPtr = std::shared_ptr<Conn>;

// A client: hears what arrives on its connections.
class Peer {
 public:
  virtual ~Peer() = default;
  // Time to do something.
  virtual void Act() = 0;
  // Faults are over: finish what was begun, begin nothing.
  virtual void Finish() {}
  // What it still waits for, after the end; "" if nothing.
  virtual std::string Unfinished() const { return {}; }
  virtual void Broken(const ConnPtr&) {}
  virtual void Acked(const core::PutAck&) {}
  virtual void Refused(const core::PutRefusal&) {}
  virtual void Delivered(const core::Delivery&) {}
  virtual void Result(const core::ResultNotice&) {}
  virtual void CompletionsAcked(const core::CompletionsAck&) {}
  virtual void Cancelled(const core::LeaseRef&) {}
};

class Network {
 public:
  using ToBroker = std::function<void(core::Broker&)>;
  using ToClient = std::function<void()>;
  // `on_gone` runs just before the broker learns that a caller is gone.
  Network(Random* random, uint32_t delay_max_ms, uint32_t break_one_in,
          std::function<void(core::CallerId)> on_gone)
      : random_(random),
        delay_max_ms_(delay_max_ms),
        break_one_in_(break_one_in),
        on_gone_(std::move(on_gone)) {}

  ConnPtr Connect(Peer* peer);
  // Reaches the broker later, after what was sent before, or never. May break the connection.
  void Send(const ConnPtr& conn, core::Time now, ToBroker message);
  void SendBack(const ConnPtr& conn, core::Time now, ToClient message);
  // From the client's side: nothing more is heard of; the broker learns of it later.
  void Break(const ConnPtr& conn, core::Time now);
  // From the broker's side.
  void HangUp(const ConnPtr& conn, core::Time now);
  // The peer's streams that were attached before this one speak for it no more.
  void HangUpOthers(const ConnPtr& conn, core::Time now);
  // The reply is out, or the broker gave the connection up.
  void Forget(core::CallerId id) { conns_.erase(id); }
  ConnPtr Find(core::CallerId id) const {
    auto it = conns_.find(id);
    return it == conns_.end() ? nullptr : it->second;
  }
  // Messages for the broker that are due; takes at most one at a time.
  bool Take(core::Time now, ToBroker* message);
  // Runs what arrives at the clients.
  void Arrive(core::Time now);
  // The broker died: all connections break, and some of what was on the way is lost.
  void BrokerDied(core::Time now);
  // Faults are over.
  void Heal() {
    break_one_in_ = 0;
    delay_max_ms_ = 5;
  }
  bool idle() const { return to_broker_.empty() && to_clients_.empty(); }
  core::Time next() const;
  uint64_t breaks() const { return breaks_; }
  uint64_t messages() const { return sequence_; }

 private:
  struct Event {
    core::Time when;
    uint64_t sequence;
    ConnPtr conn;
    bool always;  // even if the connection was cut
    ToBroker to_broker;
    ToClient to_client;
  };
  struct Later {
    bool operator()(const Event& a, const Event& b) const {
      return a.when != b.when ? a.when > b.when : a.sequence > b.sequence;
    }
  };
  using Events = std::priority_queue<Event, std::vector<Event>, Later>;
  core::Millis Delay() {
    return core::Millis(static_cast<int64_t>(random_->Below(delay_max_ms_ + 1) *
                                             (break_one_in_ != 0 && random_->OneIn(40) ? 20 : 1)));
  }

  Random* const random_;
  uint32_t delay_max_ms_;
  uint32_t break_one_in_;
  const std::function<void(core::CallerId)> on_gone_;
  std::map<core::CallerId, ConnPtr> conns_;
  Events to_broker_, to_clients_;
  uint64_t sequence_ = 0, next_id_ = 1, breaks_ = 0;
};

}  // namespace joinq::sim
