// Tasks, dead letters and the broker on the command line.
#include <gmock/gmock.h>
#include <joinq/client.h>

#include "common/names.h"
#include "common/rpc_status.h"
#include "tests/client/cli_fixture.h"
#include "tests/client/fake_broker.h"

namespace joinq::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

class CliTaskTest : public CliTest {
 protected:
  Ran Joinq(std::vector<std::string> words) {
    words.insert(words.end(), {"-u", broker_.url()});
    return Run(words);
  }
  // Answers questions about task 5 of queue q, dead, and 6, delayed.
  void AnswerTasks() {
    const auto fill = [](uint64_t id, v1::TaskInfo* info) {
      info->set_task_id(id);
      info->set_queue("q");
      info->set_handler("resize");
      info->set_payload("body");
      info->set_payload_bytes(4);
      info->set_state(id == 5 ? v1::TASK_STATE_DEAD : v1::TASK_STATE_DELAYED);
      if (id == 5) info->set_outcome(v1::OUTCOME_FAILED);
      info->set_when_unix_ms(1'700'000'000'123);
      info->mutable_options()->set_priority(-2);
      info->set_attempts(2);
      info->mutable_error()->set_message("no\nsuch file");
      info->add_history()->set_message("first");
    };
    broker_.Answer<v1::GetTaskRequest, v1::TaskInfo>([fill](const auto& request, auto* info) {
      if (request.task_id() > 6)
        return ToGrpc(FieldError(absl::StatusCode::kNotFound, "task_id", "no task 99"));
      fill(request.task_id(), info);
      return grpc::Status::OK;
    });
    broker_.Answer<v1::ListTasksRequest, v1::ListTasksResponse>([fill](const auto& request, auto* response) {
      fill(request.after() == 0 ? 5 : 6, response->add_tasks());
      response->set_next(request.after() == 0 ? 5 : 0);
      return grpc::Status::OK;
    });
  }

  FakeBroker broker_;
};

TEST_F(CliTaskTest, TaskShow) {
  AnswerTasks();
  const auto show = Joinq({"task", "show", "5"});
  EXPECT_THAT(show.out, HasSubstr("state:               dead\n"));
  EXPECT_THAT(show.out, HasSubstr("when:                2023-11-14T22:13:20.123Z\n"));
  EXPECT_THAT(show.out, Not(HasSubstr("body")));
  const json task = json::parse(Joinq({"task", "show", "5", "--json", "--payload"}).out);
  EXPECT_EQ(task["id"], 5);
  EXPECT_EQ(task["state"], "dead");
  EXPECT_EQ(task["outcome"], "failed");
  EXPECT_EQ(task["when_unix_ms"], 1'700'000'000'123);
  EXPECT_EQ(task["expires_unix_ms"], nullptr);
  EXPECT_EQ(task["priority"], -2);
  EXPECT_EQ(task["payload"], "body");
  EXPECT_EQ(task["error"]["message"], "no\nsuch file");
  EXPECT_EQ(task["history"][0]["message"], "first");
  ExpectError(Joinq({"task", "show", "99"}), 1, "no task 99");
}

