// A broker in this process on a port of its own, its core loop in a thread, and
// stubs on it. Torn down in order: the loop stops, its thread ends, the server goes.
#pragma once

#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <memory>
#include <thread>

#include "common/rpc_channel.h"
#include "common/rpc_status.h"
#include "joinq/v1/queue.grpc.pb.h"
#include "joinq/v1/task.grpc.pb.h"
#include "joinq/v1/worker.grpc.pb.h"
#include "server/rpc/core_loop.h"
#include "server/rpc/grpc_server.h"
#include "server/storage/memory_store.h"

namespace joinq::testing {

// Ends a call that takes longer than any of these tests should.
inline void Limit(grpc::ClientContext& context, int seconds = 10) {
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(seconds));
}

class RpcFixture : public ::testing::Test {
 protected:
  // On `store`, which outlives the test, or one in memory.
  explicit RpcFixture(storage::Store* store = nullptr, const rpc::AdminParts& admin = {},
                      core::Limits limits = {}) {
    limits.worker_grace = core::Millis(300);
    auto loop = rpc::CoreLoop::Open({limits, store != nullptr ? store : &store_, 1});
    EXPECT_TRUE(loop.ok());
    loop_ = *std::move(loop);
    auto server = rpc::GrpcServer::Start({*ParseNetAddress("listen", "127.0.0.1:0", 0)}, loop_.get(), admin);
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    thread_ = std::thread([this] { loop_->Run(); });
    channel_ = MakeChannel(server_->addresses()[0]);
    queues_ = v1::QueueService::NewStub(channel_);
    tasks_ = v1::TaskService::NewStub(channel_);
    workers_ = v1::WorkerService::NewStub(channel_);
  }
  ~RpcFixture() override { Stop(); }
  void Stop() {
    if (!thread_.joinable()) return;
    loop_->Post([this] { loop_->Stop([this] { server_->Stop(); }); });
    thread_.join();
    server_.reset();
  }
  // Runs on the core thread and waits for it.
  template <typename F>
  auto OnCore(F work) {
    std::promise<decltype(work())> promise;
    loop_->Post([&] { promise.set_value(work()); });
    return promise.get_future().get();
  }
  bool EventuallyOnCore(const std::function<bool()>& condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (std::chrono::steady_clock::now() < end) {
      if (OnCore([&] { return condition(); })) return true;
    }
    return false;
  }
  absl::Status Create(const std::string& name, uint64_t maxsize = 0) {
    grpc::ClientContext context;
    Limit(context);
    v1::CreateQueueRequest request;
    request.set_name(name);
    request.mutable_options()->set_maxsize(maxsize);
    v1::QueueInfo info;
    return FromGrpc(queues_->CreateQueue(&context, request, &info));
  }
  absl::Status Put(const std::string& queue, const std::string& payload, v1::PutResponse* response,
                   bool no_wait = true) {
    grpc::ClientContext context;
    Limit(context);
    v1::PutRequest request;
    request.set_queue(queue);
    request.set_no_wait(no_wait);
    request.add_tasks()->set_payload(payload);
    return FromGrpc(queues_->Put(&context, request, response));
  }
  absl::Status Put(const std::string& queue, const std::string& payload) {
    v1::PutResponse response;
    return Put(queue, payload, &response);
  }
  v1::QueueInfo Info(const std::string& queue) {
    grpc::ClientContext context;
    Limit(context);
    v1::GetQueueRequest request;
    request.set_name(queue);
    v1::QueueInfo info;
    EXPECT_TRUE(queues_->GetQueue(&context, request, &info).ok());
    return info;
  }

  storage::MemoryStore store_;
  std::unique_ptr<rpc::CoreLoop> loop_;
  std::unique_ptr<rpc::GrpcServer> server_;
  std::thread thread_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::QueueService::Stub> queues_;
  std::unique_ptr<v1::TaskService::Stub> tasks_;
  std::unique_ptr<v1::WorkerService::Stub> workers_;
};

}  // namespace joinq::testing
