// How tasks are to be run, on the wire; what is told of their processes; tasks that are
// tied to their client.
#include <gmock/gmock.h>
#include <joinq/client.h>

#include "common/names.h"
#include "common/rpc_status.h"
#include "tests/client/fake_broker.h"
#include "tests/client/fake_sessions.h"

namespace joinq::test {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

ClientOptions Quick() {
  ClientOptions options;
  options.timeout = 10s;
  options.unavailable_after = 10s;
  options.linger = 100ms;
  return options;
}

class RunOptionsTest : public testing::Test {
 protected:
  v1::TaskOptions LastOptions() {
    v1::TaskOptions last;
    for (const auto& request : broker_.requests(0)) {
      if (request.groups_size() > 0) last = request.groups(request.groups_size() - 1).options();
    }
    return last;
  }
  void ExpectRefused(const PutOptions& options, const std::string& field) {
    try {
      queue_.put("x", kForever, options);
      ADD_FAILURE() << "put with a bad " << field;
    } catch (const InvalidArgument& error) {
      EXPECT_EQ(error.field(), field);
    }
  }

  FakeSessions sessions_;
  FakeBroker broker_{0, {&sessions_}};
  Client client_{broker_.url(), Quick()};
  Queue queue_ = client_.open_queue("q");
};

TEST_F(RunOptionsTest, ReachTheBrokerWithAPut) {
  queue_.put(
      "x", kForever,
      {.handler = "h", .time_limit = 9s, .soft_time_limit = 8s, .deadline = 60s, .fresh_process = true});
  const v1::TaskOptions options = LastOptions();
  EXPECT_EQ(options.time_limit_ms(), 9000u);
  EXPECT_EQ(options.soft_time_limit_ms(), 8000u);
  EXPECT_EQ(options.deadline_ms(), 60'000u);
  EXPECT_TRUE(options.fresh_process());
  EXPECT_EQ(options.session_id(), 0u);
  EXPECT_TRUE(sessions_.hellos().empty()) << "no session is opened for nothing";
}

TEST_F(RunOptionsTest, ReachTheBrokerWithASubmit) {
  Pool pool(client_, "q", {.time_limit = 9s, .soft_time_limit = 8s, .deadline = 60s, .fresh_process = true});
  pool.apply_raw("h", "x").wait(10s);
  const v1::TaskOptions options = LastOptions();
  EXPECT_EQ(options.time_limit_ms(), 9000u);
  EXPECT_EQ(options.soft_time_limit_ms(), 8000u);
  EXPECT_EQ(options.deadline_ms(), 60'000u);
  EXPECT_TRUE(options.fresh_process());
}

TEST_F(RunOptionsTest, ThatMakeNoSenseAreRefusedByName) {
  ExpectRefused({.time_limit = -1ms}, "time_limit");
  ExpectRefused({.soft_time_limit = kForever}, "soft_time_limit");
  ExpectRefused({.time_limit = 1s, .soft_time_limit = 1s}, "soft_time_limit");
  ExpectRefused({.ttl = 1s, .deadline = 1s}, "deadline");
  ExpectRefused({.fresh_process = true}, "fresh_process");
  EXPECT_EQ(broker_.streams(), 0);
}

TEST_F(RunOptionsTest, AreToldWithTheTaskAndSoIsItsProcess) {
  broker_.Answer<v1::GetTaskRequest, v1::TaskInfo>([](const auto&, auto* info) {
    info->mutable_options()->set_time_limit_ms(9000);
    info->mutable_options()->set_soft_time_limit_ms(8000);
    info->mutable_options()->set_deadline_ms(60'000);
    info->mutable_options()->set_fresh_process(true);
    info->mutable_options()->set_session_id(5);
    info->mutable_process()->set_host("host");
    info->mutable_process()->set_pid(4711);
    return grpc::Status::OK;
  });
  const TaskInfo info = client_.task_info(1);
  EXPECT_EQ(info.options.time_limit, 9s);
  EXPECT_EQ(info.options.soft_time_limit, 8s);
  EXPECT_EQ(info.options.deadline, 60s);
  EXPECT_TRUE(info.options.fresh_process);
  EXPECT_TRUE(info.options.daemon);
  ASSERT_TRUE(info.process);
  EXPECT_EQ(info.process->host, "host");
  EXPECT_EQ(info.process->pid, 4711u);
  EXPECT_FALSE(info.process->ended);
}

TEST_F(RunOptionsTest, AProcessIsToldWithTheOutcomeHoweverThatIsAskedFor) {
  const auto fill = [](v1::ProcessInfo* process) {
    process->set_host("host");
    process->set_pid(4711);
    process->set_ended(true);
    process->set_exit_code(-9);
  };
  broker_.set_on_request([fill](int, const v1::ProduceRequest& request, FakeBroker::Stream* out) {
    v1::ProduceResponse response;
    for (const auto& task : TasksOf(request)) {
      auto* result = response.add_results();
      result->set_tag(task.tag());
      result->set_task_id(7);
      result->set_outcome(v1::OUTCOME_CRASHED);
      fill(result->mutable_process());
    }
    return response.results_size() == 0 || out->Write(response);
  });
  broker_.on_result = [fill](const v1::GetResultRequest&, v1::TaskResult* result) {
    result->set_outcome(v1::OUTCOME_CRASHED);
    fill(result->mutable_process());
    return grpc::Status::OK;
  };
  Pool pool(client_, "q", {.fresh_process = true});
  const AsyncTask task = pool.apply_raw("h", "x");
  for (const Outcome& outcome : {task.outcome(10s), client_.result(7)}) {
    ASSERT_TRUE(outcome.process);
    EXPECT_EQ(outcome.process->host, "host");
    EXPECT_EQ(outcome.process->pid, 4711u);
    EXPECT_TRUE(outcome.process->ended);
    EXPECT_EQ(outcome.process->exit_code, -9);
  }
}

TEST_F(RunOptionsTest, ADaemonIsTiedToTheClientsSessionWhichIsOpenedFirst) {
  queue_.put("x", kForever, {.daemon = true});
  ASSERT_EQ(sessions_.hellos().size(), 1u);
  const uint64_t session = sessions_.hellos()[0].session_id();
  EXPECT_NE(session, 0u);
  EXPECT_EQ(LastOptions().session_id(), session);
  Pool pool(client_, "q", {.daemon = true});
  pool.apply_raw("h", "x").wait(10s);
  EXPECT_EQ(LastOptions().session_id(), session);
  EXPECT_EQ(sessions_.hellos().size(), 1u);
}

TEST_F(RunOptionsTest, AClientThatGoesEndsItsSessionInOrder) {
  {
    Client client(broker_.url(), Quick());
    client.open_queue("q").put("x", kForever, {.daemon = true});
    EXPECT_EQ(sessions_.ended(), 0);
  }
  EXPECT_TRUE(sessions_.WaitFor([this] { return sessions_.ended() == 1; }));
}

TEST_F(RunOptionsTest, ADaemonWhoseSessionTheBrokerDoesNotKnowIsRefusedAndNotCalledClosed) {
  broker_.set_on_request([](int, const v1::ProduceRequest& request, FakeBroker::Stream* out) {
    v1::ProduceResponse response;
    for (const auto& task : TasksOf(request)) {
      auto* error = response.add_errors();
      error->set_tag(task.tag());
      error->set_code(static_cast<int>(absl::StatusCode::kFailedPrecondition));
      error->set_message("session 5 is not open");
      error->set_field("options.session_id");
    }
    return response.errors_size() == 0 || out->Write(response);
  });
  try {
    queue_.put("x", kForever, {.daemon = true});
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Refused& refused) {
    EXPECT_THAT(refused.what(), HasSubstr("session 5 is not open"));
  }
}

TEST(DaemonTest, NeedsABrokerWithSessions) {
  FakeBroker broker;
  Client client(broker.url(), Quick());
  try {
    client.open_queue("q").put("x", kForever, {.daemon = true});
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("older than its client"));
  }
}

}  // namespace
}  // namespace joinq::test
