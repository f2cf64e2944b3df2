// What clients ask of workers through the broker: ends of work, output, sizes.
#include "tests/rpc/rpc_fixture.h"

namespace joinq::testing {
namespace {

class AskServiceTest : public RpcFixture {
 protected:
  AskServiceTest() {
    Limit(context_);
    stream_ = workers_->Work(&context_);
    v1::WorkRequest request;
    request.mutable_hello()->set_worker_id(7);
    request.mutable_hello()->set_name("w");
    request.mutable_hello()->add_queues("q");
    request.set_credit(1);
    EXPECT_TRUE(stream_->Write(request));
    v1::WorkResponse welcome;
    EXPECT_TRUE(stream_->Read(&welcome));
  }
  ~AskServiceTest() override { context_.TryCancel(); }
  // The next message that has what `wanted` looks for.
  template <typename F>
  v1::WorkResponse ReadUntil(F wanted) {
    v1::WorkResponse response;
    while (stream_->Read(&response)) {
      if (wanted(response)) return response;
    }
    ADD_FAILURE() << "the stream ended";
    return {};
  }
  absl::Status Control(v1::WorkerAction action, uint32_t children, v1::ControlWorkerResponse* response) {
    grpc::ClientContext context;
    Limit(context);
    v1::ControlWorkerRequest request;
    request.set_worker("w");
    request.set_action(action);
    request.set_children(children);
    return FromGrpc(workers_->ControlWorker(&context, request, response));
  }
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::WorkRequest, v1::WorkResponse>> stream_;
};

TEST_F(AskServiceTest, ATerminateIsAnsweredWithTheEndOfTheWork) {
  v1::PutResponse put;
  ASSERT_TRUE(Put("q", "x", &put).ok());
  ReadUntil([](const auto& response) { return response.groups_size() > 0; });
  auto cancelled = std::async(std::launch::async, [&] {
    grpc::ClientContext context;
    Limit(context);
    v1::CancelTaskRequest request;
    request.set_task_id(put.task_ids(0));
    request.set_terminate(true);
    request.set_wait_ms(10'000);
    v1::TaskInfo info;
    EXPECT_TRUE(tasks_->CancelTask(&context, request, &info).ok());
    return info;
  });
  const auto told = ReadUntil([](const auto& response) { return response.terminates_size() > 0; });
  v1::WorkRequest request;
  *request.add_stopped()->mutable_lease() = told.terminates(0);
  request.mutable_stopped(0)->set_end(v1::WORK_END_KILLED);
  ASSERT_TRUE(stream_->Write(request));
  const v1::TaskInfo info = cancelled.get();
  EXPECT_EQ(info.work_end(), v1::WORK_END_KILLED);
  EXPECT_EQ(info.task_id(), put.task_ids(0));
  EXPECT_EQ(info.outcome(), v1::OUTCOME_CANCELLED);
}

TEST_F(AskServiceTest, OutputComesFromTheWorker) {
  auto asked = std::async(std::launch::async, [&] {
    grpc::ClientContext context;
    Limit(context);
    v1::GetTaskLogRequest request;
    request.set_task_id(4711);
    v1::TaskLog log;
    EXPECT_TRUE(tasks_->GetTaskLog(&context, request, &log).ok());
    return log;
  });
  const auto told = ReadUntil([](const auto& response) { return response.log_asks_size() > 0; });
  EXPECT_EQ(told.log_asks(0).task_id(), 4711u);
  v1::WorkRequest request;
  auto& answer = *request.add_logs();
  answer.set_ask(told.log_asks(0).ask());
  answer.set_found(true);
  answer.mutable_log()->set_text("\xff\n");
  answer.mutable_log()->set_cut(true);
  ASSERT_TRUE(stream_->Write(request));
  const v1::TaskLog log = asked.get();
  EXPECT_EQ(log.text(), "\xff\n");
  EXPECT_TRUE(log.cut());
  EXPECT_EQ(log.worker(), "w");
}

TEST_F(AskServiceTest, AResizeIsNotLostBesideAPause) {
  v1::ControlWorkerResponse response;
  EXPECT_EQ(FieldOf(Control(v1::WORKER_ACTION_RESIZE, 0, &response)), "children");
  EXPECT_EQ(FieldOf(Control(v1::WORKER_ACTION_DRAIN, 3, &response)), "children");
  OnCore([&] {
    EXPECT_TRUE(loop_->broker().ControlWorker("w", core::WorkerAction::kResize, 3).ok());
    EXPECT_TRUE(loop_->broker().ControlWorker("w", core::WorkerAction::kPause).ok());
    return true;
  });
  const auto resized =
      ReadUntil([](const auto& message) { return message.action() == v1::WORKER_ACTION_RESIZE; });
  EXPECT_EQ(resized.children(), 3u);
  ReadUntil([](const auto& message) { return message.action() == v1::WORKER_ACTION_PAUSE; });
}

TEST_F(AskServiceTest, TheStatusOfAWorkerIsListed) {
  v1::WorkRequest request;
  request.mutable_status()->set_concurrency(8);
  request.mutable_status()->set_concurrency_min(2);
  request.mutable_status()->set_processes(1);
  request.mutable_status()->set_trouble("no child lives");
  ASSERT_TRUE(stream_->Write(request));
  ASSERT_TRUE(EventuallyOnCore([&] { return !loop_->broker().ListWorkers()[0].status.trouble.empty(); }));
  grpc::ClientContext context;
  Limit(context);
  v1::ListWorkersResponse workers;
  ASSERT_TRUE(workers_->ListWorkers(&context, {}, &workers).ok());
  EXPECT_EQ(workers.workers(0).state(), "failing");
  EXPECT_EQ(workers.workers(0).status().SerializeAsString(), request.status().SerializeAsString());
}

}  // namespace
}  // namespace joinq::testing
