#include "tests/sim/world.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "tests/sim/peers.h"

namespace joinq::sim {

using core::Millis;

Verdict RunSeed(uint64_t seed, const Options& options) {
  return World(seed, options).Run();
}

World::World(uint64_t seed, const Options& options)
    : options_(options),
      random_(seed),
      plan_(Plan::Make(&random_)),
      oracle_(plan_.limits, plan_.short_memory, &totals_),
      network_(&random_, plan_.delay_max_ms, plan_.break_one_in,
               [this](core::CallerId caller) { oracle_.CallerGone(caller); }),
      machine_(plan_.limits, plan_.pace, options.sabotage, &random_, this) {
  if (options_.trace) oracle_.set_trace([this](const std::string& what) { Trace("  %s", what.c_str()); });
  AddPeers();
}

World::~World() = default;

void World::AddPeers() {
  const auto add = [&](uint64_t least, uint64_t most, auto make) {
    for (uint64_t n = random_.From(least, most); n > 0; --n) peers_.push_back(make());
  };
  uint64_t id = 1;
  add(1, 1, [&] { return MakeOperator(this); });
  add(1, 3, [&] { return MakeProducer(this, id++); });
  add(1, 2, [&] { return MakePutter(this, id++); });
  add(0, 3, [&] { return MakeWorker(this, 1000 * id++); });
  add(1, 2, [&] { return MakeConsumer(this, id++, /*with_session=*/false); });
  add(0, 2, [&] { return MakeConsumer(this, 1000 * id++, /*with_session=*/true); });
  add(1, 1, [&] { return MakeJoiner(this); });
}

void World::Trace(const char* format, ...) {
  if (!options_.trace) return;
  std::printf("%6llu %10lld  ", static_cast<unsigned long long>(step_),
              static_cast<long long>(now_.time_since_epoch().count() - 1'700'000'000'000));
  va_list arguments;
  va_start(arguments, format);
  std::vprintf(format, arguments);
  va_end(arguments);
  std::putchar('\n');
}

uint64_t World::AnySession() {
  std::vector<uint64_t> open;
  // In the order of the peers: that of their addresses is not the same each time.
  for (const auto& peer : peers_) {
    if (auto it = sessions_.find(peer.get()); it != sessions_.end() && it->second != 0)
      open.push_back(it->second);
  }
  return open.empty() ? 0 : random_.Any(open);
}

ConnPtr World::Connect(Peer* peer) {
  return network_.Connect(peer);
}

void World::Send(const ConnPtr& conn, Network::ToBroker operation) {
  network_.Send(conn, now_, std::move(operation));
}

void World::Answer(const ConnPtr& conn, Network::ToClient then) {
  machine_.WhenReleased([this, conn, then = std::move(then)] { network_.SendBack(conn, now_, then); });
}

ConnPtr World::Call(Peer* peer, Oracle::Call call,
                    std::function<void(core::Broker&, core::CallerId)> operation,
                    std::function<void(const core::Reply*)> then) {
  ConnPtr conn = Connect(peer);
  conn->on_reply = std::move(then);
  Send(conn,
       [this, id = conn->id, call = std::move(call), operation = std::move(operation)](core::Broker& broker) {
         if (network_.Find(id) == nullptr) return;
         Oracle::Call now = call;
         if (now.deadline != core::kNever) now.deadline = now_ + now.deadline.time_since_epoch();
         oracle_.Called(id, std::move(now));
         operation(broker, id);
       });
  return conn;
}

void World::Ask(Peer* peer, std::function<absl::Status(core::Broker&)> operation,
                std::function<void(const absl::Status*)> then) {
  ConnPtr conn = Connect(peer);
  conn->on_reply = [then](const core::Reply* reply) { then(reply == nullptr ? nullptr : &reply->status); };
  Send(conn, [this, conn, operation = std::move(operation)](core::Broker& broker) {
    auto reply = std::make_shared<core::Reply>();
    reply->status = operation(broker);
    Answer(conn, [this, conn, reply] {
      network_.Forget(conn->id);
      conn->open = false;
      if (conn->on_reply) std::exchange(conn->on_reply, nullptr)(reply.get());
    });
  });
}

// As the broker made them, unless it is to look broken.
void World::Produced(core::Effects* effects) {
  for (size_t i = 0; i < effects->replies.size() && options_.sabotage >= Sabotage::kJoinLies; ++i) {
    core::Reply& reply = effects->replies[i];
    if (options_.sabotage == Sabotage::kJoinLies) {
      if (absl::IsDeadlineExceeded(reply.status) && oracle_.IsJoin(reply.to)) reply.status = absl::OkStatus();
    } else if (random_.OneIn(50)) {
      effects->replies.erase(effects->replies.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }
  for (core::Delivery& delivery : effects->deliveries) {
    if (options_.sabotage == Sabotage::kStaleToken && delivery.attempt > 1) delivery.token = {1, 1};
  }
  oracle_.Produced(*effects);
}

// Effects go to their connections, as the wiring publishes them.
void World::Released(core::Effects* effects) {
  oracle_.Released(machine_.disk().commits());
  const auto route = [&](const auto& list, auto hear) {
    for (const auto& each : list) {
      ConnPtr conn = network_.Find(each.to);
      if (conn == nullptr) continue;
      network_.SendBack(conn, now_, [conn, each, hear] { hear(conn->peer, each); });
    }
  };
  route(effects->put_acks, [](Peer* peer, const core::PutAck& ack) { peer->Acked(ack); });
  route(effects->put_refusals, [](Peer* peer, const core::PutRefusal& refusal) { peer->Refused(refusal); });
  route(effects->completion_acks,
        [](Peer* peer, const core::CompletionsAck& ack) { peer->CompletionsAcked(ack); });
  route(effects->results, [](Peer* peer, const core::ResultNotice& result) { peer->Result(result); });
  route(effects->deliveries, [](Peer* peer, const core::Delivery& delivery) { peer->Delivered(delivery); });
  route(effects->cancels,
        [](Peer* peer, const core::CancelNotice& cancel) { peer->Cancelled(cancel.lease); });
  for (core::Reply& reply : effects->replies) {
    ConnPtr conn = network_.Find(reply.to);
    if (conn == nullptr) {
      for (const core::Delivery& delivery : reply.deliveries) machine_.Undelivered(delivery);
      continue;
    }
    network_.Forget(reply.to);
    auto shared = std::make_shared<core::Reply>(std::move(reply));
    network_.SendBack(conn, now_, [conn, shared] {
      conn->open = false;
      if (conn->on_reply) std::exchange(conn->on_reply, nullptr)(shared.get());
    });
  }
}

void World::MoveClock() {
  if (plan_.jump_one_in != 0 && !finishing_ && random_.OneIn(plan_.jump_one_in)) {
    now_ += Millis(static_cast<int64_t>(random_.Any<uint64_t>({500, 1900, 2500, 9000}) + random_.Below(500)));
    Trace("the clock jumps");
    return;
  }
  if (plan_.clock_stands && random_.Percent(70)) return;
  if (random_.OneIn(4) && machine_.up() && machine_.next_tick() > now_ &&
      machine_.next_tick() < now_ + Millis(2000)) {
    now_ = machine_.next_tick();
    return;
  }
  now_ += Millis(static_cast<int64_t>(random_.Percent(80) ? random_.Below(20) : random_.Below(200)));
}

void World::Start() {
  Trace("the broker starts");
  if (std::string wrong = machine_.Start(now_); !wrong.empty()) return oracle_.Violation("restart: " + wrong);
  oracle_.Started(&machine_.broker(), now_);
}

void World::Crash() {
  const bool machine = random_.Percent(plan_.machine_crash_percent);
  Trace("%s dies%s", machine ? "the machine" : "the broker",
        machine_.committing() ? " while it commits" : "");
  oracle_.Dying(machine_.broker());
  const uint64_t lost = machine_.disk().dropped();
  machine_.Die(machine);
  oracle_.Died(machine, machine_.disk().commits());
  totals_.commits_lost += machine_.disk().dropped() - lost;
  ++(machine ? totals_.machine_crashes : totals_.crashes);
  network_.BrokerDied(now_);
  starts_ = now_ + Millis(random_.Any<int64_t>({0, 50, 800, 5000}));
}

void World::Round() {
  ++totals_.rounds;
  oracle_.NewRound(now_);
  machine_.BeginRound(now_);
  const bool crash = plan_.crash_one_in != 0 && !finishing_ && random_.OneIn(plan_.crash_one_in);
  Network::ToBroker operation;
  for (uint64_t left = finishing_ ? UINT64_MAX : random_.Any<uint64_t>({1, 4, 30});
       left > 0 && network_.Take(now_, &operation); --left) {
    operation(machine_.broker());
    ++totals_.operations;
    Produced(&machine_.broker().effects());
    if (Failed()) return;
  }
  if (crash && random_.OneIn(4)) return Crash();  // before the commit
  if (std::string wrong = machine_.FinishRound(); !wrong.empty()) return oracle_.Violation(wrong);
  oracle_.RoundOver();
  if (crash) Crash();
}

void World::Step() {
  ++step_;
  if (options_.progress != nullptr) *options_.progress = step_;
  MoveClock();
  network_.Arrive(now_);
  for (uint64_t acts = finishing_ ? peers_.size() : random_.Below(4); acts > 0; --acts) {
    if (finishing_) {
      peers_[acts - 1]->Finish();
    } else {
      random_.Any(peers_)->Act();
    }
  }
  if (!machine_.up() && now_ >= starts_) Start();
  if (Failed() || !machine_.up()) return;
  Round();
  if (machine_.up() && !Failed() && step_ % 16 == 0) oracle_.Sweep();
}

// Peace: connections hold, the clock goes on, clients finish what they began.
void World::FinishAll() {
  finishing_ = true;
  machine_.set_prompt(true);
  network_.Heal();
  Trace("peace");
  for (int quiet = 0; quiet < 60 && !Failed();) {
    now_ += Millis(quiet < 30 ? 100 : 1500);
    Step();
    bool idle = machine_.up() && oracle_.Drained();
    for (const auto& peer : peers_) idle &= peer->Unfinished().empty();
    quiet = idle ? quiet + 1 : quiet;
    if (step_ > options_.steps + 3000) break;
  }
  if (Failed()) return;
  for (const auto& peer : peers_) {
    if (std::string left = peer->Unfinished(); !left.empty())
      oracle_.Violation(absl::StrCat("never answered: ", left,
                                     "; parked: ", machine_.up() ? machine_.broker().parked_count() : 0));
  }
  if (!machine_.up()) return oracle_.Violation("the broker is down at the end");
  if (!Failed()) oracle_.CheckEmpty();
  if (machine_.broker().parked_count() != 0) oracle_.Violation("a call sleeps at the end");
}

Verdict World::Run() {
  Start();
  while (step_ < options_.steps && !Failed()) Step();
  if (!Failed()) FinishAll();
  Verdict verdict;
  verdict.problem = oracle_.problem();
  verdict.step = step_;
  totals_.seeds = 1;
  totals_.commits = machine_.commits();
  totals_.loads = machine_.loads();
  totals_.rows_moved = machine_.relocations();
  totals_.breaks = network_.breaks();
  verdict.totals = totals_;
  return verdict;
}

}  // namespace joinq::sim
