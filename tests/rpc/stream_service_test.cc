#include "common/names.h"
#include "tests/rpc/rpc_fixture.h"

namespace joinq::testing {
namespace {

struct StreamServiceTest : RpcFixture {
  using ProduceStream = grpc::ClientReaderWriter<v1::ProduceRequest, v1::ProduceResponse>;
  using WorkStream = grpc::ClientReaderWriter<v1::WorkRequest, v1::WorkResponse>;

  std::unique_ptr<ProduceStream> Produce(grpc::ClientContext* context, uint64_t producer = 7) {
    Limit(*context);
    auto stream = tasks_->Produce(context);
    v1::ProduceRequest hello;
    hello.mutable_hello()->set_producer_id(producer);
    EXPECT_TRUE(stream->Write(hello));
    v1::ProduceResponse welcome;
    EXPECT_TRUE(stream->Read(&welcome));
    EXPECT_TRUE(welcome.has_welcome());
    EXPECT_EQ(welcome.welcome().max_payload_bytes(), kPayloadBytesMaxDefault);
    return stream;
  }
  std::unique_ptr<WorkStream> Work(grpc::ClientContext* context, uint32_t credit, uint64_t worker = 9,
                                   std::vector<v1::Lease> held = {}) {
    Limit(*context);
    auto stream = workers_->Work(context);
    v1::WorkRequest hello;
    hello.mutable_hello()->set_worker_id(worker);
    hello.mutable_hello()->set_name("w");
    hello.mutable_hello()->add_queues("q");
    for (const auto& lease : held) *hello.mutable_hello()->add_held() = lease;
    hello.set_credit(credit);
    EXPECT_TRUE(stream->Write(hello));
    v1::WorkResponse welcome;
    EXPECT_TRUE(stream->Read(&welcome));
    EXPECT_TRUE(welcome.has_welcome());
    lost_ = {welcome.welcome().lost().begin(), welcome.welcome().lost().end()};
    return stream;
  }
  static void AddPut(v1::ProduceRequest* request, uint64_t tag, const std::string& payload) {
    if (request->groups().empty()) {
      auto* group = request->add_groups();
      group->set_queue("q");
      group->set_handler("h");
      group->set_watch(true);
      group->mutable_options()->set_result_ttl_ms(60'000);
    }
    auto* task = request->mutable_groups(0)->add_tasks();
    task->set_tag(tag);
    task->set_payload(payload);
  }
  // Reads until so many deliveries are in.
  static std::vector<std::pair<uint64_t, v1::Delivery>> ReadDeliveries(WorkStream* stream, size_t count) {
    std::vector<std::pair<uint64_t, v1::Delivery>> deliveries;
    v1::WorkResponse response;
    while (deliveries.size() < count && stream->Read(&response)) {
      for (const auto& group : response.groups()) {
        for (const auto& task : group.tasks()) deliveries.emplace_back(group.epoch(), task);
      }
    }
    return deliveries;
  }
  std::vector<v1::Lease> lost_;
};

TEST_F(StreamServiceTest, FromPutToResultOverBothStreams) {
  ASSERT_TRUE(Create("q").ok());
  grpc::ClientContext produce_context, work_context;
  auto producer = Produce(&produce_context);
  auto worker = Work(&work_context, 10);
  v1::ProduceRequest puts;
  for (uint64_t tag = 1; tag <= 3; ++tag) AddPut(&puts, tag, "p" + std::to_string(tag));
  ASSERT_TRUE(producer->Write(puts));
  auto deliveries = ReadDeliveries(worker.get(), 3);
  ASSERT_EQ(deliveries.size(), 3u);
  v1::WorkRequest report;
  report.set_completions_seq(1);
  for (auto& [epoch, task] : deliveries) {
    auto* completion = report.add_completions();
    completion->set_task_id(task.task_id());
    completion->set_epoch(epoch);
    completion->set_sequence(task.sequence());
    completion->set_result("r" + task.payload());
  }
  ASSERT_TRUE(worker->Write(report));
  uint64_t acknowledged = 0;
  std::map<uint64_t, std::string> results;
  v1::ProduceResponse response;
  while (results.size() < 3 && producer->Read(&response)) {
    for (const auto& ack : response.acks()) acknowledged += ack.count();
    for (const auto& result : response.results()) results[result.tag()] = result.payload();
  }
  EXPECT_EQ(acknowledged, 3u);
  EXPECT_EQ(results, (std::map<uint64_t, std::string>{{1, "rp1"}, {2, "rp2"}, {3, "rp3"}}));
  v1::WorkResponse ack;
  ASSERT_TRUE(worker->Read(&ack));
  EXPECT_EQ(ack.completions_acked(), 1u);
}

TEST_F(StreamServiceTest, WithoutAHelloTheStreamEndsByName) {
  grpc::ClientContext context;
  Limit(context);
  auto stream = tasks_->Produce(&context);
  ASSERT_TRUE(stream->Write(v1::ProduceRequest()));
  v1::ProduceResponse response;
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_EQ(FieldOf(FromGrpc(stream->Finish())), "hello");
}

TEST_F(StreamServiceTest, ABadHelloOfAWorkerEndsTheStreamByField) {
  grpc::ClientContext context;
  Limit(context);
  auto stream = workers_->Work(&context);
  v1::WorkRequest hello;
  hello.mutable_hello()->set_worker_id(1);
  hello.mutable_hello()->set_name("w");
  ASSERT_TRUE(stream->Write(hello));
  v1::WorkResponse response;
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_EQ(FieldOf(FromGrpc(stream->Finish())), "hello.queues");
}

TEST_F(StreamServiceTest, APutRepeatedOnANewStreamIsOneTask) {
  ASSERT_TRUE(Create("q").ok());
  uint64_t first = 0;
  for (int round = 0; round < 2; ++round) {
    grpc::ClientContext context;
    auto producer = Produce(&context);
    v1::ProduceRequest puts;
    AddPut(&puts, 1, "x");
    ASSERT_TRUE(producer->Write(puts));
    v1::ProduceResponse response;
    ASSERT_TRUE(producer->Read(&response));
    ASSERT_EQ(response.acks_size(), 1);
    if (round == 0) first = response.acks(0).first_task_id();
    EXPECT_EQ(response.acks(0).first_task_id(), first);
    context.TryCancel();
  }
  EXPECT_EQ(Info("q").stats().put_total(), 1u);
}

TEST_F(StreamServiceTest, ABrokenWorkersTasksGoBackAfterTheGraceUnlessItReturns) {
  ASSERT_TRUE(Create("q").ok());
  ASSERT_TRUE(Put("q", "a").ok());
  ASSERT_TRUE(Put("q", "b").ok());
  auto context = std::make_unique<grpc::ClientContext>();
  auto worker = Work(context.get(), 2);
  auto deliveries = ReadDeliveries(worker.get(), 2);
  ASSERT_EQ(deliveries.size(), 2u);
  context->TryCancel();
  v1::Lease held;
  held.set_task_id(deliveries[0].second.task_id());
  held.set_epoch(deliveries[0].first);
  held.set_sequence(deliveries[0].second.sequence());
  grpc::ClientContext second_context;
  auto second = Work(&second_context, 0, 9, {held});
  EXPECT_TRUE(lost_.empty());
  EXPECT_EQ(Info("q").stats().leased(), 1u);
  EXPECT_EQ(Info("q").stats().ready(), 1u);
  second_context.TryCancel();
  EXPECT_TRUE(EventuallyOnCore([&] { return loop_->broker().GetQueue("q")->stats.ready == 2; }));
}

TEST_F(StreamServiceTest, AnIdleProducersReadsAreNotStarvedByAFullQueue) {
  ASSERT_TRUE(Create("q", 1).ok());
  grpc::ClientContext context;
  auto producer = Produce(&context);
  v1::ProduceRequest puts;
  for (uint64_t tag = 1; tag <= 100; ++tag) AddPut(&puts, tag, "x");
  ASSERT_TRUE(producer->Write(puts));
  ASSERT_TRUE(EventuallyOnCore([&] { return loop_->broker().parked_count() == 99; }));
  grpc::ClientContext work_context;
  auto worker = Work(&work_context, 100);
  EXPECT_EQ(ReadDeliveries(worker.get(), 100).size(), 100u);
  uint64_t acknowledged = 0;
  v1::ProduceResponse response;
  while (acknowledged < 100 && producer->Read(&response)) {
    for (const auto& ack : response.acks()) acknowledged += ack.count();
  }
  EXPECT_EQ(acknowledged, 100u);
}

TEST_F(StreamServiceTest, BothStreamsEndUnavailableWhenTheBrokerStops) {
  ASSERT_TRUE(Create("q").ok());
  grpc::ClientContext produce_context, work_context;
  auto producer = Produce(&produce_context);
  auto worker = Work(&work_context, 1);
  auto stopped = std::async(std::launch::async, [&] { Stop(); });
  v1::ProduceResponse produced;
  while (producer->Read(&produced)) {
  }
  EXPECT_EQ(producer->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  v1::WorkResponse worked;
  while (worker->Read(&worked)) {
  }
  EXPECT_EQ(worker->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  stopped.get();
}

TEST_F(StreamServiceTest, AResultIsReadByIdOnceKept) {
  ASSERT_TRUE(Create("q").ok());
  grpc::ClientContext context, bad_context;
  Limit(bad_context);
  v1::GetResultRequest request;
  request.set_task_id(12345);
  v1::TaskResult result;
  EXPECT_EQ(tasks_->GetResult(&bad_context, request, &result).error_code(), grpc::StatusCode::NOT_FOUND);
}

}  // namespace
}  // namespace joinq::testing
