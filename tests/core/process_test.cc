// What is known of the processes that tasks with fresh_process run in.
#include "tests/support/core_harness.h"

namespace joinq::core {
namespace {

using testing::CoreHarness;
using testing::ReplyTo;

constexpr CallerId kWorker{7};

struct ProcessTest : ::testing::Test {
  ProcessTest() { core.Create("q"); }

  SessionProfile Profile(uint64_t id, uint32_t concurrency = 1) {
    SessionProfile profile;
    profile.id = id;
    profile.name = "w";
    profile.host = "host-of-w";
    profile.concurrency = concurrency;
    profile.queues = {"q"};
    return profile;
  }
  PutSpec Spec() {
    PutSpec spec = core.Spec("q");
    spec.handler = core.broker().Intern("h");
    spec.policy.fresh_process = true;
    spec.policy.result_ttl_ms = 600'000;
    return spec;
  }
  std::vector<Delivery> Work(uint32_t credit = 1, uint64_t id = 70) {
    auto effects = core.Do([&](Broker& broker) {
      ASSERT_TRUE(broker.AttachWorker(kWorker, Profile(id), {}).ok());
      broker.WorkerCredit(kWorker, credit);
    });
    return std::move(effects.deliveries);
  }
  void Started(const Delivery& delivery, uint32_t pid) {
    core.Do([&](Broker& broker) { broker.WorkerStarted(kWorker, {delivery.task, delivery.token}, pid); });
  }
  Effects End(const Delivery& delivery, Verdict verdict, uint32_t pid, int32_t exit_code,
              bool final = false) {
    return core.Do([&](Broker& broker) {
      std::vector<Completion> completions(1);
      completions[0].lease = {delivery.task, delivery.token};
      completions[0].verdict = verdict;
      completions[0].result = "r";
      completions[0].error.final = final;
      completions[0].pid = pid;
      completions[0].exit_code = exit_code;
      broker.WorkerCompletions(kWorker, ++seq, completions);
    });
  }
  // The worker's host is gone, and the grace period over.
  void Lose() {
    core.Do([](Broker& broker) { broker.CallerGone(kWorker); });
    for (int i = 0; i < 3; ++i) core.Advance(1500);
  }
  // "host pid exit_code", "host pid" while it runs, or "" if nothing is known.
  static std::string Text(const ProcessInfo* process) {
    if (process == nullptr) return {};
    const std::string text = process->host + " " + std::to_string(process->pid);
    return process->ended ? text + " " + std::to_string(process->exit_code) : text;
  }
  std::string ProcessOf(TaskId task) {
    auto view = core.broker().GetTask(task);
    EXPECT_TRUE(view.ok()) << view.status();
    return view.ok() && view->process.has_value() ? Text(&*view->process) : "";
  }