TEST_F(CliTaskTest, TaskShowTellsHowItIsRunAndWhere) {
  broker_.Answer<v1::GetTaskRequest, v1::TaskInfo>([](const auto&, auto* info) {
    info->mutable_options()->set_time_limit_ms(9000);
    info->mutable_options()->set_soft_time_limit_ms(8000);
    info->mutable_options()->set_deadline_ms(60'000);
    info->mutable_options()->set_fresh_process(true);
    info->mutable_options()->set_session_id(3);
    info->mutable_process()->set_host("host");
    info->mutable_process()->set_pid(4711);
    return grpc::Status::OK;
  });
  const json task = json::parse(Joinq({"task", "show", "5", "--json"}).out);
  EXPECT_EQ(task["time_limit_ms"], 9000);
  EXPECT_EQ(task["soft_time_limit_ms"], 8000);
  EXPECT_EQ(task["deadline_ms"], 60'000);
  EXPECT_EQ(task["fresh_process"], true);
  EXPECT_EQ(task["daemon"], true);
  EXPECT_EQ(task["process"],
            (json{{"host", "host"}, {"pid", 4711}, {"ended", false}, {"exit_code", nullptr}}));
  EXPECT_THAT(Joinq({"task", "show", "5"}).out, HasSubstr("4711"));
}

TEST_F(CliTaskTest, TaskListTakesAsManyPagesAsItNeeds) {
  AnswerTasks();
  const auto list = Joinq({"task", "list", "-Q", "q", "--state", "dead", "--newest"});
  EXPECT_EQ(std::count(list.out.begin(), list.out.end(), '\n'), 3) << list.out;
  EXPECT_THAT(list.out, HasSubstr("no\\nsuch file"));
  const auto sent = broker_.Last<v1::ListTasksRequest>();
  EXPECT_EQ(sent.queue(), "q");
  EXPECT_EQ(sent.state(), v1::TASK_STATE_DEAD);
  EXPECT_TRUE(sent.newest_first());
  EXPECT_EQ(json::parse(Joinq({"task", "list", "--json", "-n", "1"}).out).size(), 1u);
  EXPECT_EQ(json::parse(Joinq({"task", "list", "--json", "--after", "5"}).out)[0]["id"], 6);
  ExpectError(Joinq({"task", "list", "--state", "lost"}), 2,
              "--state: must be delayed, ready, leased, ended or dead, not \"lost\"");
  ExpectError(Joinq({"task", "list", "-n", "0"}), 2, "--count");
  ExpectError(Joinq({"task", "list", "-Q", "a b"}), 2, "0x20");
}

TEST_F(CliTaskTest, TaskCancelAndRetry) {
  EXPECT_EQ(Joinq({"task", "cancel", "5"}).out, "");
  EXPECT_EQ(broker_.Last<v1::CancelTaskRequest>().task_id(), 5u);
  EXPECT_EQ(json::parse(Joinq({"task", "retry", "5", "--json"}).out)["state"], "ready");
  EXPECT_EQ(broker_.Last<v1::RetryTaskRequest>().task_id(), 5u);
  broker_.Answer<v1::CancelTaskRequest, v1::TaskInfo>([](const auto&, auto*) {
    return grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "task 5 has succeeded");
  });
  ExpectError(Joinq({"task", "cancel", "5"}), 1, "joinq: task 5 has succeeded");
  ExpectError(Joinq({"task", "cancel", "-5"}), 2, "ID");
}

TEST_F(CliTaskTest, WhyIsASentence) {
  broker_.Answer<v1::WhyTaskRequest, v1::WhyTaskResponse>([](const auto&, auto* response) {
    response->set_reason(v1::WhyTaskResponse::IN_LINE);
    response->set_number(4);
    response->set_text("4 tasks stand before it");
    return grpc::Status::OK;
  });
  EXPECT_EQ(Joinq({"why", "5"}).out, "4 tasks stand before it\n");
  EXPECT_EQ(Joinq({"task", "why", "5"}).out, "4 tasks stand before it\n");
  const json why = json::parse(Joinq({"why", "5", "--json"}).out);
  EXPECT_EQ(why["reason"], "in_line");
  EXPECT_EQ(why["before"], 4);
  EXPECT_EQ(why["until_unix_ms"], nullptr);
  ExpectError(Joinq({"why", "five"}), 2, "ID");
}

TEST_F(CliTaskTest, TaskResultIsResult) {
  broker_.on_result = [](const v1::GetResultRequest& request, v1::TaskResult* result) {
    result->set_task_id(request.task_id());
    result->set_outcome(request.task_id() == 5 ? v1::OUTCOME_SUCCEEDED : v1::OUTCOME_EXPIRED);
    result->set_payload("42");
    return grpc::Status::OK;
  };
  EXPECT_EQ(Joinq({"task", "result", "5", "--wait", "3"}).out, "42\n");
  EXPECT_EQ(Joinq({"result", "5"}).out, "42\n");
  ExpectError(Joinq({"task", "result", "6"}), 1, "expired");
}

// ---------------------------------------------------------------- dead letters, the broker

TEST_F(CliTaskTest, DeadTasks) {
  AnswerTasks();
  broker_.Answer<v1::RetryDeadRequest, v1::RetryDeadResponse>([](const auto& request, auto* response) {
    response->set_retried(request.limit() == 0 ? 9 : request.limit());
    return grpc::Status::OK;
  });
  broker_.Answer<v1::PurgeDeadRequest, v1::PurgeDeadResponse>([](const auto&, auto* response) {
    response->set_purged(2);
    return grpc::Status::OK;
  });
  EXPECT_THAT(Joinq({"dead", "list", "q"}).out, HasSubstr("no\\nsuch file"));
  EXPECT_EQ(json::parse(Joinq({"dead", "list", "q", "-n", "1", "--json"}).out)[0]["id"], 5);
  EXPECT_EQ(broker_.Last<v1::ListTasksRequest>().state(), v1::TASK_STATE_DEAD);
  EXPECT_EQ(Joinq({"dead", "retry", "q"}).out, "9\n");
  EXPECT_EQ(Joinq({"dead", "retry", "q", "--limit", "4", "--json"}).out, "{\"retried\":4}\n");
  EXPECT_EQ(Joinq({"dead", "retry", "q", "5"}).out, "1\n");
  EXPECT_EQ(broker_.Last<v1::RetryTaskRequest>().task_id(), 5u);
  const size_t retries = broker_.Sent<v1::RetryTaskRequest>().size();
  ExpectError(Joinq({"dead", "retry", "q", "5", "6"}), 1, "task 6 is no dead task of queue \"q\"");
  ExpectError(Joinq({"dead", "retry", "other", "5"}), 1, "task 5 is no dead task of queue \"other\"");
  ExpectError(Joinq({"dead", "retry", "q", "x"}), 2, "ID: must be a whole number");
  ExpectError(Joinq({"dead", "retry", "q", "5", "--limit", "2"}), 2, "--limit");
  EXPECT_EQ(broker_.Sent<v1::RetryTaskRequest>().size(), retries) << "all or none";
  EXPECT_EQ(Joinq({"dead", "purge", "q"}).out, "2\n");
  EXPECT_EQ(Joinq({"dead", "purge", "q", "--json"}).out, "{\"purged\":2}\n");
  ExpectError(Joinq({"dead", "list"}), 2, "QUEUE");
  ExpectError(Joinq({"dead"}), 2, "verb");
}

TEST_F(CliTaskTest, Server) {
  broker_.Answer<v1::GetBrokerRequest, v1::BrokerInfo>([](const auto&, auto* info) {
    info->set_version("9.9");
    info->set_disk("low");
    return grpc::Status::OK;
  });
  broker_.Answer<v1::BackupRequest, v1::BackupResponse>([](const auto&, auto* response) {
    response->set_bytes(99);
    response->set_journal_entry(7);
    return grpc::Status::OK;
  });
  EXPECT_THAT(Joinq({"server", "show"}).out, HasSubstr("disk:               low\n"));
  EXPECT_EQ(json::parse(Joinq({"server", "show", "--json"}).out)["version"], "9.9");
  EXPECT_EQ(Joinq({"server", "backup", "/b/x", "--json"}).out,
            "{\"directory\":\"/b/x\",\"bytes\":99,\"journal_entry\":7}\n");
  EXPECT_THAT(Joinq({"server", "backup", "/b/x"}).out, HasSubstr("bytes:          99\n"));
  ExpectError(Joinq({"server", "backup", "b"}), 2, "directory: must be absolute");
  ExpectError(Joinq({"server", "backup", "/b", "--timeout", "-1"}), 2, "--timeout");
  ExpectError(Joinq({"server"}), 2, "verb");
}

TEST_F(CliTaskTest, TerminateWaitsAndSaysWhatBecameOfTheWork) {
  broker_.Answer<v1::CancelTaskRequest, v1::TaskInfo>([](const auto&, v1::TaskInfo* info) {
    info->set_work_end(v1::WORK_END_KILLED);
    return grpc::Status::OK;
  });
  EXPECT_EQ(Joinq({"task", "terminate", "12"}).out, "killed\n");
  EXPECT_TRUE(broker_.Last<v1::CancelTaskRequest>().terminate());
  EXPECT_EQ(broker_.Last<v1::CancelTaskRequest>().wait_ms(), 30'000u);
  EXPECT_EQ(json::parse(Joinq({"task", "cancel", "12", "--wait", "1", "--json"}).out)["work_end"], "killed");
  EXPECT_FALSE(broker_.Last<v1::CancelTaskRequest>().terminate());
}

TEST_F(CliTaskTest, ACancelThatIsNotConfirmedExitsAsTimedOut) {
  broker_.Answer<v1::CancelTaskRequest, v1::TaskInfo>(
      [](const auto&, v1::TaskInfo*) { return grpc::Status::OK; });
  ExpectError(Joinq({"task", "cancel", "12", "--wait", "5"}), 124, "task 12");
  EXPECT_EQ(Joinq({"task", "cancel", "12"}).status, 0);
  EXPECT_EQ(broker_.Last<v1::CancelTaskRequest>().wait_ms(), 0u);
}

TEST_F(CliTaskTest, LogPrintsTheBytesAsTheyAre) {
  broker_.Answer<v1::GetTaskLogRequest, v1::TaskLog>([](const auto&, v1::TaskLog* log) {
    log->set_text(std::string("a\0\xff\n", 4));
    log->set_cut(true);
    log->set_worker("w");
    return grpc::Status::OK;
  });
  const Ran ran = Joinq({"task", "log", "12"});
  EXPECT_EQ(ran.out, std::string("a\0\xff\n", 4));
  EXPECT_THAT(ran.err, testing::HasSubstr("the end of it"));
  EXPECT_EQ(json::parse(Joinq({"task", "log", "12", "--json"}).out)["worker"], "w");
}

}  // namespace
}  // namespace joinq::test
