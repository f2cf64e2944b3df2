// Queues' options and states, tasks and the broker, as the API asks for them.
#include <gmock/gmock.h>
#include <joinq/client.h>

#include "common/names.h"
#include "common/rpc_status.h"
#include "tests/client/fake_broker.h"

namespace joinq::test {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;

class ControlTest : public testing::Test {
 protected:
  static ClientOptions Quick() {
    ClientOptions options;
    options.timeout = 10s;
    options.unavailable_after = 10s;
    return options;
  }

  FakeBroker broker_;
  Client client_{broker_.url(), Quick()};
  Queue queue_ = client_.open_queue("q");
};

TEST_F(ControlTest, AQueueIsCreatedWithAllItsOptions) {
  broker_.Answer<v1::CreateQueueRequest, v1::QueueInfo>([](const auto& request, auto* info) {
    *info->mutable_options() = request.options();
    info->set_paused(true);
    info->set_durability("wal");
    info->mutable_stats()->set_dead_kept(7);
    info->mutable_stats()->set_expired_total(8);
    info->mutable_stats()->set_waiting_bytes(9);
    info->mutable_stats()->set_retried_total(10);
    return grpc::Status::OK;
  });
  const QueueInfo info = client_.create_queue("q", {.maxsize = 5,
                                                    .lease = 2s,
                                                    .max_bytes = 1u << 20,
                                                    .order = Order::priority,
                                                    .durability = Durability::wal,
                                                    .ageing = 3s,
                                                    .dead_max = 0});
  const auto sent = broker_.Last<v1::CreateQueueRequest>().options();
  EXPECT_EQ(sent.max_bytes(), 1u << 20);
  EXPECT_EQ(sent.order(), v1::ORDER_PRIORITY);
  EXPECT_EQ(sent.durability(), v1::DURABILITY_WAL);
  EXPECT_EQ(sent.ageing_ms(), 3000u);
  EXPECT_TRUE(sent.has_dead_max());
  EXPECT_EQ(sent.dead_max(), 0u);
  EXPECT_EQ(info.options.order, Order::priority);
  EXPECT_EQ(info.options.durability, Durability::wal);
  EXPECT_EQ(info.options.ageing, 3s);
  EXPECT_EQ(info.options.dead_max, 0u);
  EXPECT_TRUE(info.paused);
  EXPECT_EQ(info.durability, "wal");
  EXPECT_EQ(info.stats.dead_kept, 7u);
  EXPECT_EQ(info.stats.expired_total, 8u);
  EXPECT_EQ(info.stats.waiting_bytes, 9u);
  EXPECT_EQ(info.stats.retried_total, 10u);
  client_.create_queue("plain");
  EXPECT_FALSE(broker_.Last<v1::CreateQueueRequest>().options().has_dead_max());
  EXPECT_EQ(broker_.Last<v1::CreateQueueRequest>().options().durability(), v1::DURABILITY_UNSPECIFIED);
}

TEST_F(ControlTest, AnUpdateNamesOnlyWhatChanges) {
  queue_.update({.max_bytes = 0, .order = Order::lifo, .dead_max = 12});
  const auto sent = broker_.Last<v1::UpdateQueueRequest>();
  EXPECT_EQ(sent.name(), "q");
  EXPECT_FALSE(sent.has_maxsize());
  EXPECT_FALSE(sent.has_lease_ms());
  EXPECT_TRUE(sent.has_max_bytes());
  EXPECT_EQ(sent.order(), v1::ORDER_LIFO);
  EXPECT_FALSE(sent.has_durability());
  EXPECT_FALSE(sent.has_ageing_ms());
  EXPECT_EQ(sent.dead_max(), 12u);
  EXPECT_THROW(queue_.update({.lease = -1s}), InvalidArgument);
  broker_.Answer<v1::UpdateQueueRequest, v1::QueueInfo>([](const auto&, auto*) {
    return ToGrpc(FieldError(absl::StatusCode::kFailedPrecondition, "order", "the queue holds tasks"));
  });
  EXPECT_THROW(queue_.update({.order = Order::fifo}), Refused);
}

TEST_F(ControlTest, PauseResumeAndClose) {
  queue_.pause();
  queue_.resume();
  queue_.close();
  EXPECT_EQ(broker_.Last<v1::PauseRequest>().queue(), "q");
  EXPECT_EQ(broker_.Last<v1::ResumeRequest>().queue(), "q");
  EXPECT_EQ(broker_.Last<v1::CloseRequest>().queue(), "q");
}

TEST_F(ControlTest, PeekGivesPayloadsAndTakesNothing) {
  broker_.Answer<v1::PeekRequest, v1::PeekResponse>([](const auto& request, auto* response) {
    for (uint32_t i = 0; i < request.max_tasks(); ++i) response->add_tasks()->set_payload(std::to_string(i));
    return grpc::Status::OK;
  });
  const auto tasks = queue_.peek(3);
  ASSERT_EQ(tasks.size(), 3u);
  EXPECT_EQ(tasks[2].payload, "2");
  EXPECT_THROW(queue_.peek(0), InvalidArgument);
  EXPECT_THROW(queue_.peek(101), InvalidArgument);
}

TEST_F(ControlTest, DeadTasksAreListedRetriedAndPurged) {
  broker_.Answer<v1::ListTasksRequest, v1::ListTasksResponse>([](const auto& request, auto* response) {
    // Three pages, of which the second is empty.
    if (request.after() != 10) response->add_tasks()->set_task_id(request.after() + 5);
    response->set_next(request.after() < 20 ? request.after() + 10 : 0);
    return grpc::Status::OK;
  });
  broker_.Answer<v1::RetryDeadRequest, v1::RetryDeadResponse>([](const auto& request, auto* response) {
    response->set_retried(request.limit() == 0 ? 9 : request.limit());
    return grpc::Status::OK;
  });
  broker_.Answer<v1::PurgeDeadRequest, v1::PurgeDeadResponse>([](const auto&, auto* response) {
    response->set_purged(4);
    return grpc::Status::OK;
  });
  std::vector<uint64_t> ids;
  for (const TaskInfo& task : queue_.dead()) ids.push_back(task.id);
  EXPECT_THAT(ids, ElementsAre(5, 25));
  EXPECT_EQ(broker_.Last<v1::ListTasksRequest>().state(), v1::TASK_STATE_DEAD);
  EXPECT_EQ(broker_.Last<v1::ListTasksRequest>().queue(), "q");
  EXPECT_EQ(queue_.retry_dead(), 9u);
  EXPECT_EQ(queue_.retry_dead(2), 2u);
  EXPECT_EQ(queue_.purge_dead(), 4u);
}

TEST_F(ControlTest, ATaskIsToldWithAllThatIsKnown) {
  broker_.Answer<v1::GetTaskRequest, v1::TaskInfo>([](const auto& request, auto* info) {
    EXPECT_TRUE(request.with_payload());
    info->set_task_id(request.task_id());
    info->set_queue("q");
    info->set_payload("body");
    info->set_state(v1::TASK_STATE_DEAD);
    info->set_outcome(v1::OUTCOME_CRASHED);
    info->mutable_options()->set_priority(-3);
    info->mutable_options()->set_ttl_ms(1500);
    info->set_unique_key("k");
    info->set_when_unix_ms(1'700'000'000'123);
    info->set_crashes(3);
    info->mutable_error()->set_kind(v1::FAILURE_KIND_OUT_OF_MEMORY);
    info->mutable_error()->set_message("too much");
    auto* attempt = info->add_history();
    attempt->set_delivery(2);
    attempt->set_kind(v1::FAILURE_KIND_CRASH);
    attempt->set_holder("w1");
    info->set_progress("half");
    return grpc::Status::OK;
  });
  const TaskInfo info = client_.task_info(12, true);
  EXPECT_EQ(info.id, 12u);
  EXPECT_EQ(info.payload, "body");
  EXPECT_EQ(info.state, TaskState::dead);
  EXPECT_EQ(info.ending, Ending::crashed);
  EXPECT_EQ(info.options.priority, -3);
  EXPECT_EQ(info.options.ttl, 1500ms);
  EXPECT_EQ(info.options.unique_key, "k");
  EXPECT_EQ(info.when, TimePoint(1'700'000'000'123ms));
  EXPECT_EQ(info.expires, std::nullopt);
  EXPECT_EQ(info.error, FailureKind::out_of_memory);
  EXPECT_EQ(info.error_message, "too much");
  ASSERT_EQ(info.history.size(), 1u);
  EXPECT_EQ(info.history[0].kind, FailureKind::crash);
  EXPECT_EQ(info.history[0].holder, "w1");
  EXPECT_EQ(info.progress, "half");
  EXPECT_EQ(info.lease, Lease());
}

TEST_F(ControlTest, TasksArePagedAsAsked) {
  broker_.Answer<v1::ListTasksRequest, v1::ListTasksResponse>([](const auto& request, auto* response) {
    auto* task = response->add_tasks();
    task->set_task_id(9);
    task->set_state(v1::TASK_STATE_LEASED);
    task->set_lease_epoch(2);
    task->set_lease_sequence(3);
    response->set_next(request.after() == 0 ? 9 : 0);
    return grpc::Status::OK;
  });
  const TaskPage page = client_.task_page({.state = TaskState::leased, .newest_first = true}, 77, 5);
  EXPECT_EQ(page.next, 0u);
  ASSERT_EQ(page.tasks.size(), 1u);
  EXPECT_EQ(page.tasks[0].lease, (Lease{9, 2, 3}));
  const auto sent = broker_.Last<v1::ListTasksRequest>();
  EXPECT_EQ(sent.queue(), "");
  EXPECT_EQ(sent.after(), 77u);
  EXPECT_EQ(sent.page_size(), 5u);
  EXPECT_TRUE(sent.newest_first());
  int seen = 0;
  for (const TaskInfo& task : client_.list_tasks()) seen += task.id == 9;
  EXPECT_EQ(seen, 2);
  EXPECT_EQ(broker_.Last<v1::ListTasksRequest>().state(), v1::TASK_STATE_UNSPECIFIED);
  EXPECT_THROW(client_.task_page({}, 0, 0), InvalidArgument);
  EXPECT_THROW(client_.task_page({}, 0, 1001), InvalidArgument);
  EXPECT_THROW(client_.task_page({.queue = "a b"}), InvalidArgument);
}

TEST_F(ControlTest, CancelRetryAndWhy) {
  broker_.Answer<v1::CancelTaskRequest, v1::TaskInfo>([](const auto&, auto* info) {
    info->set_state(v1::TASK_STATE_ENDED);
    info->set_outcome(v1::OUTCOME_CANCELLED);
    return grpc::Status::OK;
  });
  broker_.Answer<v1::RetryTaskRequest, v1::TaskInfo>([](const auto&, auto*) {
    return grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "task 5 is ready");
  });
  broker_.Answer<v1::WhyTaskRequest, v1::WhyTaskResponse>([](const auto& request, auto* response) {
    response->set_reason(request.task_id() == 5 ? v1::WhyTaskResponse::IN_LINE
                                                : v1::WhyTaskResponse::DELAYED);
    response->set_number(request.task_id() == 5 ? 0 : 1'700'000'000'000);
    response->set_text("because");
    return grpc::Status::OK;
  });
  EXPECT_EQ(client_.cancel(5).ending, Ending::cancelled);
  EXPECT_EQ(broker_.Last<v1::CancelTaskRequest>().task_id(), 5u);
  try {
    client_.retry(5);
    FAIL();
  } catch (const Refused& error) {
    EXPECT_STREQ(error.what(), "task 5 is ready");
  }
  const Why next = client_.why(5);
  EXPECT_EQ(next.reason, WhyReason::in_line);
  EXPECT_EQ(next.before, 0u);
  EXPECT_EQ(next.until, std::nullopt);
  EXPECT_EQ(next.text, "because");
  EXPECT_EQ(client_.why(6).until, TimePoint(1'700'000'000s));
}

TEST_F(ControlTest, TheBrokerTellsOfItselfAndIsCopied) {
  broker_.Answer<v1::GetBrokerRequest, v1::BrokerInfo>([](const auto&, auto* info) {
    info->set_version("0.2");
    info->set_disk("low");
    info->set_disk_free_bytes(5);
    return grpc::Status::OK;
  });
  broker_.Answer<v1::BackupRequest, v1::BackupResponse>([](const auto&, auto* response) {
    response->set_bytes(99);
    response->set_journal_entry(7);
    return grpc::Status::OK;
  });
  EXPECT_EQ(client_.broker_info().version, "0.2");
  EXPECT_EQ(client_.broker_info().disk, "low");
  EXPECT_EQ(client_.backup("/backup/today").bytes, 99u);
  EXPECT_EQ(broker_.Last<v1::BackupRequest>().directory(), "/backup/today");
  EXPECT_THROW(client_.backup("today"), InvalidArgument);
  EXPECT_THROW(client_.backup("/x\xff"), InvalidArgument);
  EXPECT_THROW(client_.backup("/x", -1s), InvalidArgument);
  broker_.Answer<v1::BackupRequest, v1::BackupResponse>([](const auto&, auto*) {
    return ToGrpc(FieldError(absl::StatusCode::kFailedPrecondition, "directory", "/x exists"));
  });
  EXPECT_THROW(client_.backup("/x"), Refused);
}

TEST_F(ControlTest, AnOlderBrokerIsNamedAsTheReason) {
  broker_.Answer<v1::PauseRequest, v1::PauseResponse>(
      [](const auto&, auto*) { return grpc::Status(grpc::StatusCode::UNIMPLEMENTED, ""); });
  try {
    queue_.pause();
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("queue \"q\": this broker cannot do that"));
  }
}

}  // namespace
}  // namespace joinq::test
