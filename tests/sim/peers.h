// The clients of a simulated world.
#pragma once

#include <memory>

#include "tests/sim/world.h"

namespace joinq::sim {

// Makes, changes and unmakes queues; purges, cancels, retries; fills the disk.
std::unique_ptr<Peer> MakeOperator(World* world);
// Puts on a stream, with tags; watches results.
std::unique_ptr<Peer> MakeProducer(World* world, uint64_t id);
// Puts by unary calls, with request ids and unique keys.
std::unique_ptr<Peer> MakePutter(World* world, uint64_t id);
// A worker's daemon: credit, completions in numbered messages, follow-ups.
std::unique_ptr<Peer> MakeWorker(World* world, uint64_t id);
// Takes a few tasks at a time, with leases of time or of a session.
std::unique_ptr<Peer> MakeConsumer(World* world, uint64_t id, bool with_session);
// Joins queues and waits for results.
std::unique_ptr<Peer> MakeJoiner(World* world);

// A put as all of them make it, known to the oracle.
struct Item {
  uint64_t number = 0;
  core::PutSpec spec;
  std::string payload, unique_key, request_id;
};
Item NewItem(World* world, const std::string& queue);
core::NewTask TaskOf(const Item& item);
// The spec as this broker takes it, of a client that knows its queue.
core::PutSpec Fitting(core::PutSpec spec, core::Broker& broker);
// To be put with a completion; known to the oracle as it is put then.
core::FollowUp FollowUpOf(World* world, const Item& item, core::Broker& broker);

}  // namespace joinq::sim
