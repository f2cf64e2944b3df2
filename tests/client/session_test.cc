// Leases that hang on the client's session: kept up, named anew, cancelled, given back.
#include <gmock/gmock.h>
#include <joinq/client.h>

#include <atomic>
#include <future>
#include <optional>

#include "common/names.h"
#include "common/rpc_status.h"
#include "tests/client/fake_broker.h"
#include "tests/client/fake_sessions.h"

namespace joinq::test {
namespace {

using namespace std::chrono_literals;

ClientOptions Quick() {
  ClientOptions options;
  options.timeout = 10s;
  options.unavailable_after = 10s;
  options.name = "tester";
  return options;
}

v1::Lease WireLease(uint64_t id) {
  v1::Lease lease;
  lease.set_task_id(id);
  lease.set_epoch(3);
  lease.set_sequence(id + 100);
  return lease;
}

class SessionTest : public testing::Test {
 protected:
  SessionTest() {
    broker_.on_get = [this](const v1::GetRequest&, v1::GetResponse* response) {
      const uint64_t id = ++tasks_;
      auto* task = response->add_tasks();
      task->set_task_id(id);
      *task->mutable_lease() = WireLease(id);
      return grpc::Status::OK;
    };
  }
  v1::GetRequest LastGet() { return broker_.Last<v1::GetRequest>(); }

