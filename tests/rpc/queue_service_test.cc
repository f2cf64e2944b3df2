#include "common/names.h"
#include "tests/rpc/rpc_fixture.h"

namespace joinq::testing {
namespace {

struct QueueServiceTest : RpcFixture {
  absl::Status Get(const std::string& queue, uint32_t timeout_ms, v1::GetResponse* response) {
    grpc::ClientContext context;
    Limit(context);
    v1::GetRequest request;
    request.set_queue(queue);
    request.set_timeout_ms(timeout_ms);
    request.set_no_wait(timeout_ms == 0);
    return FromGrpc(queues_->Get(&context, request, response));
  }
};

TEST_F(QueueServiceTest, PutGetDoneJoin) {
  ASSERT_TRUE(Create("q").ok());
  v1::PutResponse put;
  ASSERT_TRUE(Put("q", "hello", &put).ok());
  ASSERT_EQ(put.task_ids_size(), 1);
  EXPECT_EQ(put.durability(), "memory");
  v1::GetResponse got;
  ASSERT_TRUE(Get("q", 0, &got).ok());
  ASSERT_EQ(got.tasks_size(), 1);
  EXPECT_EQ(got.tasks(0).payload(), "hello");
  grpc::ClientContext done_context, join_context;
  Limit(done_context);
  v1::DoneRequest done;
  done.set_queue("q");
  *done.add_leases() = got.tasks(0).lease();
  v1::DoneResponse done_response;
  EXPECT_TRUE(queues_->Done(&done_context, done, &done_response).ok());
  Limit(join_context);
  v1::JoinRequest join;
  join.set_queue("q");
  v1::JoinResponse join_response;
  EXPECT_TRUE(queues_->Join(&join_context, join, &join_response).ok());
}

TEST_F(QueueServiceTest, ErrorsNameTheFieldInTheStandardDetail) {
  const absl::Status bad = Create("a b");
  EXPECT_EQ(bad.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(FieldOf(bad), "name");
  EXPECT_EQ(Put("nope", "x").code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(Create("q").ok());
  const absl::Status large = Put("q", std::string(kPayloadBytesMaxDefault + 1, 'x'));
  EXPECT_EQ(large.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(FieldOf(large), "tasks[0].payload");
  EXPECT_EQ(Put("q", std::string(8 << 20, 'x')).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(Info("q").stats().put_total(), 0u);
}

TEST_F(QueueServiceTest, HeadersAndOptionsArriveAndAreChecked) {
  ASSERT_TRUE(Create("q").ok());
  grpc::ClientContext context, bad_context, options_context;
  Limit(context);
  v1::PutRequest request;
  request.set_queue("q");
  request.set_handler("resize");
  auto* task = request.add_tasks();
  auto* header = task->add_headers();
  header->set_name("trace");
  header->set_value("abc");
  v1::PutResponse response;
  ASSERT_TRUE(queues_->Put(&context, request, &response).ok());
  v1::GetResponse got;
  ASSERT_TRUE(Get("q", 0, &got).ok());
  EXPECT_EQ(got.tasks(0).handler(), "resize");
  ASSERT_EQ(got.tasks(0).headers_size(), 1);
  EXPECT_EQ(got.tasks(0).headers(0).value(), "abc");
  Limit(bad_context);
  header->set_value(std::string("a\0b", 3));
  EXPECT_EQ(FieldOf(FromGrpc(queues_->Put(&bad_context, request, &response))), "headers.value");
  Limit(options_context);
  header->set_value("fine");
  request.mutable_options()->set_max_attempts(100'000);
  EXPECT_EQ(FieldOf(FromGrpc(queues_->Put(&options_context, request, &response))), "options.max_attempts");
}

TEST_F(QueueServiceTest, AParkedGetIsWokenByAPutAndTimesOutOtherwise) {
  ASSERT_TRUE(Create("q").ok());
  v1::GetResponse got;
  EXPECT_EQ(Get("q", 30, &got).code(), absl::StatusCode::kDeadlineExceeded);
  auto parked = std::async(std::launch::async, [&] { return Get("q", 10'000, &got); });
  ASSERT_TRUE(EventuallyOnCore([&] { return loop_->broker().parked_count() == 1; }));
  ASSERT_TRUE(Put("q", "x").ok());
  EXPECT_TRUE(parked.get().ok());
  EXPECT_EQ(got.tasks_size(), 1);
}

TEST_F(QueueServiceTest, ATaskForACancelledGetGoesToTheNextOne) {
  ASSERT_TRUE(Create("q").ok());
  grpc::ClientContext context;
  Limit(context);
  v1::GetRequest request;
  request.set_queue("q");
  v1::GetResponse lost;
  auto parked = std::async(std::launch::async, [&] { return queues_->Get(&context, request, &lost); });
  ASSERT_TRUE(EventuallyOnCore([&] { return loop_->broker().parked_count() == 1; }));
  context.TryCancel();
  EXPECT_EQ(parked.get().error_code(), grpc::StatusCode::CANCELLED);
  ASSERT_TRUE(EventuallyOnCore([&] { return loop_->broker().parked_count() == 0; }));
  ASSERT_TRUE(Put("q", "x").ok());
  v1::GetResponse got;
  EXPECT_TRUE(Get("q", 0, &got).ok());
}

TEST_F(QueueServiceTest, ManyParkedCallsAreAllAnsweredWhenTheBrokerStops) {
  ASSERT_TRUE(Create("q").ok());
  std::vector<std::future<absl::Status>> parked;
  std::vector<v1::GetResponse> responses(20);
  for (auto& response : responses) {
    parked.push_back(std::async(std::launch::async, [&] { return Get("q", 60'000, &response); }));
  }
  ASSERT_TRUE(EventuallyOnCore([&] { return loop_->broker().parked_count() == 20; }));
  Stop();
  for (auto& call : parked) EXPECT_EQ(call.get().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace joinq::testing
