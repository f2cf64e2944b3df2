// What a long line of waiting tasks costs: memory a task, with payloads beyond the
// budget on disk, and the time a restart takes. The core and its store, no network.
//
//   backlog_bench [TASKS [PAYLOAD_BYTES [BUDGET_MIB]]]
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "server/core/broker.h"
#include "server/storage/record_codec.h"
#include "server/storage/recovery.h"
#include "server/storage/rocksdb_store.h"
#include "spdlog/spdlog.h"

namespace joinq {
namespace {

using core::Millis;
using core::Time;
using Clock = std::chrono::steady_clock;

constexpr core::CallerId kProducer{1};
constexpr size_t kBatch = 1000;

double SecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// Bytes of memory that are resident now, and the most there ever were.
struct Resident {
  double mib = 0, peak_mib = 0;
};
Resident Measure() {
  Resident resident;
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmRSS:")) resident.mib = std::atof(line.c_str() + 6) / 1024;
    if (line.starts_with("VmHWM:")) resident.peak_mib = std::atof(line.c_str() + 6) / 1024;
  }
  return resident;
}

struct Opened {
  std::unique_ptr<storage::Store> store;
  std::unique_ptr<storage::BatchEncoder> encoder = std::make_unique<storage::BatchEncoder>();
  std::unique_ptr<core::Broker> broker;
  uint64_t epoch = 0, seq = 0;
  double recovery_seconds = 0;

  Opened(const std::string& directory, const core::Limits& limits) {
    const auto begin = Clock::now();
    auto made = storage::OpenRocksDbStore(directory, /*salvage=*/false);
    if (!made.ok()) Die(made.status());
    store = *std::move(made);
    auto acquired = store->Acquire(0, "bench");
    if (!acquired.ok()) Die(acquired.status());
    epoch = acquired->epoch;
    broker = std::make_unique<core::Broker>(limits, epoch, acquired->next_entry, encoder.get(), 1);
    auto recovered = storage::Recover(store.get(), 0, Time(Millis(1'000'000)), broker.get());
    if (!recovered.ok()) Die(recovered.status());
    recovery_seconds = SecondsSince(begin);
  }
  [[noreturn]] static void Die(const absl::Status& status) {
    std::fprintf(stderr, "backlog_bench: %s\n", std::string(status.message()).c_str());
    std::exit(1);
  }
  // One committed round. Not synced: what is measured is not the disk.
  template <typename Operations>
  void Round(Operations&& operations) {
    broker->BeginRound(Time(Millis(1'000'000)));
    operations();
    broker->Tick();
    encoder->batch().entry_number = broker->journal_position() + 1;
    broker->EndRound();
    encoder->batch().sync = false;
    const auto result = store->Commit(0, epoch, ++seq, encoder->batch());
    if (result.outcome != storage::CommitOutcome::kDurable) Die(absl::InternalError(result.error));
    encoder->Reset();
    broker->Committed();
    broker->effects().Clear();
  }
};

void Run(uint64_t tasks, size_t bytes, uint64_t budget_mib, const std::string& directory) {
  core::Limits limits;
  limits.memory_bytes = 64ull << 30;
  limits.memory_budget_bytes = budget_mib << 20;
  const double before = Measure().mib;
  {
    Opened opened(directory, limits);
    core::Broker& broker = *opened.broker;
    opened.Round([&] {
      if (!broker.CreateQueue("q", {}, false).ok() || !broker.AttachProducer(kProducer, 1, "").ok())
        std::abort();
    });
    core::PutSpec spec;
    spec.queue = "q";
    const std::string payload(bytes, 'x');
    const auto begin = Clock::now();
    for (uint64_t put = 0; put < tasks; put += kBatch) {
      opened.Round([&] {
        std::vector<core::NewTask> batch(kBatch);
        for (size_t i = 0; i < kBatch; ++i) {
          batch[i].tag = put + i + 1;
          batch[i].payload = core::Blob(payload);
        }
        broker.PutStream(kProducer, spec, batch);
        broker.ProducerAcked(kProducer, put + 1);
      });
    }
    const Resident now = Measure();
    std::printf(
        "{\"tasks\":%llu,\"payload_bytes\":%zu,\"budget_mib\":%llu,\"put_per_s\":%.0f,"
        "\"record_bytes_per_task\":%zu,\"resident_payload_mib\":%.1f,"
        "\"rss_mib\":%.1f,\"rss_peak_mib\":%.1f,\"rss_bytes_per_task_besides_resident_payloads\":%.1f",
        static_cast<unsigned long long>(tasks), bytes, static_cast<unsigned long long>(budget_mib),
        tasks / SecondsSince(begin), sizeof(core::Task) + sizeof(core::TaskHandle),
        broker.resident_bytes() / 1048576.0, now.mib, now.peak_mib,
        ((now.mib - before) * 1048576 - broker.resident_bytes()) / tasks);
  }
  Opened again(directory, limits);
  if (again.broker->task_count() != tasks) std::abort();
  std::printf(",\"recovery_s\":%.2f,\"rss_after_recovery_mib\":%.1f}\n", again.recovery_seconds,
              Measure().mib);
}

}  // namespace
}  // namespace joinq

int main(int argc, char** argv) {
  spdlog::set_level(spdlog::level::warn);
  const uint64_t tasks = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1'000'000;
  const size_t bytes = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 100;
  const uint64_t budget_mib = argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 64;
  char directory[] = "/tmp/joinq-backlog-XXXXXX";
  if (tasks == 0 || ::mkdtemp(directory) == nullptr) return 2;
  joinq::Run(tasks, bytes, budget_mib, std::string(directory) + "/data");
  std::filesystem::remove_all(directory);
  return 0;
}
