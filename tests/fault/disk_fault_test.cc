// The disk under the broker is full, or does not sync: the broker says so and stops, and
// what it acknowledged is there when the disk is well again.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iostream>

#include "tests/fault/load.h"
#include "tests/support/programs.h"

namespace joinq::testing {
namespace {

// A small file system in memory, mounted on a directory.
class SmallDisk {
 public:
  explicit SmallDisk(std::string path) : path_(std::move(path)) {
    std::filesystem::create_directories(path_);
    if (::mount("joinq-test", path_.c_str(), "tmpfs", 0, "size=64m,mode=0700") != 0)
      error_ = std::strerror(errno);
  }
  ~SmallDisk() {
    if (error_.empty()) ::umount2(path_.c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  const std::string& error() const { return error_; }
  void Grow() { ASSERT_EQ(::mount("joinq-test", path_.c_str(), "tmpfs", MS_REMOUNT, "size=1g"), 0); }

 private:
  const std::string path_;
  std::string error_;
};

// It ended by itself, with an error and not by a signal.
void ExpectStopped(BrokerProcess& broker) {
  const int status = broker.program().Wait(20s);
  const std::string errors = broker.program().errors();
  EXPECT_EQ(status, 1) << errors;
  EXPECT_TRUE(errors.find("joinqd: ") != std::string::npos || errors.find("critical") != std::string::npos)
      << "it stopped without a word: " << errors;
}

// A library may rather abort than open a store on a full disk. It must not serve.
void ExpectDoesNotStart(BrokerProcess& broker) {
  constexpr int kAborted = 128 + SIGABRT;
  broker.Launch();
  if (broker.AwaitReady()) {  // there was room enough to open it, not for more
    Eventually([&] { return !broker.program().running(); }, 2s);
    return broker.Kill();
  }
  const int status = broker.program().Wait(20s);
  EXPECT_TRUE(status == 1 || status == kAborted) << status << ": " << broker.program().errors();
  std::cout << "[ full     ] status " << status << ": " << broker.program().errors() << std::endl;
}

TEST(DiskFault, AFullDiskLosesNothingAcknowledged) {
  Rounds([&](uint64_t number, Random& random) {
    BrokerProcess broker({"--log-level", "warn"});
    broker.Kill();
    std::filesystem::remove_all(broker.data());
    SmallDisk disk(broker.data());
    if (!disk.error().empty()) {
      ::testing::Test::RecordProperty("skipped", disk.error());
      [&] { GTEST_SKIP() << "cannot mount a small file system (needs root): " << disk.error(); }();
      return Counts{};
    }
    broker.Start();
    Recorder recorder;
    const uint64_t first = number * 1'000'000'000;
    Load producers(broker.url(), "q", {.consumers = 0, .joiners = 0, .batch = 20, .padding = 20'000}, first,
                   random(), &recorder);
    EXPECT_TRUE(Eventually([&] { return !broker.program().running() || producers.refused() > 100; }, 60s))
        << "the disk is never full; acknowledged: " << producers.acknowledged();
    Disturbance disturbance{"a full disk", Now() - 100'000'000, 0, true};
    const bool stopped = !broker.program().running();
    if (stopped) {
      ExpectStopped(broker);
      for (int tries = 0; tries < 2; ++tries) ExpectDoesNotStart(broker);
    } else {
      broker.Kill();
    }
    disk.Grow();
    disturbance.until = Now();
    broker.Start();
    recorder.Disturbed(disturbance);
    if (::testing::Test::HasFatalFailure()) return Counts{};
    EXPECT_TRUE(producers.Await(100, 30s)) << "puts do not go on when the disk has room again";
    producers.StopProducers();
    Load consumers(broker.url(), "q", {.producers = 0, .mischief_percent = 0}, 0, random(), &recorder);
    return Judge(consumers.Finish(), {.acknowledged = 1000, .deliveries = 1000, .disturbances = 1});
  });
}

// Which file did not sync, as the library that made it fail tells; empty if none did.
std::string FileThatFailed(BrokerProcess& broker) {
  const std::string errors = broker.program().errors();
  const size_t begin = errors.find("failing_fsync: ");
  if (begin == std::string::npos) return "";
  const std::string line = errors.substr(begin, errors.find('\n', begin) - begin);
  return line.substr(line.rfind('/') + 1);
}

// RocksDB serves on without the notes of its options, and without the sync of the
// directory after it wrote them.
bool IsNoData(const std::string& file) {
  return file.starts_with("OPTIONS-") || file == "db";
}

TEST(DiskFault, AFailedSyncStopsTheBrokerAndLosesNothingAcknowledged) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer's library must be the first one, not the failing one";
#endif
  BrokerProcess broker({"--log-level", "warn"});
  Rounds([&](uint64_t number, Random& random) {
    Recorder recorder;
    const std::string queue = "syncs-" + std::to_string(number);
    Load load(broker.url(), queue, {}, number * 1'000'000'000, random(), &recorder);
    // The first ones fail while it starts, the others while it serves.
    std::vector<uint64_t> calls = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 20};
    for (uint64_t most : {50, 100, 200, 400}) calls.push_back(20 + Below(random, most));
    int starting = 0, serving = 0;
    for (uint64_t call : calls) {
      SCOPED_TRACE("call " + std::to_string(call));
      Disturbance disturbance{"a failing sync", Now(), 0, true};
      broker.Kill();
      broker.SetEnvironment({"LD_PRELOAD=" + BuildDirectory() + "/tests/failing_fsync.so",
                             "JOINQ_FAIL_FSYNC_AT=" + std::to_string(call)});
      broker.Launch();
      const bool served = broker.AwaitReady();
      EXPECT_TRUE(Eventually([&] { return !FileThatFailed(broker).empty() || !broker.program().running(); }))
          << "no sync failed";
      if (served && IsNoData(FileThatFailed(broker))) {
        EXPECT_TRUE(load.Await(100, 20s) || !broker.program().running()) << "it neither stops nor goes on";
        broker.Kill();
      } else {
        ExpectStopped(broker);
        EXPECT_NE(FileThatFailed(broker), "") << broker.program().errors();
        (served ? serving : starting) += 1;
      }
      disturbance.until = Now();
      broker.SetEnvironment({});
      broker.Start();
      recorder.Disturbed(disturbance);
      if (::testing::Test::HasFatalFailure()) return Counts{};
    }
    EXPECT_TRUE(load.Await(1000, 30s)) << "puts do not go on when the disk syncs again";
    EXPECT_GE(starting, 3) << "too few syncs failed while it started";
    EXPECT_GE(serving, 3) << "too few syncs failed while it served";
    const Counts counts =
        Judge(load.Finish(), {.acknowledged = 5000, .deliveries = 5000, .disturbances = calls.size()});
    Client(broker.url()).delete_queue(queue, true);
    return counts;
  });
}

}  // namespace
}  // namespace joinq::testing
