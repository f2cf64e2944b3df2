// The options of a put on the wire, and what a put tells.
#include <gmock/gmock.h>
#include <joinq/client.h>

#include "tests/client/fake_broker.h"

namespace joinq::test {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

class PutTest : public testing::Test {
 protected:
  static ClientOptions Quick() {
    ClientOptions options;
    options.timeout = 10s;
    options.unavailable_after = 10s;
    options.linger = 100ms;
    return options;
  }
  // Acknowledges every task as number 7, which was there already.
  void AnswerExisting() {
    broker_.set_on_request([](int, const v1::ProduceRequest& request, FakeBroker::Stream* out) {
      v1::ProduceResponse response;
      for (const auto& task : TasksOf(request)) {
        auto* ack = response.add_acks();
        ack->set_first_tag(task.tag());
        ack->set_first_task_id(7);
        ack->set_count(1);
        ack->set_existing(true);
      }
      return response.acks_size() == 0 || out->Write(response);
    });
  }
  v1::PutGroup LastGroup() {
    v1::PutGroup last;
    for (const auto& request : broker_.requests(0)) {
      if (request.groups_size() > 0) last = request.groups(0);
    }
    return last;
  }
  // What is thrown names the field and says `part`.
  void ExpectRefused(const PutOptions& options, const std::string& field, const std::string& part) {
    try {
      queue_.put("x", kForever, options);
      ADD_FAILURE() << "put with a bad " << field;
    } catch (const InvalidArgument& error) {
      EXPECT_EQ(error.field(), field);
      EXPECT_THAT(error.what(), HasSubstr(field));
      EXPECT_THAT(error.what(), HasSubstr(part));
    }
  }

