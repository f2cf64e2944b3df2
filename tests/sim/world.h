// One simulated world from one seed: a broker on a disk, clients on a network, a
// clock, and faults; first trouble, then peace, in which everything must come to rest.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/sim/machine.h"
#include "tests/sim/network.h"
#include "tests/sim/oracle.h"
#include "tests/sim/plan.h"

namespace joinq::sim {

struct Options {
  uint64_t steps = 600;
  bool trace = false;
  Sabotage sabotage = Sabotage::kNone;
  uint64_t* progress = nullptr;  // the step under way is written here
};

struct Verdict {
  std::string problem;  // "": all promises were kept
  uint64_t step = 0;
  Totals totals;
};

Verdict RunSeed(uint64_t seed, const Options& options);

class World final : private MachineListener {
 public:
  World(uint64_t seed, const Options& options);
  ~World() override;
  Verdict Run();

  // ---- for clients
  Random& random() { return random_; }
  core::Time now() const { return now_; }
  const Plan& plan() const { return plan_; }
  Oracle& oracle() { return oracle_; }
  Machine& machine() { return machine_; }
  // The session that a client has open, as far as it knows; 0: none.
  void SetSession(const Peer* peer, uint64_t session) { sessions_[peer] = session; }
  // One of them, or 0.
  uint64_t AnySession();
  const std::string& AnyQueue() { return random_.Any(plan_.queues); }

  ConnPtr Connect(Peer* peer);
  // The operation runs in a round of the broker, later, or never.
  void Send(const ConnPtr& conn, Network::ToBroker operation);
  // Within an operation: once what it did is as durable as it must be, and still later,
  // `then` runs at the client.
  void Answer(const ConnPtr& conn, Network::ToClient then);
  // Within an operation: a stream that its client does not speak through any more is closed.
  bool Current(const ConnPtr& conn, const core::Broker& broker) {
    if (broker.IsCurrent(conn->id)) return true;
    network_.HangUp(conn, now_);
    return false;
  }
  void Attached(const ConnPtr& conn) { network_.HangUpOthers(conn, now_); }
  void Break(const ConnPtr& conn) { network_.Break(conn, now_); }
  // A call answered by a Reply; null: the connection broke.
  ConnPtr Call(Peer* peer, Oracle::Call call, std::function<void(core::Broker&, core::CallerId)> operation,
               std::function<void(const core::Reply*)> then);
  // A call answered by a status; null likewise.
  void Ask(Peer* peer, std::function<absl::Status(core::Broker&)> operation,
           std::function<void(const absl::Status*)> then);
  void Trace(const char* format, ...) __attribute__((format(printf, 2, 3)));
  bool finishing() const { return finishing_; }

 private:
  void Produced(core::Effects* effects) override;
  void CommitBegins() override { oracle_.CommitBegins(); }
  void CommitIsThrough() override { oracle_.CommitIsThrough(machine_.disk().commits()); }
  void Released(core::Effects* effects) override;

  void AddPeers();
  void Step();
  void Round();
  void Crash();
  void Start();
  void MoveClock();
  void FinishAll();
  bool Failed() const { return !oracle_.problem().empty(); }

  const Options options_;
  Random random_;
  Plan plan_;
  core::Time now_{core::Millis(1'700'000'000'000)};
  core::Time starts_{};  // when the broker is up again
  Totals totals_;
  Oracle oracle_;
  Network network_;
  Machine machine_;
  std::vector<std::unique_ptr<Peer>> peers_;
  std::map<const Peer*, uint64_t> sessions_;
  uint64_t step_ = 0;
  bool finishing_ = false;
};

}  // namespace joinq::sim
