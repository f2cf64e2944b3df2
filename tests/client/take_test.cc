// Gets of several queues, and what a consumer says about the task it holds.
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

class TakeTest : public testing::Test {
 protected:
  TakeTest() {
    broker_.on_get = [](const v1::GetRequest&, v1::GetResponse* response) {
      auto* task = response->add_tasks();
      task->set_task_id(12);
      task->mutable_lease()->set_task_id(12);
      task->mutable_lease()->set_epoch(3);
      task->mutable_lease()->set_sequence(45);
      task->set_queue("b");
      return grpc::Status::OK;
    };
  }
  static ClientOptions Quick() {
    ClientOptions options;
    options.timeout = 10s;
    options.unavailable_after = 10s;
    return options;
  }

  FakeBroker broker_;
  Client client_{broker_.url(), Quick()};
  const Task task_ = client_.leased_task("q", {12, 3, 45});
};

TEST_F(TakeTest, ATaskOfSeveralQueuesKnowsItsOwn) {
  const Task task = client_.get_any({{"a", 3}, {"b"}}, 1s);
  EXPECT_EQ(task.queue(), "b");
  const auto sent = broker_.Last<v1::GetRequest>();
  EXPECT_EQ(sent.queue(), "");
  ASSERT_EQ(sent.queues_size(), 2);
  EXPECT_EQ(sent.queues(0).queue(), "a");
  EXPECT_EQ(sent.queues(0).weight(), 3u);
  EXPECT_EQ(sent.queues(1).weight(), 1u);
  task.done();
  EXPECT_EQ(broker_.Last<v1::DoneRequest>().queue(), "b");
}

TEST_F(TakeTest, ManyOfSeveralQueues) {
  client_.get_any_batch({{"a"}}, 7, {.timeout = 1s, .lease = 5s});
  EXPECT_EQ(broker_.Last<v1::GetRequest>().max_tasks(), 7u);
  EXPECT_EQ(broker_.Last<v1::GetRequest>().lease_ms(), 5000u);
  client_.get_any_batch({{"a"}}, 7, {.timeout = 0s, .ack = true});
  EXPECT_TRUE(broker_.Last<v1::GetRequest>().ack());
  EXPECT_TRUE(broker_.Last<v1::GetRequest>().no_wait());
}

TEST_F(TakeTest, BadQueuesAreNamedAndNotSent) {
  EXPECT_THROW(client_.get_any({}), InvalidArgument);
  EXPECT_THROW(client_.get_any({{"a", 0}}), InvalidArgument);
  EXPECT_THROW(client_.get_any({{"a", 1001}}), InvalidArgument);
  EXPECT_THROW(client_.get_any({{"a b"}}), InvalidArgument);
  EXPECT_THROW(client_.get_any(std::vector<WeightedQueue>(101, {"a"})), InvalidArgument);
  EXPECT_THROW(client_.get_any_batch({{"a"}}, 0), InvalidArgument);
  EXPECT_THROW(client_.get_any_batch({{"a"}}, 1001), InvalidArgument);
  EXPECT_TRUE(broker_.Sent<v1::GetRequest>().empty());
}

TEST_F(TakeTest, EmptyAndClosedNameAllQueues) {
  broker_.on_get = [](const v1::GetRequest&, v1::GetResponse*) {
    return grpc::Status(grpc::StatusCode::DEADLINE_EXCEEDED, "empty");
  };
  try {
    client_.get_any({{"a"}, {"b"}}, 0s);
    FAIL();
  } catch (const Empty& error) {
    EXPECT_STREQ(error.what(), "each of the queues \"a\", \"b\" is empty");
  }
  broker_.on_get = [](const v1::GetRequest&, v1::GetResponse*) {
    return ToGrpc(FieldError(absl::StatusCode::kFailedPrecondition, "closed", "all are"));
  };
  EXPECT_THROW(client_.get_any({{"a"}, {"b"}}), Closed);
}

TEST_F(TakeTest, DoneMayPutWhatFollows) {
  broker_.Answer<v1::DoneRequest, v1::DoneResponse>([](const auto& request, auto* response) {
    for (int i = 0; i < request.follow_ups_size(); ++i) response->add_follow_up_ids(70 + i);
    return grpc::Status::OK;
  });
  EXPECT_THAT(task_.done(7, {FollowUp::call("next", "add", 1, 2),
                             FollowUp{"log", "text", {}, {.priority = 3, .unique_key = "k"}}}),
              ElementsAre(70, 71));
  const auto sent = broker_.Last<v1::DoneRequest>();
  EXPECT_EQ(sent.result(), PackResult(7));
  ASSERT_EQ(sent.follow_ups_size(), 2);
  EXPECT_EQ(sent.follow_ups(0).queue(), "next");
  EXPECT_EQ(sent.follow_ups(0).handler(), "add");
  EXPECT_EQ(sent.follow_ups(0).content_type(), kMsgpackType);
  EXPECT_EQ(sent.follow_ups(0).tasks(0).payload(), PackArgs(1, 2));
  EXPECT_EQ(sent.follow_ups(1).tasks(0).payload(), "text");
  EXPECT_EQ(sent.follow_ups(1).tasks(0).unique_key(), "k");
  EXPECT_EQ(sent.follow_ups(1).options().priority(), 3);
  EXPECT_THAT(task_.done_then({FollowUp{"log", "x"}}), ElementsAre(70));
  EXPECT_EQ(broker_.Last<v1::DoneRequest>().result(), "");
  task_.done();
  EXPECT_EQ(broker_.Last<v1::DoneRequest>().follow_ups_size(), 0);
}

TEST_F(TakeTest, BadFollowUpsAreNamedAndNothingIsDone) {
  EXPECT_THROW(task_.done_then({FollowUp{"a b", "x"}}), InvalidArgument);
  EXPECT_THROW(task_.done_then({FollowUp{"q", "x", {}, {.priority = 5000}}}), InvalidArgument);
  EXPECT_THROW(task_.done_then(std::vector<FollowUp>(1001, FollowUp{"q", "x"})), InvalidArgument);
  EXPECT_TRUE(broker_.Sent<v1::DoneRequest>().empty());
  broker_.Answer<v1::DoneRequest, v1::DoneResponse>([](const auto&, auto*) {
    return ToGrpc(FieldError(absl::StatusCode::kNotFound, "follow_ups.queue", "no queue \"gone\""));
  });
  EXPECT_THROW(task_.done_then({FollowUp{"gone", "x"}}), NotFound);
}

TEST_F(TakeTest, ProgressIsReported) {
  task_.progress("half of it");
  const auto sent = broker_.Last<v1::ReportProgressRequest>();
  EXPECT_EQ(sent.queue(), "q");
  EXPECT_EQ(sent.lease().sequence(), 45u);
  EXPECT_EQ(sent.progress(), "half of it");
  EXPECT_THROW(task_.progress(std::string(4097, 'x')), InvalidArgument);
  EXPECT_THROW(task_.progress("\xff"), InvalidArgument);
}

}  // namespace
}  // namespace joinq::test
