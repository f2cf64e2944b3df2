// Queue, JoinableQueue and Client against a fake broker.
#include <gmock/gmock.h>
#include <joinq/client.h>

#include <atomic>

#include "common/names.h"
#include "common/rpc_status.h"
#include "tests/client/fake_broker.h"

namespace joinq::test {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;

class QueueTest : public testing::Test {
 protected:
  static ClientOptions Quick() {
    ClientOptions options;
    options.timeout = 10s;
    options.unavailable_after = 10s;
    return options;
  }
  static void Deliver(v1::GetResponse* response, const std::string& payload, const std::string& type = {}) {
    auto* task = response->add_tasks();
    task->set_task_id(12);
    task->mutable_lease()->set_task_id(12);
    task->mutable_lease()->set_epoch(3);
    task->mutable_lease()->set_sequence(45);
    task->set_payload(payload);
    task->set_content_type(type);
    task->set_attempt(2);
    task->set_lease_ms(60'000);
    auto* header = task->add_headers();
    header->set_name("trace");
    header->set_value("abc");
  }

  FakeBroker broker_;
  Client client_{broker_.url(), Quick()};
  JoinableQueue queue_ = client_.joinable_queue("q");
};

TEST_F(QueueTest, GetLeasesAndDoneNamesTheLease) {
  broker_.on_get = [](const v1::GetRequest& request, v1::GetResponse* response) {
    EXPECT_FALSE(request.ack());
    EXPECT_EQ(request.lease_ms(), 5000u);
    Deliver(response, "cat.png");
    return grpc::Status::OK;
  };
  std::atomic<int> dones{0};
  broker_.on_done = [&](const v1::DoneRequest& request) {
    EXPECT_EQ(request.queue(), "q");
    EXPECT_EQ(request.leases(0).sequence(), 45u);
    ++dones;
    return grpc::Status::OK;
  };
  const Task task = queue_.get(1s, 5s);
  EXPECT_EQ(task.payload(), "cat.png");
  EXPECT_EQ(task.lease().to_string(), "12-3-45");
  EXPECT_EQ(task.attempt(), 2u);
  EXPECT_THAT(task.headers(), ElementsAre(testing::Pair("trace", "abc")));
  task.done();
  queue_.task_done(std::vector<Task>{task});
  EXPECT_EQ(dones, 2);
}

TEST_F(QueueTest, TypedValues) {
  broker_.on_get = [](const v1::GetRequest&, v1::GetResponse* response) {
    Deliver(response, PackResult(std::vector<int>{1, 2}), kMsgpackType);
    return grpc::Status::OK;
  };
  EXPECT_THAT(queue_.get(1s).as<std::vector<int>>(), ElementsAre(1, 2));
  EXPECT_THROW(queue_.get(1s).as<std::string>(), DecodeError);
  EXPECT_THAT(client_.open_queue("q").get<std::vector<int>>(1s), ElementsAre(1, 2));
  queue_.put(std::vector<int>{3});
  queue_.put(7, kForever, {.handler = "square"});
  const auto requests = broker_.requests(0);
  EXPECT_EQ(requests[1].groups(0).content_type(), "msgpack");
  EXPECT_EQ(requests[1].groups(0).tasks(0).payload(), PackResult(std::vector<int>{3}));
  EXPECT_EQ(requests[2].groups(0).tasks(0).payload(), PackArgs(7));
}

TEST_F(QueueTest, EmptyAndClosed) {
  EXPECT_THROW(queue_.get_nowait(), Empty);
  EXPECT_THROW(queue_.get(20ms), Empty);
  broker_.on_get = [](const v1::GetRequest&, v1::GetResponse*) {
    return ToGrpc(FieldError(absl::StatusCode::kFailedPrecondition, "closed", "closed and drained"));
  };
  EXPECT_THROW(queue_.get(), Closed);
}

TEST_F(QueueTest, IterationEndsWhenClosedAndDrained) {
  std::atomic<int> left{3};
  broker_.on_get = [&](const v1::GetRequest& request, v1::GetResponse* response) {
    if (left-- <= 0) return ToGrpc(FieldError(absl::StatusCode::kFailedPrecondition, "closed", "drained"));
    EXPECT_TRUE(request.ack());
    Deliver(response, "x");
    return grpc::Status::OK;
  };
  int seen = 0;
  for (const std::string& item : client_.open_queue("q")) seen += item == "x";
  EXPECT_EQ(seen, 3);
}

TEST_F(QueueTest, WaitsGoOnThroughUnavailable) {
  std::atomic<int> calls{0};
  broker_.on_join = [&](const v1::JoinRequest&) {
    return ++calls < 3 ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "stopping") : grpc::Status::OK;
  };
  queue_.join(20s);
  EXPECT_EQ(calls, 3);
  broker_.on_join = [&](const v1::JoinRequest& request) {
    EXPECT_LE(request.timeout_ms(), 50u);
    return grpc::Status(grpc::StatusCode::DEADLINE_EXCEEDED, "unfinished");
  };
  EXPECT_THROW(queue_.join(50ms), Timeout);
}

TEST_F(QueueTest, StaleLease) {
  broker_.on_done = [](const v1::DoneRequest&) {
    return ToGrpc(FieldError(absl::StatusCode::kFailedPrecondition, "lease", "stale lease"));
  };
  const Task task = client_.leased_task("q", {.task_id = 12, .epoch = 1, .sequence = 2});
  try {
    task.done();
    FAIL();
  } catch (const StaleLease& error) {
    EXPECT_STREQ(error.what(), "task 12 of queue \"q\": stale lease");
  }
}

TEST_F(QueueTest, BadValuesAreNamedAndNotSent) {
  EXPECT_THROW(queue_.get(-1ms), InvalidArgument);
  EXPECT_THROW(queue_.put("x", -1ms), InvalidArgument);
  EXPECT_THROW(queue_.put("x", kForever, {.delay = -1s}), InvalidArgument);
  EXPECT_THROW(queue_.put("x", kForever, {.delay = 24h * 365}), InvalidArgument);
  EXPECT_THROW(queue_.put("x", kForever, {.handler = "a b"}), InvalidArgument);
  EXPECT_THROW(queue_.put("x", kForever, {.headers = {{"", "v"}}}), InvalidArgument);
  EXPECT_THROW(queue_.put("x", kForever, {.headers = {{"n", "\xff"}}}), InvalidArgument);
  EXPECT_THROW(queue_.get_batch(0), InvalidArgument);
  EXPECT_THROW(client_.open_queue(""), InvalidArgument);
  EXPECT_THROW(client_.open_queue(std::string(201, 'x')), InvalidArgument);
  EXPECT_THROW(Client("a:b:c"), InvalidArgument);
  EXPECT_THROW(Client("host:0"), InvalidArgument);
  EXPECT_EQ(broker_.streams(), 0);
}

TEST_F(QueueTest, LeasesAsText) {
  EXPECT_EQ(Lease::parse("12-3-45"), (Lease{12, 3, 45}));
  for (const char* bad : {"", "12", "12-3", "12-3-", "-1-3-4", "12-3-45-6", "a-b-c",
                          "12-3-99999999999999999999", " 1-2-3", "+1-2-3", "0-1-1"}) {
    EXPECT_EQ(Lease::parse(bad), std::nullopt) << bad;
  }
}

TEST_F(QueueTest, ControlCalls) {
  EXPECT_EQ(client_.queue_info("q").stats.ready, 3u);
  const auto queues = client_.list_queues();
  ASSERT_EQ(queues.size(), 2u);
  EXPECT_EQ(queues[1].name, "b");
  try {
    client_.queue_info("nowhere");
    FAIL();
  } catch (const NotFound& error) {
    EXPECT_STREQ(error.what(), "no queue \"nowhere\"");
  }
  EXPECT_THROW(client_.result(5), NotFound);
  client_.ping(5s);
}

}  // namespace
}  // namespace joinq::test
