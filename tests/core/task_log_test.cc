// Asking workers for what a task wrote.
#include "common/names.h"
#include "tests/support/core_harness.h"

namespace joinq::core {
namespace {

using testing::CoreHarness;
using testing::ReplyTo;

constexpr CallerId kAsker{50};

class TaskLogs : public ::testing::Test {
 protected:
  void Attach(uint64_t id, std::vector<std::string> queues = {"q"}) {
    SessionProfile profile;
    profile.id = id;
    profile.name = "w" + std::to_string(id);
    profile.queues = std::move(queues);
    core_.Do([&](Broker& broker) { ASSERT_TRUE(broker.AttachWorker(CallerId{id}, profile, {}).ok()); });
  }
  Effects Ask(TaskId task) {
    return core_.Do([&](Broker& broker) { broker.GetTaskLog(kAsker, task); });
  }
  Effects Answer(CallerId stream, uint64_t ask, const char* text) {
    return core_.Do([&](Broker& broker) {
      std::unique_ptr<TaskLog> log;
      if (text != nullptr) log = std::make_unique<TaskLog>(TaskLog{.text = text, .worker = {}});
      broker.WorkerLog(stream, ask, std::move(log));
    });
  }
  static absl::Status StatusOf(const Effects& effects) {
    const Reply* reply = ReplyTo(effects, kAsker);
    return reply == nullptr ? absl::UnknownError("no reply") : reply->status;
  }
  CoreHarness core_;
};

TEST_F(TaskLogs, ComeFromTheWorkerThatHasTheTask) {
  Attach(1);
  Attach(2);
  auto effects = core_.Do([&](Broker& broker) {
    broker.WorkerCredit(CallerId{2}, 1);
    broker.Put(CallerId{9}, core_.Spec("q"), std::vector<NewTask>(1));
  });
  ASSERT_EQ(effects.deliveries.size(), 1u);
  effects = Ask(effects.deliveries[0].task);
  ASSERT_EQ(effects.log_asks.size(), 1u);
  EXPECT_EQ(effects.log_asks[0].to, CallerId{2});
  const uint64_t ask = effects.log_asks[0].ask;
  EXPECT_TRUE(Answer(CallerId{1}, ask, "from one that was not asked").replies.empty());
  EXPECT_TRUE(Answer(CallerId{2}, ask + 1, "to another question").replies.empty());
  effects = Answer(CallerId{2}, ask, "text");
  ASSERT_NE(ReplyTo(effects, kAsker), nullptr);
  EXPECT_EQ(ReplyTo(effects, kAsker)->log->text, "text");
  EXPECT_EQ(ReplyTo(effects, kAsker)->log->worker, "w2");
  EXPECT_TRUE(Answer(CallerId{2}, ask, "again").replies.empty());
  EXPECT_EQ(core_.broker().parked_count(), 0u);
}

TEST_F(TaskLogs, OfAWaitingTaskComeFromTheWorkersOfItsQueue) {
  Attach(1);
  Attach(2, {"other"});
  Attach(3);
  auto effects = Ask(core_.Put("q", "x"));
  ASSERT_EQ(effects.log_asks.size(), 2u);
  const uint64_t ask = effects.log_asks[0].ask;
  EXPECT_TRUE(Answer(CallerId{1}, ask, nullptr).replies.empty());
  EXPECT_NE(ReplyTo(Answer(CallerId{3}, ask, "text"), kAsker), nullptr);
}

TEST_F(TaskLogs, OfAnUnknownTaskAreAskedOfAll) {
  Attach(1);
  Attach(2, {"other"});
  auto effects = Ask(TaskId{4711});
  ASSERT_EQ(effects.log_asks.size(), 2u);
  const uint64_t ask = effects.log_asks[0].ask;
  EXPECT_TRUE(Answer(CallerId{1}, ask, nullptr).replies.empty());
  EXPECT_EQ(StatusOf(Answer(CallerId{2}, ask, nullptr)).code(), absl::StatusCode::kNotFound);
}

TEST_F(TaskLogs, AreNotFoundWithoutWorkers) {
  const absl::Status status = StatusOf(Ask(TaskId{4711}));
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_NE(status.message().find("task 4711"), std::string_view::npos) << status;
}

TEST_F(TaskLogs, NameTheWorkerThatIsSilent) {
  Attach(1);
  Ask(TaskId{4711});
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(core_.Advance(1000).replies.empty());
  const absl::Status status = StatusOf(core_.Advance(1000));
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_NE(status.message().find("worker w1"), std::string_view::npos) << status;
}

TEST_F(TaskLogs, NameTheWorkerThatGoesAway) {
  Attach(1);
  Ask(TaskId{4711});
  const absl::Status status = StatusOf(core_.Do([](Broker& broker) { broker.CallerGone(CallerId{1}); }));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(status.message().find("worker w1"), std::string_view::npos) << status;
}

TEST_F(TaskLogs, OfACallerThatHasGoneAreNobodys) {
  Attach(1);
  const uint64_t ask = Ask(TaskId{4711}).log_asks[0].ask;
  core_.Do([](Broker& broker) { broker.CallerGone(kAsker); });
  EXPECT_EQ(core_.broker().parked_count(), 0u);
  EXPECT_TRUE(Answer(CallerId{1}, ask, "text").replies.empty());
}

TEST_F(TaskLogs, AreCutAtTheirBeginningWhenTheyAreTooLong) {
  Attach(1);
  const uint64_t ask = Ask(TaskId{4711}).log_asks[0].ask;
  const std::string text = std::string(kTaskLogBytesMax, 'a') + "the end";
  auto effects = Answer(CallerId{1}, ask, text.c_str());
  ASSERT_NE(ReplyTo(effects, kAsker), nullptr);
  EXPECT_EQ(ReplyTo(effects, kAsker)->log->text.size(), kTaskLogBytesMax);
  EXPECT_TRUE(ReplyTo(effects, kAsker)->log->text.ends_with("the end"));
  EXPECT_TRUE(ReplyTo(effects, kAsker)->log->cut);
}

TEST_F(TaskLogs, AreAnsweredWhenTheBrokerStops) {
  Attach(1);
  Ask(TaskId{4711});
  EXPECT_EQ(StatusOf(core_.Do([](Broker& broker) { broker.Shutdown(); })).code(),
            absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace joinq::core
