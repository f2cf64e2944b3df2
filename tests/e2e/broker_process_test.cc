// joinqd as a process: starting, refusing to start, stopping.
#include <gmock/gmock.h>
#include <signal.h>

#include <fstream>
#include <thread>

#include "joinq/client.h"
#include "tests/support/programs.h"

namespace joinq::testing {
namespace {

using ::testing::HasSubstr;

void ExpectRefusal(const Finished& run, int status, const std::string& text) {
  EXPECT_EQ(run.status, status) << run.errors;
  EXPECT_EQ(run.errors.rfind("joinqd: ", 0), 0u) << run.errors;
  EXPECT_EQ(std::count(run.errors.begin(), run.errors.end(), '\n'), 1) << run.errors;
  EXPECT_THAT(run.errors, HasSubstr(text));
}

TEST(BrokerProcess, TermStopsItCleanlyWithEveryParkedCallAnswered) {
  BrokerProcess broker;
  ASSERT_EQ(RunProgram({"joinq", "-u", broker.url(), "queue", "create", "q"}).status, 0);
  ASSERT_EQ(RunProgram({"joinq", "-u", broker.url(), "queue", "create", "empty"}).status, 0);
  ASSERT_EQ(RunProgram({"joinq", "-u", broker.url(), "put", "q", "x"}).status, 0);
  Program get({"joinq", "-u", broker.url(), "--connect-timeout", "0.2", "get", "empty"});
  Program join({"joinq", "-u", broker.url(), "--connect-timeout", "0.2", "join", "q"});
  Client client(broker.url());
  ASSERT_TRUE(Eventually([&] {
    return client.queue_info("empty").stats.parked_gets == 1 &&
           client.queue_info("q").stats.parked_joins == 1;
  }));
  broker.program().Signal(SIGTERM);
  EXPECT_EQ(broker.program().Wait(10s), 0) << broker.program().errors();
  EXPECT_EQ(get.Wait(10s), 3) << get.errors();
  EXPECT_EQ(join.Wait(10s), 3) << join.errors();
  broker.Start();
  EXPECT_EQ(RunProgram({"joinq", "-u", broker.url(), "get", "q", "--timeout", "0"}).output, "x\n");
}

TEST(BrokerProcess, TermWithABusyStreamStopsInTime) {
  BrokerProcess broker;
  Program worker = StartWorker(broker.url(), "q");
  Program bench(
      {"joinq", "-u", broker.url(), "--connect-timeout", "0.2", "bench", "-Q", "q", "--tasks", "2000000"});
  Client client(broker.url());
  ASSERT_TRUE(Eventually([&] { return client.queue_info("q").stats.done_total > 1000; })) << bench.errors();
  broker.program().Signal(SIGTERM);
  EXPECT_EQ(broker.program().Wait(10s), 0) << broker.program().errors();
}

TEST(BrokerProcess, RefusesWhatItCannotServe) {
  BrokerProcess broker;
  TempDirectory other;
  ExpectRefusal(RunProgram({"joinqd", "--data", broker.data(), "--listen", "127.0.0.1:0", "--http", "off"}),
                1, "in use");
  ExpectRefusal(RunProgram({"joinqd", "--memory", "--listen", broker.url(), "--http", "off"}), 1,
                broker.url());
  ExpectRefusal(RunProgram({"joinqd", "--memory", "--listen", "127.0.0.1:0", "--http", broker.http()}), 1,
                broker.http());
  std::ofstream(other.path() + "/JOINQ_FORMAT") << "99\n";
  ExpectRefusal(RunProgram({"joinqd", "--data", other.path(), "--listen", "127.0.0.1:0", "--http", "off"}), 1,
                "format 99");
  ExpectRefusal(RunProgram({"joinqd", "--memory", "--listen", "unix:/nonexistent/x", "--http", "off"}), 1,
                "No such file");
  ExpectRefusal(RunProgram({"joinqd", "--data", broker.data(), "--restore", other.path(), "--http", "off"}),
                1, "--restore");
  ExpectRefusal(RunProgram({"joinqd"}), 2, "--data");
  ExpectRefusal(RunProgram({"joinqd", "--memory", "--data", "x"}), 2, "--memory");
  ExpectRefusal(RunProgram({"joinqd", "--memory", "--restore", "x"}), 2, "--restore");
  ExpectRefusal(RunProgram({"joinqd", "--memory", "--salvage"}), 2, "--salvage");
  ExpectRefusal(RunProgram({"joinqd", "--memory", "--memory-budget", "7"}), 2, "--memory-budget");
  ExpectRefusal(RunProgram({"joinqd", "--memory", "--disk-low", "x"}), 2, "--disk-low");
  ExpectRefusal(RunProgram({"joinqd", "--memory", "--disk-low", "1", "--disk-critical", "2"}), 2,
                "--disk-critical");
  ExpectRefusal(RunProgram({"joinqd", "--memory", "--bogus"}), 2, "--bogus");
  ExpectRefusal(RunProgram({"joinqd", "--memory", "--listen", "nonsense:port"}), 2, "--listen");
  ExpectRefusal(RunProgram({"joinqd", "--memory", "--worker-grace", "nan"}), 2, "--worker-grace");
  ExpectRefusal(RunProgram({"joinqd", "--memory", "--worker-grace=-1"}), 2, "--worker-grace");
  ExpectRefusal(RunProgram({"joinqd", "--memory", "--log-level", "loud"}), 2, "--log-level");
  ExpectRefusal(RunProgram({"joinqd", "--memory", "--max-payload", "99999999"}), 2, "--max-payload");
}

TEST(BrokerProcess, AWorkerWithABadModuleOrOptionSaysWhyInOneLine) {
  TempDirectory directory;
  const std::string module = directory.path() + "/broken.so";
  std::ofstream(module) << "not an object";
  for (const auto& words : std::vector<std::vector<std::string>>{{"--module", module},
                                                                 {"--module", "/nonexistent.so"},
                                                                 {"--exec", "x=/nonexistent/program"},
                                                                 {"--exec", "no-equals-sign"},
                                                                 {"-c", "0"},
                                                                 {"--drain-timeout", "nan"},
                                                                 {"-Q", "a b"},
                                                                 {"--bogus"}}) {
    std::vector<std::string> command = {"joinq-worker", "-u", "127.0.0.1:1"};
    command.insert(command.end(), words.begin(), words.end());
    const Finished run = RunProgram(command);
    EXPECT_EQ(run.status, 2) << words[0] << ": " << run.errors;
    EXPECT_EQ(run.errors.rfind("joinq-worker: ", 0), 0u) << run.errors;
    EXPECT_EQ(std::count(run.errors.begin(), run.errors.end(), '\n'), 1) << run.errors;
  }
}

TEST(BrokerProcess, ARestartBringsBackTasksCountsAndOptions) {
  BrokerProcess broker;
  Client client(broker.url());
  auto queue = client.joinable_queue("q", {.maxsize = 1000});
  for (int i = 0; i < 50; ++i) queue.put("task " + std::to_string(i));
  for (int i = 0; i < 10; ++i) queue.get(5s).done();
  queue.get(5s);  // leased and never done
  broker.Crash();
  const auto info = client.queue_info("q");
  EXPECT_EQ(info.stats.unfinished, 40u);
  EXPECT_EQ(info.stats.put_total, 50u);
  EXPECT_EQ(info.stats.done_total, 10u);
  EXPECT_EQ(info.options.maxsize, 1000u);
  EXPECT_EQ(queue.get(5s).payload(), "task 10");
}

TEST(BrokerProcess, BeginsWithABackup) {
  BrokerProcess old;
  Client client(old.url());
  client.joinable_queue("q").put("x");
  old.program().Signal(SIGTERM);
  ASSERT_EQ(old.program().Wait(10s), 0);
  BrokerProcess fresh({"--restore", old.data()});
  EXPECT_EQ(RunProgram({"joinq", "-u", fresh.url(), "get", "q", "--timeout", "0"}).output, "x\n");
  EXPECT_THAT(fresh.program().errors(), HasSubstr("restored " + fresh.data() + " from " + old.data()));
  // The same command again does not overwrite what has happened since.
  fresh.program().Signal(SIGTERM);
  ASSERT_EQ(fresh.program().Wait(10s), 0);
  ExpectRefusal(RunProgram({"joinqd", "--data", fresh.data(), "--restore", old.data(), "--http", "off"}), 1,
                "not empty");
}

TEST(BrokerProcess, TellsWhenTheDiskIsLow) {
  BrokerProcess broker({"--disk-low", "16777216", "--disk-critical", "0"});
  EXPECT_TRUE(Eventually([&] { return broker.program().errors().find("disk: low") != std::string::npos; }))
      << broker.program().errors();
  broker.program().Signal(SIGTERM);
  EXPECT_EQ(broker.program().Wait(10s), 0);
}

}  // namespace
}  // namespace joinq::testing
