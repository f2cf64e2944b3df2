// Over the wire: how tasks are to be run, and what workers say of their processes.
#include "common/names.h"
#include "joinq/v1/session.grpc.pb.h"
#include "tests/rpc/rpc_fixture.h"

namespace joinq::testing {
namespace {

struct RunOptionsTest : RpcFixture {
  using WorkStream = grpc::ClientReaderWriter<v1::WorkRequest, v1::WorkResponse>;

  static v1::PutRequest PutOf(const v1::TaskOptions& options) {
    v1::PutRequest request;
    request.set_queue("q");
    request.set_handler("h");
    *request.mutable_options() = options;
    request.add_tasks()->set_payload("x");
    return request;
  }
  absl::Status PutWith(const v1::PutRequest& request, uint64_t* id = nullptr) {
    grpc::ClientContext context;
    Limit(context);
    v1::PutResponse response;
    const grpc::Status status = queues_->Put(&context, request, &response);
    if (status.ok() && id != nullptr) *id = response.task_ids(0);
    return FromGrpc(status);
  }
  uint64_t PutWith(const v1::TaskOptions& options) {
    uint64_t id = 0;
    EXPECT_TRUE(PutWith(PutOf(options), &id).ok());
    return id;
  }
  v1::TaskInfo InfoOf(uint64_t id) {
    grpc::ClientContext context;
    Limit(context);
    v1::GetTaskRequest request;
    request.set_task_id(id);
    v1::TaskInfo info;
    EXPECT_TRUE(tasks_->GetTask(&context, request, &info).ok());
    return info;
  }
  std::unique_ptr<WorkStream> Work(grpc::ClientContext* context, uint32_t credit) {
    Limit(*context);
    auto stream = workers_->Work(context);
    v1::WorkRequest hello;
    hello.mutable_hello()->set_worker_id(9);
    hello.mutable_hello()->set_name("w");
    hello.mutable_hello()->set_host("host-of-w");
    hello.mutable_hello()->add_queues("q");
    hello.set_credit(credit);
    EXPECT_TRUE(stream->Write(hello));
    return stream;
  }
  // Reads until so many deliveries are in.
  static std::vector<v1::DeliveryGroup> ReadGroups(WorkStream* stream, int deliveries) {
    std::vector<v1::DeliveryGroup> groups;
    v1::WorkResponse response;
    while (deliveries > 0 && stream->Read(&response)) {
      for (const auto& group : response.groups()) {
        deliveries -= group.tasks_size();
        groups.push_back(group);
      }
    }
    return groups;
  }
};

TEST_F(RunOptionsTest, DeliveriesThatDifferInThemAreInDifferentGroups) {
  ASSERT_TRUE(Create("q").ok());
  v1::TaskOptions options;
  PutWith(options);
  PutWith(options);
  options.set_time_limit_ms(9000);
  options.set_soft_time_limit_ms(8000);
  PutWith(options);
  options.set_fresh_process(true);
  PutWith(options);
  grpc::ClientContext context;
  auto worker = Work(&context, 10);
  const auto groups = ReadGroups(worker.get(), 4);
  ASSERT_EQ(groups.size(), 3u);
  EXPECT_EQ(groups[0].tasks_size(), 2);
  EXPECT_EQ(groups[0].time_limit_ms(), 0u);
  EXPECT_EQ(groups[1].time_limit_ms(), 9000u);
  EXPECT_EQ(groups[1].soft_time_limit_ms(), 8000u);
  EXPECT_FALSE(groups[1].fresh_process());
  EXPECT_EQ(groups[2].time_limit_ms(), 9000u);
  EXPECT_TRUE(groups[2].fresh_process());
}

TEST_F(RunOptionsTest, ADeadlineIsSentAsWhatIsLeftOfItAndATtlIsNot) {
  ASSERT_TRUE(Create("q").ok());
  v1::TaskOptions options;
  options.set_deadline_ms(60'000);
  PutWith(options);
  options.clear_deadline_ms();
  options.set_ttl_ms(60'000);
  PutWith(options);
  grpc::ClientContext context;
  auto worker = Work(&context, 10);
  const auto groups = ReadGroups(worker.get(), 2);
  ASSERT_EQ(groups.at(0).tasks_size(), 2) << "their deadlines are their own";
  EXPECT_GT(groups[0].tasks(0).deadline_ms(), 30'000u);
  EXPECT_LE(groups[0].tasks(0).deadline_ms(), 60'000u);
  EXPECT_EQ(groups[0].tasks(1).deadline_ms(), 0u);
}

TEST_F(RunOptionsTest, AreShownWithTheTask) {
  ASSERT_TRUE(Create("q").ok());
  v1::TaskOptions options;
  options.set_time_limit_ms(9000);
  options.set_soft_time_limit_ms(8000);
  options.set_deadline_ms(60'000);
  options.set_fresh_process(true);
  const v1::TaskOptions shown = InfoOf(PutWith(options)).options();
  EXPECT_EQ(shown.time_limit_ms(), 9000u);
  EXPECT_EQ(shown.soft_time_limit_ms(), 8000u);
  EXPECT_EQ(shown.deadline_ms(), 60'000u);
  EXPECT_TRUE(shown.fresh_process());
}

TEST_F(RunOptionsTest, BadOnesAreRefusedByField) {
  ASSERT_TRUE(Create("q").ok());
  v1::TaskOptions limits;
  limits.set_time_limit_ms(1000);
  limits.set_soft_time_limit_ms(1000);
  const absl::Status soft = PutWith(PutOf(limits));
  EXPECT_EQ(soft.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(FieldOf(soft), "options.soft_time_limit_ms");
  v1::TaskOptions both;
  both.set_deadline_ms(1000);
  both.set_ttl_ms(1000);
  EXPECT_EQ(FieldOf(PutWith(PutOf(both))), "options.deadline_ms");
  v1::TaskOptions fresh;
  fresh.set_fresh_process(true);
  v1::PutRequest without_handler = PutOf(fresh);
  without_handler.clear_handler();
  EXPECT_EQ(FieldOf(PutWith(without_handler)), "options.fresh_process");
}

TEST_F(RunOptionsTest, AProcessIsShownWhileItRunsAndWithItsResult) {
  ASSERT_TRUE(Create("q").ok());
  v1::TaskOptions options;
  options.set_fresh_process(true);
  options.set_result_ttl_ms(60'000);
  const uint64_t id = PutWith(options);
  EXPECT_FALSE(InfoOf(id).has_process());
  grpc::ClientContext context;
  auto worker = Work(&context, 1);
  const v1::DeliveryGroup group = ReadGroups(worker.get(), 1).at(0);
  v1::WorkRequest report;
  auto* started = report.add_started();
  started->set_task_id(id);
  started->set_epoch(group.epoch());
  started->set_sequence(group.tasks(0).sequence());
  started->set_pid(4711);
  ASSERT_TRUE(worker->Write(report));
  ASSERT_TRUE(
      EventuallyOnCore([&] { return loop_->broker().GetTask(core::TaskId{id})->process.has_value(); }));
  EXPECT_EQ(InfoOf(id).process().host(), "host-of-w");
  EXPECT_EQ(InfoOf(id).process().pid(), 4711u);
  EXPECT_FALSE(InfoOf(id).process().ended());
  report.Clear();
  report.set_completions_seq(1);
  auto* completion = report.add_completions();
  completion->set_task_id(id);
  completion->set_epoch(group.epoch());
  completion->set_sequence(group.tasks(0).sequence());
  completion->mutable_process()->set_pid(4711);
  completion->mutable_process()->set_exit_code(3);
  ASSERT_TRUE(worker->Write(report));
  grpc::ClientContext result_context;
  Limit(result_context);
  v1::GetResultRequest request;
  request.set_task_id(id);
  request.set_wait_ms(5000);
  v1::TaskResult result;
  ASSERT_TRUE(tasks_->GetResult(&result_context, request, &result).ok());
  EXPECT_EQ(result.process().host(), "host-of-w");
  EXPECT_EQ(result.process().pid(), 4711u);
  EXPECT_TRUE(result.process().ended());
  EXPECT_EQ(result.process().exit_code(), 3);
  EXPECT_EQ(InfoOf(id).process().exit_code(), 3);
}

TEST_F(RunOptionsTest, ATaskOfASessionEndsWithItAndItsWorkerIsTold) {
  ASSERT_TRUE(Create("q").ok());
  v1::TaskOptions options;
  options.set_session_id(77);
  options.set_result_ttl_ms(60'000);
  const absl::Status refused = PutWith(PutOf(options));
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(FieldOf(refused), "options.session_id");
  grpc::ClientContext session_context, context;
  Limit(session_context);
  auto session = v1::SessionService::NewStub(channel_)->Keep(&session_context);
  v1::SessionRequest hello;
  hello.mutable_hello()->set_session_id(77);
  hello.mutable_hello()->set_name("c");
  ASSERT_TRUE(session->Write(hello));
  v1::SessionResponse welcome;
  ASSERT_TRUE(session->Read(&welcome));
  const uint64_t id = PutWith(options);
  EXPECT_EQ(InfoOf(id).options().session_id(), 77u);
  auto worker = Work(&context, 1);
  ReadGroups(worker.get(), 1);
  v1::SessionRequest leaving;
  leaving.set_leaving(true);
  ASSERT_TRUE(session->Write(leaving));
  v1::WorkResponse told;
  while (told.cancels().empty() && worker->Read(&told)) {
  }
  ASSERT_EQ(told.cancels_size(), 1);
  EXPECT_EQ(told.cancels(0).task_id(), id);
  EXPECT_EQ(InfoOf(id).outcome(), v1::OUTCOME_CANCELLED);
  EXPECT_EQ(InfoOf(id).options().session_id(), 0u);
}

}  // namespace
}  // namespace joinq::testing
