#include "tests/sim/network.h"

#include <algorithm>

namespace joinq::sim {

ConnPtr Network::Connect(Peer* peer) {
  auto conn = std::make_shared<Conn>();
  conn->id = core::CallerId{next_id_++};
  conn->peer = peer;
  conns_[conn->id] = conn;
  return conn;
}

void Network::Send(const ConnPtr& conn, core::Time now, ToBroker message) {
  if (!conn->open) return;
  conn->last_in = std::max(conn->last_in, now + Delay());
  to_broker_.push({conn->last_in, sequence_++, conn, false, std::move(message), nullptr});
  if (break_one_in_ != 0 && random_->OneIn(break_one_in_)) Break(conn, now);
}

void Network::SendBack(const ConnPtr& conn, core::Time now, ToClient message) {
  conn->last_out = std::max(conn->last_out, now + Delay());
  to_clients_.push({conn->last_out, sequence_++, conn, false, nullptr, std::move(message)});
}

void Network::Break(const ConnPtr& conn, core::Time now) {
  if (!conn->open) return;
  ++breaks_;
  conn->open = false;
  conn->cut = now + core::Millis(static_cast<int64_t>(random_->Below(2 * delay_max_ms_ + 1)));
  // Sometimes the broker is told at once, sometimes only its timeouts find out.
  const core::Time told = conn->cut + core::Millis(random_->Any<int64_t>({0, 5, 200, 4000}));
  to_broker_.push({told, sequence_++, conn, true,
                   [this, conn](core::Broker& broker) {
                     conn->gone = true;
                     Forget(conn->id);
                     on_gone_(conn->id);
                     broker.CallerGone(conn->id);
                   },
                   nullptr});
  const core::Time heard = now + core::Millis(random_->Any<int64_t>({0, 10, 300}));
  to_clients_.push({heard, sequence_++, conn, true, nullptr, [conn] {
                      if (conn->on_reply) return std::exchange(conn->on_reply, nullptr)(nullptr);
                      conn->peer->Broken(conn);
                    }});
}

void Network::HangUp(const ConnPtr& conn, core::Time now) {
  if (conn->gone) return;
  conn->gone = true;
  Forget(conn->id);
  on_gone_(conn->id);
  SendBack(conn, now, [conn] {
    conn->open = false;
    conn->peer->Broken(conn);
  });
}

void Network::HangUpOthers(const ConnPtr& conn, core::Time now) {
  conn->attached = true;
  std::vector<ConnPtr> others;
  for (const auto& [id, other] : conns_) {
    if (other->attached && other->peer == conn->peer && other != conn) others.push_back(other);
  }
  for (const ConnPtr& other : others) HangUp(other, now);
}

bool Network::Take(core::Time now, ToBroker* message) {
  while (!to_broker_.empty() && to_broker_.top().when <= now) {
    Event event = to_broker_.top();
    to_broker_.pop();
    if (!event.always && (event.conn->gone || event.when > event.conn->cut)) continue;
    *message = std::move(event.to_broker);
    return true;
  }
  return false;
}

void Network::Arrive(core::Time now) {
  while (!to_clients_.empty() && to_clients_.top().when <= now) {
    Event event = to_clients_.top();
    to_clients_.pop();
    if (!event.always && !event.conn->open) continue;
    event.to_client();
  }
}

void Network::BrokerDied(core::Time now) {
  to_broker_ = Events();
  for (auto& [id, conn] : std::exchange(conns_, {})) {
    conn->gone = true;
    const bool told = !conn->open;  // its own break is on the way to the client
    if (told) continue;
    // What was sent before may still arrive.
    const core::Time heard = now + core::Millis(random_->Any<int64_t>({0, 5, 50, 500}));
    to_clients_.push({heard, sequence_++, conn, true, nullptr, [conn = conn] {
                        if (!conn->open) return;
                        conn->open = false;
                        if (conn->on_reply) return std::exchange(conn->on_reply, nullptr)(nullptr);
                        conn->peer->Broken(conn);
                      }});
  }
}

core::Time Network::next() const {
  core::Time next = core::kNever;
  if (!to_broker_.empty()) next = std::min(next, to_broker_.top().when);
  if (!to_clients_.empty()) next = std::min(next, to_clients_.top().when);
  return next;
}

}  // namespace joinq::sim