  FakeSessions sessions_;
  FakeBroker broker_{0, {&sessions_}};
  std::atomic<uint64_t> tasks_{0};
  std::optional<Client> client_{std::in_place, broker_.url(), Quick()};
};

TEST_F(SessionTest, AGetWithoutALeaseTimeHangsOnTheSession) {
  auto queue = client_->open_joinable_queue("q");
  EXPECT_TRUE(sessions_.hellos().empty()) << "a session before it is needed";
  const Task task = queue.get(5s);
  const auto hellos = sessions_.hellos();
  ASSERT_EQ(hellos.size(), 1u);
  EXPECT_NE(hellos[0].session_id(), 0u);
  EXPECT_EQ(hellos[0].name(), "tester");
  EXPECT_FALSE(hellos[0].host().empty());
  EXPECT_GT(hellos[0].pid(), 0u);
  EXPECT_EQ(LastGet().session_id(), hellos[0].session_id());
  EXPECT_EQ(LastGet().lease_ms(), 0u);
  EXPECT_EQ(task.lease_time(), 0ms);
  EXPECT_FALSE(task.cancelled());
  queue.get_batch(2, 5s);
  EXPECT_EQ(LastGet().session_id(), hellos[0].session_id());
  EXPECT_EQ(sessions_.hellos().size(), 1u) << "one stream a client";
}

TEST_F(SessionTest, OthersNeedNone) {
  client_->open_joinable_queue("q").get(5s, 20s);
  EXPECT_EQ(LastGet().session_id(), 0u);
  EXPECT_EQ(LastGet().lease_ms(), 20'000u);
  client_->open_joinable_queue("q").get_batch(3, 5s, 0s);
  client_->open_queue("q").get(5s);
  EXPECT_EQ(LastGet().session_id(), 0u);
  EXPECT_TRUE(LastGet().ack());
  EXPECT_TRUE(sessions_.hellos().empty());
}

TEST_F(SessionTest, BeatsComeByThemselves) {
  sessions_.session_timeout_ms = 60;
  const Task task = client_->open_joinable_queue("q").get(5s);
  EXPECT_TRUE(sessions_.WaitFor([this] { return sessions_.beats() >= 5; }));
  EXPECT_EQ(sessions_.hellos().size(), 1u);
}

TEST_F(SessionTest, ABrokenStreamIsOpenedAnewWithWhatIsHeld) {
  auto queue = client_->open_joinable_queue("q");
  const Task held = queue.get(5s);
  const Task done = queue.get(5s);
  const Task released = queue.get(5s);
  queue.get(5s);  // nobody holds it any more
  Task copy = queue.get(5s);
  done.done();
  released.release();
  sessions_.Break();
  ASSERT_TRUE(sessions_.WaitFor([this] { return sessions_.hellos().size() == 2; }));
  const auto hellos = sessions_.hellos();
  EXPECT_EQ(hellos[1].session_id(), hellos[0].session_id());
  std::set<uint64_t> ids;
  for (const auto& lease : hellos[1].held()) ids.insert(lease.task_id());
  EXPECT_EQ(ids, (std::set<uint64_t>{held.id(), copy.id()}));
  EXPECT_EQ(hellos[1].held(0).sequence(), hellos[1].held(0).task_id() + 100);
  EXPECT_EQ(queue.get(5s).id(), 6u) << "gets go on";
}

TEST_F(SessionTest, StaleAndFailedTasksAreHeldNoLonger) {
  auto queue = client_->open_joinable_queue("q");
  const Task stale = queue.get(5s);
  const Task failed = queue.get(5s);
  const Task many = queue.get(5s);
  broker_.Answer<v1::FailRequest, v1::FailResponse>([](const auto&, auto*) {
    return ToGrpc(FieldError(absl::StatusCode::kFailedPrecondition, "lease", "stale lease"));
  });
  EXPECT_THROW(stale.fail("no"), StaleLease);
  broker_.Answer<v1::FailRequest, v1::FailResponse>([](const auto&, auto*) { return grpc::Status::OK; });
  failed.fail("no");
  queue.task_done(std::vector<Task>{many});
  sessions_.Break();
  ASSERT_TRUE(sessions_.WaitFor([this] { return sessions_.hellos().size() == 2; }));
  EXPECT_EQ(sessions_.hellos()[1].held_size(), 0);
}

TEST_F(SessionTest, ADoneThatComesBeforeTheSessionsNameAtARestartedBrokerIsTriedAgain) {
  auto queue = client_->open_joinable_queue("q");
  const Task one = queue.get(5s);
  const Task two = queue.get(5s);
  std::atomic<int> calls{0};
  broker_.on_done = [&](const v1::DoneRequest& request) {
    EXPECT_EQ(request.leases_size(), 1);
    return ++calls % 2 == 1
               ? ToGrpc(FieldError(absl::StatusCode::kFailedPrecondition, "lease", "stale lease"))
               : grpc::Status::OK;
  };
  one.done();
  EXPECT_EQ(calls, 2);
  queue.task_done(std::vector<Task>{two});
  EXPECT_EQ(calls, 4);
}

TEST_F(SessionTest, ALeaseThatStaysStaleIsGivenUpAtTheBrokerToo) {
  sessions_.session_timeout_ms = 60;
  const Task task = client_->open_joinable_queue("q").get(5s);
  broker_.on_done = [](const v1::DoneRequest&) {
    return ToGrpc(FieldError(absl::StatusCode::kFailedPrecondition, "lease", "stale lease"));
  };
  EXPECT_THROW(task.done(), StaleLease);
  // The broker may have taken the session's word for it in between.
  EXPECT_TRUE(sessions_.WaitFor([&] { return !sessions_.dropped().empty(); }));
  EXPECT_EQ(sessions_.dropped().at(0).task_id(), task.id());
}

TEST_F(SessionTest, ACancelReachesTheTask) {
  auto queue = client_->open_joinable_queue("q");
  const Task task = queue.get(5s);
  const Task other = queue.get(5s);
  sessions_.Cancel(WireLease(task.id()));
  EXPECT_TRUE(sessions_.WaitFor([&] { return task.cancelled(); }));
  EXPECT_FALSE(other.cancelled());
}

TEST_F(SessionTest, ACancelMayOutrunItsTask) {
  auto queue = client_->open_joinable_queue("q");
  const Task first = queue.get(5s);
  // The cancel of the second task is on the wire before the answer that carries it.
  sessions_.Cancel(WireLease(2));
  sessions_.Cancel(WireLease(first.id()));
  ASSERT_TRUE(sessions_.WaitFor([&] { return first.cancelled(); }));
  EXPECT_TRUE(queue.get(5s).cancelled());
  EXPECT_FALSE(queue.get(5s).cancelled());
}

TEST_F(SessionTest, WhatAnotherStreamLostIsCancelled) {
  const Task task = client_->open_joinable_queue("q").get(5s);
  sessions_.Lose(WireLease(task.id()));
  sessions_.Break();
  EXPECT_TRUE(sessions_.WaitFor([&] { return task.cancelled(); }));
}

TEST_F(SessionTest, TheEndOfTheClientEndsItInOrder) {
  { const Task task = client_->open_joinable_queue("q").get(5s); }
  EXPECT_EQ(sessions_.ended(), 0);
  client_.reset();
  EXPECT_EQ(sessions_.ended(), 1) << "not told before the client was gone";
}

TEST_F(SessionTest, ASessionThatTheBrokerForgotIsOpenedAnew) {
  auto queue = client_->open_joinable_queue("q");
  queue.get(5s);
  const auto answer = broker_.on_get;
  std::atomic<int> refused{0};
  broker_.on_get = [&](const v1::GetRequest& request, v1::GetResponse* response) {
    if (sessions_.hellos().size() == 1) {
      ++refused;
      return ToGrpc(FieldError(absl::StatusCode::kNotFound, "session_id", "no such session"));
    }
    return answer(request, response);
  };
  EXPECT_EQ(queue.get(10s).id(), 2u);
  EXPECT_GE(refused, 1);
  EXPECT_EQ(sessions_.hellos().size(), 2u);
}

TEST_F(SessionTest, WithAnOlderBrokerLeasesAreTimed) {
  FakeBroker older;
  older.on_get = [](const v1::GetRequest& request, v1::GetResponse* response) {
    EXPECT_EQ(request.session_id(), 0u);
    auto* task = response->add_tasks();
    *task->mutable_lease() = WireLease(1);
    task->set_lease_ms(60'000);
    return grpc::Status::OK;
  };
  Client client(older.url(), Quick());
  const Task task = client.open_joinable_queue("q").get(5s);
  EXPECT_EQ(task.lease_time(), 60s);
  EXPECT_FALSE(task.cancelled());
  client.open_joinable_queue("q").get(5s);
  EXPECT_EQ(older.Sent<v1::GetRequest>().size(), 2u);
}

TEST_F(SessionTest, WithoutABrokerAGetIsUnavailableInTime) {
  ClientOptions options = Quick();
  options.unavailable_after = 300ms;
  const int port = broker_.port();
  broker_.Stop();
  Client client("127.0.0.1:" + std::to_string(port), options);
  const auto began = std::chrono::steady_clock::now();
  EXPECT_THROW(client.open_joinable_queue("q").get(), Unavailable);
  EXPECT_LT(std::chrono::steady_clock::now() - began, 5s);
}

TEST_F(SessionTest, ABlockedGetOutlivesTheBroker) {
  const int port = broker_.port();
  client_->open_joinable_queue("q").get(5s);
  broker_.Stop();
  auto get = std::async(std::launch::async, [&] { return client_->open_joinable_queue("q").get(20s).id(); });
  EXPECT_EQ(get.wait_for(200ms), std::future_status::timeout);
  FakeSessions sessions;
  FakeBroker again(port, {&sessions});
  again.on_get = broker_.on_get;
  ASSERT_EQ(get.wait_for(15s), std::future_status::ready);
  EXPECT_EQ(get.get(), 2u);
  EXPECT_EQ(again.Last<v1::GetRequest>().session_id(), sessions.hellos()[0].session_id());
  client_.reset();
}

TEST_F(SessionTest, ManyThreadsShareOneSession) {
  std::vector<std::future<void>> threads;
  for (int t = 0; t < 8; ++t) {
    threads.push_back(std::async(std::launch::async, [&] {
      auto queue = client_->open_joinable_queue("q");
      for (int i = 0; i < 50; ++i) {
        const Task task = queue.get(10s);
        if (i == 25) sessions_.Break();
        task.done();
      }
    }));
  }
  for (auto& thread : threads) EXPECT_NO_THROW(thread.get());
  std::set<uint64_t> ids;
  for (const auto& hello : sessions_.hellos()) ids.insert(hello.session_id());
  EXPECT_EQ(ids.size(), 1u);
}

}  // namespace
}  // namespace joinq::test