  CoreHarness core;
  uint64_t seq = 0;
};

TEST_F(ProcessTest, IsShownWhileItRuns) {
  const TaskId task = core.Put(Spec(), "x");
  const Delivery sent = Work().at(0);
  EXPECT_EQ(ProcessOf(task), "");
  Started(sent, 4711);
  EXPECT_EQ(ProcessOf(task), "host-of-w 4711");
}

TEST_F(ProcessTest, AReportOfAStaleLeaseOrOfAnOrdinaryTaskIsPassedOver) {
  const TaskId task = core.Put(Spec(), "x");
  PutSpec ordinary = Spec();
  ordinary.policy.fresh_process = false;
  const TaskId other = core.Put(ordinary, "y");
  auto sent = Work(2);
  ASSERT_EQ(sent.size(), 2u);
  Started(sent[1], 4711);
  EXPECT_EQ(ProcessOf(other), "");
  ++sent[0].token.sequence;
  Started(sent[0], 4711);
  EXPECT_EQ(ProcessOf(task), "");
}

TEST_F(ProcessTest, AReportOfAnotherWorkersLeaseIsPassedOver) {
  const TaskId task = core.Put(Spec(), "x");
  const Delivery sent = Work().at(0);
  core.Do([&](Broker& broker) {
    ASSERT_TRUE(broker.AttachWorker(CallerId{8}, Profile(80), {}).ok());
    broker.WorkerStarted(CallerId{8}, {sent.task, sent.token}, 4711);
  });
  EXPECT_EQ(ProcessOf(task), "");
}

TEST_F(ProcessTest, ItsEndIsPartOfTheResultForAsLongAsThatIsKept) {
  const TaskId task = core.Put(Spec(), "x");
  const Delivery sent = Work().at(0);
  Started(sent, 4711);
  core.Do([&](Broker& broker) { broker.GetResult(CallerId{5}, task, 1000, false); });
  const auto effects = End(sent, Verdict::kDone, 4711, 0);
  ASSERT_NE(ReplyTo(effects, CallerId{5}), nullptr);
  EXPECT_EQ(Text(ReplyTo(effects, CallerId{5})->result->process.get()), "host-of-w 4711 0");
  for (int restart = 0; restart < 2; ++restart) {
    EXPECT_EQ(ProcessOf(task), "host-of-w 4711 0");
    core.Restart();
  }
}

TEST_F(ProcessTest, ItsEndIsToldToWhoWatchesThoughNoResultIsKept) {
  PutSpec spec = Spec();
  spec.policy.result_ttl_ms = 0;
  spec.watch = true;
  core.Do([&](Broker& broker) {
    ASSERT_TRUE(broker.AttachProducer(CallerId{3}, 9, "p").ok());
    std::vector<NewTask> tasks(1);
    tasks[0].tag = 1;
    broker.PutStream(CallerId{3}, spec, tasks);
  });
  const auto effects = End(Work().at(0), Verdict::kDone, 4711, 0);
  ASSERT_EQ(effects.results.size(), 1u);
  EXPECT_EQ(Text(effects.results[0].process.get()), "host-of-w 4711 0");
}

TEST_F(ProcessTest, OfADeadTaskIsTheLastAttempts) {
  PutSpec spec = Spec();
  spec.policy.max_attempts = 2;
  spec.policy.retry_delay_ms = 1;
  const TaskId task = core.Put(spec, "x");
  End(Work().at(0), Verdict::kFailed, 100, 1);
  EXPECT_EQ(ProcessOf(task), "host-of-w 100 1");
  core.Advance(10);
  auto effects = core.Do([](Broker& broker) { broker.WorkerCredit(kWorker, 1); });
  ASSERT_EQ(effects.deliveries.size(), 1u);
  EXPECT_EQ(ProcessOf(task), "") << "the new attempt's is not known yet";
  End(effects.deliveries[0], Verdict::kFailed, 200, -9);
  for (int restart = 0; restart < 2; ++restart) {
    EXPECT_EQ(core.broker().GetTask(task)->state, TaskState::kDead);
    EXPECT_EQ(ProcessOf(task), "host-of-w 200 -9");
    core.Restart();
  }
}

TEST_F(ProcessTest, OfALostHostStaysWithoutAnEnd) {
  PutSpec spec = Spec();
  spec.policy.max_crashes = 5;
  const TaskId task = core.Put(spec, "x");
  Started(Work().at(0), 4711);
  Lose();
  for (int restart = 0; restart < 2; ++restart) {
    EXPECT_EQ(core.broker().GetTask(task)->state, TaskState::kReady);
    EXPECT_EQ(ProcessOf(task), "host-of-w 4711");
    core.Restart();
  }
}

TEST_F(ProcessTest, OfALostHostCountsAsACrashThoughItHadMoreOfThemThanChildren) {
  PutSpec spec = Spec();
  spec.policy.max_crashes = 5;
  std::vector<TaskId> tasks;
  for (int i = 0; i < 3; ++i) tasks.push_back(core.Put(spec, "x"));
  const auto sent = Work(3);  // with one child
  ASSERT_EQ(sent.size(), 3u);
  Started(sent[1], 4711);
  Lose();
  EXPECT_EQ(core.broker().GetTask(tasks[0])->crashes, 1u) << "it may have begun";
  EXPECT_EQ(core.broker().GetTask(tasks[1])->crashes, 1u) << "it has begun";
  EXPECT_EQ(core.broker().GetTask(tasks[2])->crashes, 0u);
}

TEST_F(ProcessTest, OfAReleasedAttemptIsForgotten) {
  const TaskId task = core.Put(Spec(), "x");
  const Delivery sent = Work().at(0);
  Started(sent, 4711);
  core.Do([](Broker& broker) { broker.WorkerDrains(kWorker); });
  End(sent, Verdict::kReleased, 0, 0);
  EXPECT_EQ(ProcessOf(task), "");
}

TEST_F(ProcessTest, MovesToTheTasksRow) {
  Limits limits;
  limits.journal_bytes_min = 500;
  CoreHarness small(limits);
  small.Create("q");
  PutSpec spec = small.Spec("q");
  spec.handler = small.broker().Intern("h");
  spec.policy.fresh_process = true;
  spec.policy.result_ttl_ms = 600'000;
  const TaskId task = small.Put(spec, "x");
  auto effects = small.Do([&](Broker& broker) {
    ASSERT_TRUE(broker.AttachWorker(kWorker, Profile(70), {}).ok());
    broker.WorkerCredit(kWorker, 1);
  });
  const Delivery sent = effects.deliveries.at(0);
  small.Do([&](Broker& broker) {
    std::vector<Completion> completions(1);
    completions[0].lease = {sent.task, sent.token};
    completions[0].pid = 4711;
    completions[0].exit_code = 0;
    broker.WorkerCompletions(kWorker, 1, completions);
  });
  small.Create("other");
  for (int i = 0; i < 50; ++i) {
    small.Put("other", std::string(100, 'y'));
    EXPECT_TRUE(small.Done("other", small.Get("other").at(0)).ok());
  }
  ASSERT_TRUE(small.disk().rows.contains(storage::RowKey(task)));
  small.Restart();
  EXPECT_EQ(Text(&*small.broker().GetTask(task)->process), "host-of-w 4711 0");
}

}  // namespace
}  // namespace joinq::core
