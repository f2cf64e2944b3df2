// Pool and its streams against a fake broker whose handlers are C++ functions.
#include <gmock/gmock.h>
#include <joinq/client.h>

#include <algorithm>
#include <ranges>
#include <thread>

#include "tests/client/fake_broker.h"

namespace joinq::test {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;

void AddResult(const v1::PutGroup& group, const v1::NewTask& task, v1::ProducedResult* result) {
  result->set_tag(task.tag());
  result->set_task_id(task.tag() + kIdOffset);
  result->set_outcome(v1::OUTCOME_SUCCEEDED);
  if (group.handler() == "add") {
    const auto [a, b] = UnpackArgs<int, int>(task.payload());
    result->set_payload(PackResult(a + b));
    result->set_content_type(kMsgpackType);
    return;
  }
  const auto [x] = UnpackArgs<int>(task.payload());
  if (group.handler() == "square") {
    result->set_payload(PackResult(x * x));
    result->set_content_type(kMsgpackType);
  } else if (x % 10 == 3) {
    result->set_outcome(v1::OUTCOME_FAILED);
    result->mutable_error()->set_kind(v1::FAILURE_KIND_TIME_LIMIT);
    result->mutable_error()->set_message("too slow: " + std::to_string(x));
    result->mutable_error()->set_detail("stderr");
  }
}

// Runs the tasks; the results of a message come in reverse.
bool Serve(int, const v1::ProduceRequest& request, FakeBroker::Stream* out) {
  v1::ProduceResponse response;
  for (const auto& group : request.groups()) {
    for (const auto& task : group.tasks()) AddResult(group, task, response.add_results());
  }
  std::reverse(response.mutable_results()->begin(), response.mutable_results()->end());
  if (response.results_size() > 0) out->Write(response);
  return true;
}

class PoolTest : public testing::Test {
 protected:
  PoolTest() { broker_.set_on_request(Serve); }

  FakeBroker broker_;
  Client client_{broker_.url()};
  Pool pool_{client_, "q"};
};

TEST_F(PoolTest, Apply) {
  EXPECT_EQ(pool_.apply<int>("add", 1, 2), 3);
  auto result = pool_.apply_async<int>("square", 5);
  EXPECT_TRUE(result.wait(10s));
  EXPECT_TRUE(result.ready());
  EXPECT_TRUE(result.successful());
  EXPECT_EQ(result.get(), 25);
  EXPECT_EQ(result.get(), 25);
  EXPECT_EQ(result.id(), kIdOffset + 2);
}

TEST_F(PoolTest, FailuresCarryTheRemoteError) {
  auto result = pool_.apply_async("fragile", 3);
  try {
    result.get(10s);
    FAIL();
  } catch (const TaskFailed& error) {
    EXPECT_EQ(error.kind(), FailureKind::time_limit);
    EXPECT_EQ(error.message(), "too slow: 3");
    EXPECT_EQ(error.detail(), "stderr");
    EXPECT_EQ(error.task_id(), kIdOffset + 1);
    EXPECT_STREQ(error.what(), "task 1001 failed: time limit: too slow: 3");
  }
  EXPECT_FALSE(result.successful());
}

TEST_F(PoolTest, MapKeepsTheOrder) {
  std::vector<int> inputs(20'000);
  for (size_t i = 0; i < inputs.size(); ++i) inputs[i] = static_cast<int>(i % 1000);
  const auto results = pool_.map<int>("square", inputs);
  ASSERT_EQ(results.size(), inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) ASSERT_EQ(results[i], inputs[i] * inputs[i]);
  EXPECT_TRUE(pool_.map<int>("square", std::vector<int>()).empty());
}

TEST_F(PoolTest, MapThrowsTheFirstFailureByInput) {
  try {
    pool_.map<nlohmann::json>("fragile", std::vector<int>{13, 3});
    FAIL();
  } catch (const TaskFailed& error) {
    EXPECT_EQ(error.message(), "too slow: 13");
  }
}

TEST_F(PoolTest, ImapUnorderedTakesInputsLazily) {
  PoolOptions options;
  options.window = 16;
  Pool pool(client_, "q", options);
  int taken = 0;
  int yielded = 0;
  auto inputs = std::views::iota(0, 1000) | std::views::transform([&](int x) {
                  ++taken;
                  EXPECT_LE(taken - yielded, 17);
                  return x;
                });
  std::vector<int> results;
  for (int y : pool.imap_unordered<int>("square", inputs)) {
    results.push_back(y);
    ++yielded;
  }
  std::sort(results.begin(), results.end());
  ASSERT_EQ(results.size(), 1000u);
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(results[i], i * i);
}

TEST_F(PoolTest, ImapGoesOnAfterAFailure) {
  auto range = pool_.imap<nlohmann::json>("fragile", std::vector<int>{2, 3, 4});
  std::vector<int> failed;
  int good = 0;
  for (auto it = range.begin(); it != range.end(); ++it) {
    try {
      if (it.outcome().succeeded) {
        ++good;
      } else {
        static_cast<void>(*it);
      }
    } catch (const TaskFailed&) {
      failed.push_back(static_cast<int>(it.outcome().index));
    }
  }
  EXPECT_EQ(good, 2);
  EXPECT_THAT(failed, ElementsAre(1));
}

TEST_F(PoolTest, StreamWithTwoThreads) {
  PoolOptions options;
  options.window = 64;
  Pool pool(client_, "q", options);
  TaskStream stream = pool.stream("square", true);
  std::thread submitter([&] {
    for (int i = 0; i < 5000; ++i) stream.submit(PackArgs(i % 100), kMsgpackType, i % 7 != 0);
    stream.close();
  });
  uint64_t expected = 0;
  while (auto outcome = stream.next()) {
    ASSERT_EQ(outcome->index, expected);
    ASSERT_EQ(outcome->as<int>(), static_cast<int>((expected % 100) * (expected % 100)));
    ++expected;
  }
  submitter.join();
  EXPECT_EQ(expected, 5000u);
  EXPECT_THROW(stream.submit("x"), Closed);
}

TEST_F(PoolTest, CloseAndJoin) {
  EXPECT_THROW(pool_.join(1s), InvalidArgument);
  auto result = pool_.apply_async<int>("square", 2);
  pool_.close();
  pool_.join(10s);
  EXPECT_TRUE(result.ready());
  EXPECT_THROW(pool_.apply<int>("square", 2), Closed);
}

TEST_F(PoolTest, BadNames) {
  EXPECT_THROW(pool_.apply("no such name"), InvalidArgument);
  EXPECT_THROW(Pool(client_, "a/b"), InvalidArgument);
}

}  // namespace
}  // namespace joinq::test
