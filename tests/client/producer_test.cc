// The producer's stream through the public API, against a broker that misbehaves.
#include <gmock/gmock.h>
#include <joinq/client.h>

#include <future>
#include <thread>

#include "common/names.h"
#include "tests/client/fake_broker.h"

namespace joinq::test {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;

ClientOptions Quick() {
  ClientOptions options;
  options.timeout = 10s;
  options.unavailable_after = 10s;
  options.linger = 100ms;
  return options;
}

std::vector<uint64_t> Tags(const std::vector<v1::NewTask>& tasks) {
  std::vector<uint64_t> tags;
  for (const auto& task : tasks) tags.push_back(task.tag());
  return tags;
}

TEST(ProducerTest, PutAnswersWithTheTasksId) {
  FakeBroker broker;
  Client client(broker.url(), Quick());
  EXPECT_EQ(client.open_queue("q").put("one", 10s), kIdOffset + 1);
  EXPECT_EQ(client.open_queue("q").put("two"), kIdOffset + 2);
  const auto requests = broker.requests(0);
  ASSERT_EQ(requests.size(), 3u);
  EXPECT_NE(requests[0].hello().producer_id(), 0u);
  EXPECT_FALSE(requests[1].has_hello());
  EXPECT_EQ(requests[1].groups(0).timeout_ms(), 10'000u);
  EXPECT_EQ(requests[2].groups(0).timeout_ms(), 0u);
  EXPECT_EQ(requests[2].acked_below(), 2u);
}

TEST(ProducerTest, BatchesGather) {
  FakeBroker broker;
  Client client(broker.url(), Quick());
  std::vector<std::string> payloads;
  for (int i = 0; i < 5000; ++i) payloads.push_back(std::to_string(i));
  const auto ids = client.open_queue("q").put_batch(payloads);
  ASSERT_EQ(ids.size(), 5000u);
  for (size_t i = 0; i < ids.size(); ++i) ASSERT_EQ(ids[i], kIdOffset + 1 + i);
  const auto requests = broker.requests(0);
  EXPECT_LT(requests.size(), 60u);
  const auto tasks = TasksOf(requests);
  ASSERT_EQ(tasks.size(), 5000u);
  for (size_t i = 0; i < tasks.size(); ++i) ASSERT_EQ(tasks[i].payload(), payloads[i]);
}

TEST(ProducerTest, BrokenStreamSendsTheUnacknowledgedAgainUnderTheirTags) {
  FakeBroker broker;
  // The first stream acknowledges the second task of three only, then breaks.
  broker.set_on_request([](int stream, const v1::ProduceRequest& request, FakeBroker::Stream* out) {
    if (stream > 0) return FakeBroker::Echo(stream, request, out);
    const auto tasks = TasksOf(request);
    if (tasks.empty()) return true;
    v1::ProduceResponse response;
    for (const auto& task : tasks) {
      if (task.payload() != "b") continue;
      auto* ack = response.add_acks();
      ack->set_first_tag(task.tag());
      ack->set_first_task_id(77);
      ack->set_count(1);
    }
    out->Write(response);
    return tasks.back().payload() != "c";
  });
  Client client(broker.url(), Quick());
  const auto ids = client.open_queue("q").put_batch({"a", "b", "c"});
  EXPECT_EQ(ids[1], 77u);
  EXPECT_EQ(ids[0], kIdOffset + 1);
  EXPECT_EQ(ids[2], kIdOffset + 3);
  const auto again = TasksOf(broker.requests(1));
  EXPECT_THAT(Tags(again), ElementsAre(1, 3));
  EXPECT_EQ(again[0].payload(), "a");
  EXPECT_EQ(again[1].payload(), "c");
  EXPECT_EQ(broker.requests(0)[0].hello().producer_id(), broker.requests(1)[0].hello().producer_id());
}

TEST(ProducerTest, AwaitedResultsAreWatchedAfterABreak) {
  FakeBroker broker;
  broker.set_on_request([](int stream, const v1::ProduceRequest& request, FakeBroker::Stream* out) {
    v1::ProduceResponse response;
    for (const auto& task : TasksOf(request)) {
      auto* ack = response.add_acks();
      ack->set_first_tag(task.tag());
      ack->set_first_task_id(500 + task.tag());
      ack->set_count(1);
    }
    for (const auto& watch : request.watches()) {
      auto* result = response.add_results();
      result->set_tag(watch.tag());
      result->set_task_id(watch.task_id());
      result->set_outcome(v1::OUTCOME_SUCCEEDED);
      result->set_payload("late");
    }
    const bool answered = response.ByteSizeLong() > 0;
    if (answered) out->Write(response);
    return stream > 0 || !answered;
  });
  Client client(broker.url(), Quick());
  Pool pool(client, "q");
  auto result = pool.apply_raw("h", "x");
  EXPECT_EQ(result.get(10s), "late");
  EXPECT_EQ(result.id(), 501u);
  const auto requests = broker.requests(1);
  ASSERT_GE(requests.size(), 2u);
  EXPECT_EQ(requests[1].watches(0).task_id(), 501u);
  EXPECT_TRUE(TasksOf(requests).empty()) << "an acknowledged put is not sent again";
}

TEST(ProducerTest, AForgottenResultIsAnError) {
  FakeBroker broker;
  broker.set_on_request([](int, const v1::ProduceRequest& request, FakeBroker::Stream* out) {
    for (const auto& task : TasksOf(request)) {
      v1::ProduceResponse response;
      auto* result = response.add_results();
      result->set_tag(task.tag());
      result->set_task_id(9);
      result->mutable_error()->set_message("unknown task");
      out->Write(response);
    }
    return true;
  });
  Client client(broker.url(), Quick());
  Pool pool(client, "q");
  try {
    pool.apply_raw("h", "x").get(10s);
    FAIL();
  } catch (const TaskFailed& error) {
    EXPECT_EQ(error.kind(), FailureKind::forgotten);
    EXPECT_EQ(error.task_id(), 9u);
  }
}

TEST(ProducerTest, ResultsMayOutrunAcksAndComeTwice) {
  FakeBroker broker;
  broker.set_on_request([](int, const v1::ProduceRequest& request, FakeBroker::Stream* out) {
    for (const auto& task : TasksOf(request)) {
      v1::ProduceResponse response;
      for (int i = 0; i < 2; ++i) {
        auto* result = response.add_results();
        result->set_tag(task.tag());
        result->set_task_id(42);
        result->set_outcome(v1::OUTCOME_SUCCEEDED);
        result->set_payload(task.payload());
      }
      out->Write(response);
      v1::ProduceResponse ack;
      ack.add_acks()->set_first_tag(task.tag());
      ack.mutable_acks(0)->set_first_task_id(42);
      ack.mutable_acks(0)->set_count(1);
      out->Write(ack);
    }
    return true;
  });
  Client client(broker.url(), Quick());
  Pool pool(client, "q");
  for (int i = 0; i < 100; ++i) EXPECT_EQ(pool.apply_raw("h", std::to_string(i)).get(10s), std::to_string(i));
}

TEST(ProducerTest, AFailedBatchSaysWhatWasPut) {
  FakeBroker broker;
  broker.set_on_request([](int stream, const v1::ProduceRequest& request, FakeBroker::Stream* out) {
    v1::ProduceRequest good = request;
    v1::ProduceResponse refusals;
    for (auto& group : *good.mutable_groups()) {
      auto* tasks = group.mutable_tasks();
      for (int i = tasks->size() - 1; i >= 0; --i) {
        if (tasks->Get(i).payload() != "bad") continue;
        auto* error = refusals.add_errors();
        error->set_tag(tasks->Get(i).tag());
        error->set_code(5);
        tasks->DeleteSubrange(i, 1);
      }
    }
    if (refusals.errors_size() > 0) out->Write(refusals);
    return FakeBroker::Echo(stream, good, out);
  });
  Client client(broker.url(), Quick());
  try {
    client.open_queue("q").put_batch({"a", "bad", "c"});
    FAIL() << "all was put";
  } catch (const NotFound& error) {
    EXPECT_THAT(error.put_ids(), ElementsAre(kIdOffset + 1, 0, kIdOffset + 3));
  }
}

TEST(ProducerTest, RefusedPutsThrowByTheirCode) {
  FakeBroker broker;
  broker.set_on_request([](int, const v1::ProduceRequest& request, FakeBroker::Stream* out) {
    for (const auto& task : TasksOf(request)) {
      v1::ProduceResponse response;
      auto* error = response.add_errors();
      error->set_tag(task.tag());
      error->set_code(std::stoi(task.payload()));
      error->set_message("because");
      error->set_field("tasks.payload");
      out->Write(response);
    }
    return true;
  });
  Client client(broker.url(), Quick());
  const Queue queue = client.open_queue("q");
  EXPECT_THROW(queue.put("4", 1s), Full);
  EXPECT_THROW(queue.put("9"), Closed);
  EXPECT_THROW(queue.put("5"), NotFound);
  EXPECT_THROW(queue.put("8"), Overloaded);
  EXPECT_THROW(queue.put("7"), NotAllowed);
  try {
    queue.put("3");
    FAIL();
  } catch (const InvalidArgument& error) {
    EXPECT_EQ(error.field(), "tasks.payload");
    EXPECT_THAT(error.what(), HasSubstr("because"));
  }
}

TEST(ProducerTest, TooLargePayloadsAreRefusedWithoutASend) {
  FakeBroker broker;
  Client client(broker.url(), Quick());
  const Queue queue = client.open_queue("q");
  EXPECT_THROW(queue.put(std::string(5 << 20, 'x')), InvalidArgument);
  queue.put("learns the limit");
  EXPECT_THROW(queue.put(std::string(kPayloadBytesMaxDefault + 1, 'x')), InvalidArgument);
  EXPECT_NO_THROW(queue.put(std::string(kPayloadBytesMaxDefault, 'x')));
}

TEST(ProducerTest, TheWindowBlocksSubmitters) {
  FakeBroker broker;
  std::promise<void> release;
  auto released = release.get_future().share();
  broker.set_on_request([released](int stream, const v1::ProduceRequest& request, FakeBroker::Stream* out) {
    if (!TasksOf(request).empty()) released.wait_for(10s);
    return FakeBroker::Echo(stream, request, out);
  });
  auto options = Quick();
  options.window_tasks = 4;
  Client client(broker.url(), options);
  Pool pool(client, "q");
  std::atomic<int> submitted{0};
  std::vector<AsyncResult<std::string>> results;
  std::thread submitter([&] {
    for (int i = 0; i < 10; ++i) {
      results.push_back(pool.apply_raw("h", "x"));
      ++submitted;
    }
  });
  EXPECT_TRUE(broker.WaitFor([&](FakeBroker&) { return submitted == 4; }));
  EXPECT_LE(submitted, 4);
  release.set_value();
  submitter.join();
  for (auto& result : results) EXPECT_EQ(result.get(10s), "x");
}

TEST(ProducerTest, NoBrokerIsUnavailableInTime) {
  int port;
  { port = FakeBroker().port(); }
  auto options = Quick();
  options.unavailable_after = 300ms;
  Client client("127.0.0.1:" + std::to_string(port), options);
  const auto began = std::chrono::steady_clock::now();
  EXPECT_THROW(client.open_queue("q").put("x"), Unavailable);
  EXPECT_LT(std::chrono::steady_clock::now() - began, 5s);
  // And it works once a broker is there.
  FakeBroker broker(port);
  if (broker.port() != port) GTEST_SKIP() << "the port was taken meanwhile";
  EXPECT_NO_THROW(client.open_queue("q").put("x"));
}

TEST(ProducerTest, SurvivesARestart) {
  auto broker = std::make_unique<FakeBroker>();
  const int port = broker->port();
  Client client(broker->url(), Quick());
  const Queue queue = client.open_queue("q");
  queue.put("before");
  broker->Stop();
  auto put = std::async(std::launch::async, [&] { return queue.put("after"); });
  broker = std::make_unique<FakeBroker>(port);
  ASSERT_EQ(broker->port(), port);
  ASSERT_EQ(put.wait_for(10s), std::future_status::ready);
  EXPECT_EQ(put.get(), kIdOffset + 2);
}

TEST(ProducerTest, AWithdrawnPutIsNotSentAgain) {
  FakeBroker broker;
  broker.set_on_request([](int, const v1::ProduceRequest&, FakeBroker::Stream*) { return true; });  // silent
  auto options = Quick();
  options.timeout = 1ms;
  Client client(broker.url(), options);
  auto put = std::async(std::launch::async, [&] { client.open_queue("q").put_nowait("lost"); });
  ASSERT_EQ(put.wait_for(15s), std::future_status::ready);
  EXPECT_THROW(put.get(), Timeout);
  broker.set_on_request([](int stream, const v1::ProduceRequest& request, FakeBroker::Stream* out) {
    return stream > 0 ? FakeBroker::Echo(stream, request, out) : false;
  });
  EXPECT_EQ(client.open_queue("q").put("kept"), kIdOffset + 2);
  EXPECT_THAT(Tags(TasksOf(broker.requests(1))), ElementsAre(2));
}

TEST(ProducerTest, ManyThreads) {
  FakeBroker broker;
  Client client(broker.url(), Quick());
  Pool pool(client, "q");
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 500; ++i) {
        const std::string payload = std::to_string(t) + "/" + std::to_string(i);
        good += pool.apply_raw("h" + std::to_string(t % 2), payload).get(10s) == payload;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(good, 4000);
}

TEST(ProducerTest, ResultsOutliveTheClientAsErrors) {
  FakeBroker broker;
  broker.set_on_request([](int, const v1::ProduceRequest&, FakeBroker::Stream*) { return true; });
  std::optional<AsyncResult<std::string>> result;
  {
    Client client(broker.url(), Quick());
    Pool pool(client, "q");
    result = pool.apply_raw("h", "x");
  }
  EXPECT_THROW(result->get(1s), Unavailable);
}

}  // namespace
}  // namespace joinq::test
