// What the core costs a task, with and without the journal's encoding: put,
// delivery to a worker and completion, in rounds of a batch.
#include <benchmark/benchmark.h>

#include <vector>

#include "server/core/broker.h"
#include "server/storage/record_codec.h"

namespace joinq::core {
namespace {

constexpr CallerId kProducer{1}, kWorker{2};

void TaskLife(benchmark::State& state, ChangeSink* sink, storage::BatchEncoder* encoder) {
  const auto batch = static_cast<uint64_t>(state.range(0));
  Broker broker({}, 1, 1, sink, 1);
  Time now(Millis(1'000'000));
  const std::string payload(100, 'x');
  auto close_round = [&] {
    broker.Tick();
    broker.EndRound();
    broker.effects().Clear();
    if (encoder != nullptr) encoder->Reset();
  };
  broker.BeginRound(now);
  SessionProfile profile;
  profile.id = 1;
  profile.name = "w";
  profile.queues = {"q"};
  if (!broker.AttachProducer(kProducer, 1, "").ok() || !broker.AttachWorker(kWorker, profile, {}).ok())
    std::abort();
  close_round();
  PutSpec spec;
  spec.queue = "q";
  std::vector<NewTask> tasks(batch);
  std::vector<Completion> completions;
  uint64_t tag = 0, seq = 0;
  for (auto _ : state) {
    broker.BeginRound(now);
    broker.WorkerCredit(kWorker, static_cast<uint32_t>(batch));
    for (NewTask& task : tasks) {
      task.tag = ++tag;
      task.payload = Blob(payload);
    }
    broker.PutStream(kProducer, spec, tasks);
    completions.clear();
    for (const Delivery& delivery : broker.effects().deliveries) {
      completions.emplace_back().lease = {delivery.task, delivery.token};
    }
    close_round();
    broker.BeginRound(now);
    broker.WorkerCompletions(kWorker, ++seq, completions);
    broker.ProducerAcked(kProducer, tag);
    close_round();
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

void InMemory(benchmark::State& state) {
  NullChangeSink sink;
  TaskLife(state, &sink, nullptr);
}
BENCHMARK(InMemory)->Arg(1)->Arg(256);

void Journaled(benchmark::State& state) {
  storage::BatchEncoder encoder;
  TaskLife(state, &encoder, &encoder);
}
BENCHMARK(Journaled)->Arg(1)->Arg(256);

}  // namespace
}  // namespace joinq::core