  FakeBroker broker_;
  Client client_{broker_.url(), Quick()};
  Queue queue_ = client_.open_queue("q");
};

TEST_F(PutTest, AllOptionsReachTheBroker) {
  const auto eta = std::chrono::time_point_cast<std::chrono::milliseconds>(TimePoint::clock::now() + 1h);
  queue_.put("x", kForever,
             {.headers = {{"a", "b"}},
              .eta = eta,
              .ttl = 2s,
              .priority = -5,
              .unique_key = "k",
              .unique_scope = UniqueScope::window,
              .unique_window = 3s,
              .request_id = "r1",
              .traceparent = "00-aa-bb-01"});
  const v1::PutGroup group = LastGroup();
  EXPECT_EQ(group.options().eta_unix_ms(), static_cast<uint64_t>(eta.time_since_epoch() / 1ms));
  EXPECT_EQ(group.options().delay_ms(), 0u);
  EXPECT_EQ(group.options().ttl_ms(), 2000u);
  EXPECT_EQ(group.options().priority(), -5);
  EXPECT_EQ(group.options().unique_scope(), v1::UNIQUE_SCOPE_WINDOW);
  EXPECT_EQ(group.options().unique_ms(), 3000u);
  EXPECT_EQ(group.tasks(0).unique_key(), "k");
  EXPECT_EQ(group.tasks(0).request_id(), "r1");
  ASSERT_EQ(group.tasks(0).headers_size(), 2);
  EXPECT_EQ(group.tasks(0).headers(1).name(), "traceparent");
  EXPECT_EQ(group.tasks(0).headers(1).value(), "00-aa-bb-01");
}

TEST_F(PutTest, APlainPutAsksForNothing) {
  queue_.put("x");
  const v1::PutGroup group = LastGroup();
  EXPECT_EQ(group.options().ByteSizeLong(), 0u) << group.options().DebugString();
  EXPECT_EQ(group.tasks(0).headers_size(), 0);
}

TEST_F(PutTest, AnEtaThatHasPassedMeansAtOnce) {
  queue_.put("x", kForever, {.eta = TimePoint(-5s)});
  EXPECT_EQ(LastGroup().options().eta_unix_ms(), 1u) << "0 would be none at all";
}

TEST_F(PutTest, TheReceiptTellsWhetherTheTaskExisted) {
  PutReceipt receipt = queue_.put_task("x", kForever, {.unique_key = "k"});
  EXPECT_EQ(receipt.id, kIdOffset + 1);
  EXPECT_FALSE(receipt.existing);
  EXPECT_EQ(receipt.durability, "memory");
  AnswerExisting();
  receipt = queue_.put_task(std::vector<int>{1}, kForever, {.unique_key = "k"});
  EXPECT_EQ(receipt.id, 7u);
  EXPECT_TRUE(receipt.existing);
  EXPECT_EQ(queue_.put("x", kForever, {.request_id = "r"}), 7u);
  Pool pool(client_, "q");
  const auto task = pool.apply_raw("h", "x", {.result_ttl = 1min, .unique_key = "k"});
  EXPECT_TRUE(task.existing(10s));
  EXPECT_EQ(task.id(), 7u);
  EXPECT_TRUE(LastGroup().watch());
  EXPECT_EQ(LastGroup().handler(), "h");
}

TEST_F(PutTest, ADurabilityThatCannotBeAskedIsEmptyAndThePutStands) {
  const PutReceipt receipt = client_.open_queue("nowhere").put_task("x");
  EXPECT_EQ(receipt.id, kIdOffset + 1);
  EXPECT_EQ(receipt.durability, "");
}

TEST_F(PutTest, KeysSurviveABrokenConnection) {
  broker_.set_on_request([](int stream, const v1::ProduceRequest& request, FakeBroker::Stream* out) {
    return stream > 0 ? FakeBroker::Echo(stream, request, out) : TasksOf(request).empty();
  });
  queue_.put("x", kForever, {.ttl = 1s, .unique_key = "k", .request_id = "r"});
  const v1::PutGroup group = broker_.requests(1).back().groups(0);
  EXPECT_EQ(group.tasks(0).unique_key(), "k");
  EXPECT_EQ(group.tasks(0).request_id(), "r");
  EXPECT_EQ(group.options().ttl_ms(), 1000u);
}

TEST_F(PutTest, PoolsPutWithTheirOptions) {
  Pool pool(client_, "q", {.ttl = 5s, .priority = 9});
  EXPECT_EQ(pool.apply_raw("h", "x").get(10s), "x");
  EXPECT_EQ(LastGroup().options().ttl_ms(), 5000u);
  EXPECT_EQ(LastGroup().options().priority(), 9);
}

TEST_F(PutTest, BadOptionsAreNamedAndNotSent) {
  ExpectRefused({.delay = 1s, .eta = TimePoint::clock::now()}, "eta", "excludes delay");
  ExpectRefused({.eta = TimePoint::clock::now() + 24h * 365}, "eta", "at most 24 days");
  ExpectRefused({.ttl = -1s}, "ttl", "0 to");
  ExpectRefused({.priority = 1001}, "priority", "-1000 to 1000");
  ExpectRefused({.priority = -1001}, "priority", "-1000 to 1000");
  ExpectRefused({.unique_key = std::string(201, 'x')}, "unique_key", "200");
  ExpectRefused({.unique_key = "\xff"}, "unique_key", "UTF-8");
  ExpectRefused({.unique_key = "k", .unique_scope = UniqueScope::window}, "unique_window", "1 ms or more");
  ExpectRefused({.unique_key = "k", .unique_window = 1s}, "unique_window", "only");
  ExpectRefused({.request_id = std::string(201, 'x')}, "request_id", "200");
  ExpectRefused({.traceparent = std::string(5000, 'x')}, "headers", "4096");
  EXPECT_THROW(queue_.put_batch({"a", "b"}, kForever, {.unique_key = "k"}), InvalidArgument);
  EXPECT_THROW(queue_.put_batch({"a", "b"}, kForever, {.request_id = "r"}), InvalidArgument);
  EXPECT_EQ(broker_.streams(), 0);
  EXPECT_EQ(queue_.put_batch({"a"}, kForever, {.request_id = "r"}).size(), 1u);
}

}  // namespace
}  // namespace joinq::test
