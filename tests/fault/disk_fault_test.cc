// The disk under the broker is full, or does not sync: the broker says so and stops, and
// what it acknowledged is there when the disk is well again.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iostream>

#include "joinq/client.h"
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

// Writes until there is no room left, or as much as is asked for.
void Fill(const std::string& path, uint64_t left = 0) {
  const uint64_t free = std::filesystem::space(std::filesystem::path(path).parent_path()).available;
  const int file = ::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
  ASSERT_GE(file, 0);
  EXPECT_EQ(::fallocate(file, 0, 0, static_cast<off_t>(free - left)), 0) << std::strerror(errno);
  ::close(file);
}

// The broker refuses to start, in one line that says where and what to do.
void ExpectSaysThatTheDiskIsFull(BrokerProcess& broker) {
  broker.Launch();
  EXPECT_FALSE(broker.AwaitReady());
  EXPECT_EQ(broker.program().Wait(20s), 1);
  const std::string errors = broker.program().errors();
  EXPECT_EQ(std::count(errors.begin(), errors.end(), '\n'), 1) << errors;
  EXPECT_TRUE(errors.starts_with("joinqd: the disk of data directory " + broker.data() + " is full"))
      << errors;
  EXPECT_NE(errors.find("make some room"), std::string::npos) << errors;
}

TEST(DiskFault, ABrokerWithoutRoomToStartSaysSoInOneLine) {
  BrokerProcess broker({"--log-level", "warn"});
  broker.Kill();
  std::filesystem::remove_all(broker.data());
  SmallDisk disk(broker.data());
  if (!disk.error().empty())
    GTEST_SKIP() << "cannot mount a small file system (needs root): " << disk.error();
  broker.Start();
  Client(broker.url()).queue("q").put("kept");
  broker.Kill();
  // No ballast: as it was left by a version without any.
  std::filesystem::remove(broker.data() + "/JOINQ_BALLAST");
  for (const uint64_t left : {0, 4096, 40'960, 500'000}) {
    SCOPED_TRACE(std::to_string(left) + " bytes left");
    std::filesystem::remove(broker.data() + "/fill");
    Fill(broker.data() + "/fill", left);
    ExpectSaysThatTheDiskIsFull(broker);
  }
  std::filesystem::remove(broker.data() + "/fill");
  broker.Start();
  EXPECT_EQ(Client(broker.url()).queue("q").get(10s), "kept");
}

// Others have filled the disk to the last byte, and the broker was killed.
TEST(DiskFault, ABrokerOnAFullDiskStartsEmptiesItsQueuesAndGoesOn) {
  BrokerProcess broker({"--log-level", "warn"});
  broker.Kill();
  std::filesystem::remove_all(broker.data());
  SmallDisk disk(broker.data());
  if (!disk.error().empty())
    GTEST_SKIP() << "cannot mount a small file system (needs root): " << disk.error();
  broker.Start();
  constexpr int kTasks = 200;
  const std::string padding(20'000, 'x');
  {
    Client client(broker.url());
    for (int i = 0; i < kTasks; ++i) client.queue("q").put(std::to_string(i) + padding);
    client.queue("purged").put(padding);
  }
  broker.Kill();
  Fill(broker.data() + "/fill");
  broker.Start();
  ASSERT_FALSE(::testing::Test::HasFatalFailure());
  Client client(broker.url());
  EXPECT_FALSE(std::filesystem::exists(broker.data() + "/JOINQ_BALLAST"));
  EXPECT_NE(client.broker_info().disk, "ok");
  try {
    client.queue("q").put("one more", 10s);
    ADD_FAILURE() << "a put was taken on a full disk";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("the broker's disk is almost full"), std::string::npos)
        << error.what();
  }
  auto queue = client.joinable_queue("q");
  for (int i = 0; i < kTasks; ++i) {
    Task task = queue.get(10s);
    EXPECT_EQ(task.payload(), std::to_string(i) + padding);
    task.done();
  }
  EXPECT_EQ(client.purge_queue("purged"), 1u);
  queue.join(10s);
  ASSERT_TRUE(broker.program().running()) << broker.program().errors();

  std::filesystem::remove(broker.data() + "/fill");
  EXPECT_TRUE(Eventually([&] { return client.broker_info().disk == "ok"; }));
  client.queue("q").put("room again", 10s);
  EXPECT_EQ(client.queue("q").get(10s), "room again");
  EXPECT_TRUE(Eventually([&] { return std::filesystem::exists(broker.data() + "/JOINQ_BALLAST"); }));
}

// Tasks of 20 kB come as fast as they can: the broker looks often enough to refuse them
// before the disk is full, and empties it.
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
    EXPECT_TRUE(broker.program().running())
        << "the disk was full before it looked: " << broker.program().errors();
    Disturbance disturbance{"a full disk", Now() - 100'000'000, 0, true};
    broker.Crash();
    const uint64_t refused = producers.refused();
    EXPECT_TRUE(Eventually([&] { return producers.refused() > refused; }))
        << "no put is refused after a restart";
    disk.Grow();
    disturbance.until = Now();
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
