#include "server/http/metrics.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <utility>

namespace joinq::http {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

MetricFamily& Family(std::vector<MetricFamily>* families, MetricType type, std::string name,
                     std::string help) {
  MetricFamily& family = families->emplace_back();
  family.type = type;
  family.name = std::move(name);
  family.help = std::move(help);
  return family;
}

void Add(MetricFamily* family, double value, std::vector<std::pair<std::string, std::string>> labels = {}) {
  ClientMetric& metric = family->metric.emplace_back();
  for (auto& [name, text] : labels) metric.label.push_back({std::move(name), std::move(text)});
  if (family->type == MetricType::Counter) {
    metric.counter.value = value;
  } else {
    metric.gauge.value = value;
  }
}

}  // namespace

Snapshot Snapshot::Take(rpc::CoreLoop* loop) {
  Snapshot snapshot;
  bool more = false;
  snapshot.queues = loop->broker().ListQueues("", "", kQueuesMax, &more);
  snapshot.workers = loop->broker().ListWorkers();
  snapshot.loop = loop->figures();
  snapshot.tasks = loop->broker().task_count();
  snapshot.memory_bytes = loop->broker().memory_used();
  snapshot.journal_bytes = loop->broker().journal_bytes();
  snapshot.parked_calls = loop->broker().parked_count();
  snapshot.callers = loop->targets().size();
  return snapshot;
}

std::string WriteMetrics(const Snapshot& snapshot) {
  std::vector<MetricFamily> families;
  auto single = [&](MetricType type, const char* name, const char* help, double value) {
    Add(&Family(&families, type, name, help), value);
  };
  single(MetricType::Gauge, "joinq_tasks", "Tasks held, kept results included",
         static_cast<double>(snapshot.tasks));
  single(MetricType::Gauge, "joinq_memory_bytes", "Memory of tasks and payloads",
         static_cast<double>(snapshot.memory_bytes));
  single(MetricType::Gauge, "joinq_journal_bytes", "Journal not yet dropped",
         static_cast<double>(snapshot.journal_bytes));
  single(MetricType::Gauge, "joinq_parked_calls", "Puts, gets, joins and waits for results that wait",
         static_cast<double>(snapshot.parked_calls));
  single(MetricType::Gauge, "joinq_callers", "Calls and streams under way",
         static_cast<double>(snapshot.callers));
  single(MetricType::Counter, "joinq_commits_total", "Synced commits",
         static_cast<double>(snapshot.loop.commits));
  single(MetricType::Counter, "joinq_committed_bytes_total", "Bytes committed",
         static_cast<double>(snapshot.loop.committed_bytes));
  single(MetricType::Counter, "joinq_rounds_total", "Rounds of the core thread",
         static_cast<double>(snapshot.loop.rounds));
  single(MetricType::Counter, "joinq_events_total", "Completion-queue events",
         static_cast<double>(snapshot.loop.events));

  struct PerQueue {
    MetricType type;
    const char* name;
    const char* help;
    uint64_t (*value)(const core::QueueStats&);
  };
  static constexpr PerQueue kPerQueue[] = {
      {MetricType::Gauge, "joinq_queue_ready", "Tasks that could be delivered now",
       [](const core::QueueStats& s) { return s.ready; }},
      {MetricType::Gauge, "joinq_queue_delayed", "Tasks that wait for their time",
       [](const core::QueueStats& s) { return s.delayed; }},
      {MetricType::Gauge, "joinq_queue_leased", "Tasks in the hands of consumers",
       [](const core::QueueStats& s) { return s.leased; }},
      {MetricType::Gauge, "joinq_queue_oldest_ready_ms", "Age of the oldest ready task",
       [](const core::QueueStats& s) { return s.oldest_ready_ms; }},
      {MetricType::Gauge, "joinq_queue_consumers", "Workers that serve the queue",
       [](const core::QueueStats& s) { return uint64_t{s.consumers}; }},
      {MetricType::Counter, "joinq_queue_put_total", "Tasks put",
       [](const core::QueueStats& s) { return s.put_total; }},
      {MetricType::Counter, "joinq_queue_done_total", "Tasks that succeeded",
       [](const core::QueueStats& s) { return s.done_total; }},
      {MetricType::Counter, "joinq_queue_dead_total", "Tasks that failed for good",
       [](const core::QueueStats& s) { return s.dead; }},
      {MetricType::Counter, "joinq_queue_cancelled_total", "Tasks cancelled",
       [](const core::QueueStats& s) { return s.cancelled_total; }},
      {MetricType::Counter, "joinq_queue_redelivered_total", "Deliveries beyond the first",
       [](const core::QueueStats& s) { return s.redelivered_total; }},
  };
  for (const PerQueue& each : kPerQueue) {
    MetricFamily& family = Family(&families, each.type, each.name, each.help);
    for (const auto& queue : snapshot.queues) {
      Add(&family, static_cast<double>(each.value(queue.stats)), {{"queue", queue.name}});
    }
  }
  MetricFamily& leases = Family(&families, MetricType::Gauge, "joinq_worker_leases", "Tasks a worker holds");
  for (const auto& worker : snapshot.workers) Add(&leases, worker.leases, {{"worker", worker.profile.name}});
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace joinq::http
