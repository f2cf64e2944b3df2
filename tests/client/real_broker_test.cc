// The library against joinqd itself, killed and started again under it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <joinq/client.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <set>
#include <thread>

namespace joinq::test {
namespace {

using namespace std::chrono_literals;

// joinqd with a data directory of its own, on a port that it keeps.
class RealBrokerTest : public testing::Test {
 protected:
  RealBrokerTest() {
    std::string name = "/tmp/joinq-real-test-XXXXXX";
    dir_ = mkdtemp(name.data());
    Start("127.0.0.1:0");
    const auto deadline = std::chrono::steady_clock::now() + 20s;
    std::string kind;
    while (!(std::ifstream(dir_ + "/port") >> kind >> address_)) {
      if (std::chrono::steady_clock::now() > deadline) {
        ADD_FAILURE() << "joinqd does not start";
        break;
      }
      std::this_thread::yield();
    }
  }
  ~RealBrokerTest() override {
    Kill();
    std::filesystem::remove_all(dir_);
  }

  void Start(const std::string& listen) {
    const std::string data = dir_ + "/data", port = dir_ + "/port", log = dir_ + "/log";
    pid_ = fork();
    if (pid_ != 0) return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600), 2);
    execl(JOINQ_BIN_DIR "/joinqd", "joinqd", "--data", data.c_str(), "--listen", listen.c_str(), "--http",
          "off", "--port-file", port.c_str(), nullptr);
    _exit(127);
  }
  void Kill() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  void Restart() {
    Kill();
    Start(address_);
  }

  std::string dir_;
  std::string address_;
  pid_t pid_ = -1;
};

TEST_F(RealBrokerTest, PutsThroughKillsAreOneTaskEach) {
  Client client(address_);
  auto queue = client.joinable_queue("q");
  constexpr int kPuts = 60'000;
  auto putter = std::async(std::launch::async, [&] {
    std::set<uint64_t> ids;
    for (int i = 0; i < kPuts / 1000; ++i) {
      const auto more = queue.put_batch(std::vector<std::string>(1000, std::to_string(i)));
      ids.insert(more.begin(), more.end());
    }
    return ids.size();
  });
  int kills = 0;
  while (putter.wait_for(40ms) != std::future_status::ready && kills < 4) {
    Restart();
    ++kills;
  }
  ASSERT_EQ(putter.wait_for(30s), std::future_status::ready);
  EXPECT_EQ(putter.get(), static_cast<size_t>(kPuts)) << "ids are distinct";
  EXPECT_EQ(queue.qsize(), static_cast<uint64_t>(kPuts)) << kills << " kills";
  EXPECT_GE(kills, 1);
}

TEST_F(RealBrokerTest, BlockedCallsOutliveARestart) {
  Client client(address_);
  auto queue = client.joinable_queue("q", {.maxsize = 1});
  auto empty = client.joinable_queue("empty");
  queue.put("first");
  auto put = std::async(std::launch::async, [&] { return queue.put("second"); });
  auto get = std::async(std::launch::async, [&] { return empty.get(); });
  auto join = std::async(std::launch::async, [&] { queue.join(30s); });
  Restart();
  EXPECT_EQ(put.wait_for(100ms), std::future_status::timeout) << "still full";
  empty.put("x");
  ASSERT_EQ(get.wait_for(20s), std::future_status::ready);
  get.get().done();
  queue.get(10s).done();
  ASSERT_EQ(put.wait_for(20s), std::future_status::ready);
  queue.get(10s).done();
  ASSERT_EQ(join.wait_for(20s), std::future_status::ready);
  EXPECT_NO_THROW(join.get());
}

TEST_F(RealBrokerTest, ClosingWakesEverybody) {
  Client client(address_);
  auto full = client.queue("full", {.maxsize = 1});
  auto empty = client.queue("empty");
  full.put("x");
  EXPECT_TRUE(full.full());
  EXPECT_THROW(full.put_nowait("y"), Full);
  EXPECT_THROW(full.put("y", 50ms), Full);
  EXPECT_THROW(empty.get(50ms), Empty);
  auto put = std::async(std::launch::async, [&] { full.put("y"); });
  auto get = std::async(std::launch::async, [&] { empty.get(); });
  full.close();
  empty.close();
  EXPECT_THROW(put.get(), Closed);
  EXPECT_THROW(get.get(), Closed);
  int drained = 0;
  for (const auto& item : full) drained += item == "x";
  EXPECT_EQ(drained, 1);
  EXPECT_THROW(client.open_queue("absent").put("x"), NotFound);
  EXPECT_THROW(client.create_queue("full", {.maxsize = 2}), AlreadyExists);
}

TEST_F(RealBrokerTest, LeasesAreFenced) {
  Client client(address_);
  auto queue = client.joinable_queue("q");
  queue.put(std::vector<std::string>{"typed"});
  const Task first = queue.get(5s);
  first.release();
  first.release();  // a repetition
  const Task second = queue.get(5s, 30s);
  EXPECT_EQ(second.as<std::vector<std::string>>(), std::vector<std::string>{"typed"});
  EXPECT_THROW(queue.join(Millis(0)), Timeout);
  EXPECT_THROW(client.delete_queue("q"), Refused);
  second.extend(2s);
  second.done();
  second.done();
  EXPECT_THROW(first.done(), StaleLease);
  queue.join(5s);
  client.delete_queue("q");
}

TEST_F(RealBrokerTest, DoneAfterReleaseIsRefused) {
  Client client(address_);
  auto queue = client.joinable_queue("q");
  queue.put("x");
  const Task task = queue.get(5s);
  task.release();
  EXPECT_THROW(task.done(), StaleLease);
}

TEST_F(RealBrokerTest, ADaemonLivesThroughARestartAndEndsWithItsClient) {
  Client watcher(address_);
  watcher.queue("q");
  uint64_t before = 0, after = 0;
  {
    Client parent(address_);
    const Queue queue = parent.open_queue("q");
    const PutOptions daemon = {.result_ttl = 600s, .daemon = true};
    before = queue.put("x", kForever, daemon);
    Restart();
    after = queue.put("y", kForever, daemon);
    EXPECT_EQ(watcher.task_info(before).state, TaskState::ready);
    EXPECT_TRUE(watcher.task_info(after).options.daemon);
  }
  for (uint64_t id : {before, after}) EXPECT_EQ(watcher.result(id, 20s).kind, FailureKind::cancelled);
}

}  // namespace
}  // namespace joinq::test
