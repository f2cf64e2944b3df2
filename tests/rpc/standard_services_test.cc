// Health and metrics, as probes and scrapers see them.
#include <grpcpp/generic/generic_stub.h>

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>

#include "grpc/health/v1/health.grpc.pb.h"
#include "server/http/http_server.h"
#include "tests/rpc/rpc_fixture.h"

namespace joinq::testing {
namespace {

namespace health = grpc::health::v1;

struct StandardServicesTest : RpcFixture {
  std::unique_ptr<health::Health::Stub> health_ = health::Health::NewStub(channel_);
};

TEST_F(StandardServicesTest, HealthAnswersForTheServerAndEachService) {
  for (const char* service : {"", "joinq.v1.QueueService", "joinq.v1.TaskService", "joinq.v1.WorkerService",
                              "joinq.v1.AdminService"}) {
    grpc::ClientContext context;
    Limit(context);
    health::HealthCheckRequest request;
    request.set_service(service);
    health::HealthCheckResponse response;
    ASSERT_TRUE(health_->Check(&context, request, &response).ok()) << service;
    EXPECT_EQ(response.status(), health::HealthCheckResponse::SERVING);
  }
  grpc::ClientContext context;
  Limit(context);
  health::HealthCheckRequest request;
  request.set_service("nope");
  health::HealthCheckResponse response;
  EXPECT_EQ(health_->Check(&context, request, &response).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(StandardServicesTest, AHealthWatchSeesTheStop) {
  grpc::ClientContext context;
  Limit(context);
  auto watch = health_->Watch(&context, health::HealthCheckRequest());
  health::HealthCheckResponse response;
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), health::HealthCheckResponse::SERVING);
  auto stopped = std::async(std::launch::async, [&] { Stop(); });
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), health::HealthCheckResponse::NOT_SERVING);
  EXPECT_FALSE(watch->Read(&response));
  stopped.get();
}

TEST_F(StandardServicesTest, ReflectionListsTheServices) {
  grpc::ClientContext context;
  Limit(context);
  grpc::CompletionQueue queue;
  grpc::GenericStub stub(channel_);
  auto call =
      stub.PrepareCall(&context, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &queue);
  void* tag = nullptr;
  bool ok = false;
  call->StartCall(nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  const grpc::Slice list_services("\x3a\x00", 2);  // ServerReflectionRequest{list_services: ""}
  call->Write(grpc::ByteBuffer(&list_services, 1), nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  grpc::ByteBuffer answer;
  call->Read(&answer, nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  grpc::Slice bytes;
  ASSERT_TRUE(answer.DumpToSingleSlice(&bytes).ok());
  const std::string text(reinterpret_cast<const char*>(bytes.begin()), bytes.size());
  for (const char* service : {"joinq.v1.QueueService", "joinq.v1.TaskService", "joinq.v1.WorkerService",
                              "joinq.v1.AdminService", "grpc.health.v1.Health"}) {
    EXPECT_NE(text.find(service), std::string::npos) << service;
  }
  context.TryCancel();
  grpc::Status status;
  call->Finish(&status, nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok));
  queue.Shutdown();
  while (queue.Next(&tag, &ok)) {
  }
}

TEST_F(StandardServicesTest, MetricsAndProbesOverHttp) {
  namespace asio = boost::asio;
  ASSERT_TRUE(Create("images").ok());
  ASSERT_TRUE(Put("images", "x").ok());
  asio::io_context io;
  auto http = http::HttpServer::Start(&io, *ParseNetAddress("http", "127.0.0.1:0", 0), loop_.get());
  ASSERT_TRUE(http.ok()) << http.status();
  const NetAddress address = (*http)->address();
  std::thread server([&] { io.run_for(std::chrono::seconds(30)); });
  auto fetch = [&](const std::string& request) {
    asio::io_context client_io;
    asio::ip::tcp::socket socket(client_io);
    socket.connect({asio::ip::make_address(address.host), address.port});
    asio::write(socket, asio::buffer(request));
    std::string answer;
    boost::system::error_code end;
    asio::read(socket, asio::dynamic_buffer(answer), end);
    return answer;
  };
  auto get = [&](const std::string& path) {
    return fetch("GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  };
  const std::string metrics = get("/metrics");
  EXPECT_NE(metrics.find("200 OK"), std::string::npos);
  EXPECT_NE(metrics.find("joinq_queue_ready{queue=\"images\"} 1"), std::string::npos) << metrics;
  EXPECT_NE(get("/healthz").find("200 OK"), std::string::npos);
  EXPECT_NE(get("/readyz").find("ready"), std::string::npos);
  EXPECT_NE(get("/nope").find("404"), std::string::npos);
  EXPECT_NE(fetch("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .find("405"),
            std::string::npos);
  EXPECT_EQ(fetch("GET /" + std::string(20'000, 'x') + " HTTP/1.1\r\n\r\n").find("200"), std::string::npos);
  io.stop();
  server.join();
}

}  // namespace
}  // namespace joinq::testing
