// The data directory stays small however many tasks go through it, even if one
// task waits all the time: its journal entry is not what holds the others.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <thread>

#include "tests/support/programs.h"

namespace joinq::testing {
namespace {

namespace fs = std::filesystem;

constexpr char kTasks[] = "10000000";
// Live data is next to nothing here, so this is the constant part: a journal of up
// to 64 MiB, the logs (96 MiB and the one being written), and tables on their way.
constexpr uint64_t kMost = 320u << 20;

uint64_t BytesIn(const std::string& directory) {
  uint64_t bytes = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    if (it->path().filename() == "JOINQ_BALLAST") continue;
    std::error_code gone;  // files come and go
    const auto size = it->file_size(gone);
    if (!gone) bytes += size;
  }
  return bytes;
}

TEST(DiskUse, ATaskThatWaitsThroughTenMillionOthersHoldsNothingBack) {
  BrokerProcess broker;
  ASSERT_EQ(RunProgram({"joinq", "-u", broker.url(), "queue", "create", "other"}).status, 0);
  ASSERT_EQ(RunProgram({"joinq", "-u", broker.url(), "put", "other", "patience"}).status, 0);
  Program worker = StartWorker(broker.url(), "q");

  Program bench({"joinq", "-u", broker.url(), "bench", "-Q", "q", "--tasks", kTasks});
  uint64_t peak = 0;
  int samples = 0;
  const auto end = std::chrono::steady_clock::now() + 240s;
  while (bench.running() && std::chrono::steady_clock::now() < end) {
    peak = std::max(peak, BytesIn(broker.data()));
    ++samples;
    std::this_thread::sleep_for(100ms);  // between looks at the files
  }
  ASSERT_EQ(bench.Wait(1s), 0) << bench.output() << bench.errors() << broker.program().errors();
  std::printf("peak %lu MiB in %d looks\n%s", static_cast<unsigned long>(peak >> 20), samples,
              bench.output().c_str());
  EXPECT_GT(peak, 0u);
  EXPECT_LT(peak, kMost);

  // It is still there, and a restart finds it at once.
  broker.Crash();
  EXPECT_EQ(RunProgram({"joinq", "-u", broker.url(), "get", "other", "--timeout", "0"}).output, "patience\n");
}

}  // namespace
}  // namespace joinq::testing
