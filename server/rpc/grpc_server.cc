#include "server/rpc/grpc_server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/names.h"
#include "server/rpc/services.h"
#include "spdlog/spdlog.h"

namespace joinq::rpc {
namespace {

constexpr int kStreamsPerConnectionMax = 10'000;
// Our calls have ended by then; this is for peers that do not answer the goodbye.
constexpr std::chrono::seconds kShutdownPatience{1};

// gRPC says only "failed to bind"; this finds out why, before it tries.
absl::Status TryBind(const NetAddress& address) {
  const std::string field = "--listen";
  if (address.is_unix()) {
    struct stat info {};
    const bool exists = ::stat(address.unix_path.c_str(), &info) == 0;
    if (exists && !S_ISSOCK(info.st_mode))
      return InvalidField(field, absl::StrCat(address.unix_path, " exists and is not a socket"));
    sockaddr_un peer{};
    peer.sun_family = AF_UNIX;
    std::strncpy(peer.sun_path, address.unix_path.c_str(), sizeof(peer.sun_path) - 1);
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const auto* name = reinterpret_cast<sockaddr*>(&peer);
    const bool alive = exists && ::connect(fd, name, sizeof(peer)) == 0;
    if (exists && !alive) ::unlink(address.unix_path.c_str());  // left behind by a broker that was killed
    const int error = alive || ::bind(fd, name, sizeof(peer)) == 0 ? 0 : errno;
    if (!alive && error == 0) ::unlink(address.unix_path.c_str());  // gRPC makes its own
    ::close(fd);
    if (alive)
      return absl::FailedPreconditionError(absl::StrCat(field, ": ", address.ToString(), " is in use"));
    if (error != 0) {
      return absl::FailedPreconditionError(
          absl::StrCat(field, ": cannot listen on ", address.ToString(), ": ", std::strerror(error)));
    }
    return absl::OkStatus();
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (int error = ::getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &found);
      error != 0) {
    return InvalidField(field, absl::StrCat(address.ToString(), ": ", ::gai_strerror(error)));
  }
  absl::Status status;
  const int fd = ::socket(found->ai_family, found->ai_socktype | SOCK_CLOEXEC, found->ai_protocol);
  const int one = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  if (fd < 0 || ::bind(fd, found->ai_addr, found->ai_addrlen) != 0 || ::listen(fd, 1) != 0) {
    status = absl::FailedPreconditionError(
        absl::StrCat(field, ": cannot listen on ", address.ToString(), ": ", std::strerror(errno)));
  }
  if (fd >= 0) ::close(fd);
  ::freeaddrinfo(found);
  return status;
}

}  // namespace

struct GrpcServer::Parts {
  CoreLoop* loop = nullptr;
  std::vector<NetAddress> addresses;
  v1::QueueService::AsyncService queues;
  v1::TaskService::AsyncService tasks;
  v1::WorkerService::AsyncService workers;
  v1::SessionService::AsyncService sessions;
  v1::AdminService::AsyncService admin;
  grpc::health::v1::Health::AsyncService health;
  std::unique_ptr<grpc::ServerCompletionQueue> queue;
  std::unique_ptr<grpc::Server> server;
  std::unique_ptr<BackupThread> backups;
  std::thread stopper;  // Shutdown blocks, and the loop must go on meanwhile
};

GrpcServer::GrpcServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

GrpcServer::~GrpcServer() {
  if (parts_->stopper.joinable()) parts_->stopper.join();
  for (const NetAddress& address : parts_->addresses) {
    if (address.is_unix()) ::unlink(address.unix_path.c_str());
  }
}

const std::vector<NetAddress>& GrpcServer::addresses() const {
  return parts_->addresses;
}

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(const std::vector<NetAddress>& addresses,
                                                              CoreLoop* loop, const AdminParts& admin) {
  auto parts = std::make_unique<Parts>();
  parts->loop = loop;
  parts->addresses = addresses;
  grpc::ServerBuilder builder;
  std::vector<int> ports(addresses.size());
  for (size_t i = 0; i < addresses.size(); ++i) {
    if (absl::Status bad = TryBind(addresses[i]); !bad.ok()) return bad;
    builder.AddListeningPort(addresses[i].ToString(), grpc::InsecureServerCredentials(), &ports[i]);
  }
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 1 << 20);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kStreamsPerConnectionMax);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 15'000);
  builder.SetMaxReceiveMessageSize(kMessageBytesMax + 65'536);
  builder.SetMaxSendMessageSize(-1);
  builder.RegisterService(&parts->queues);
  builder.RegisterService(&parts->tasks);
  builder.RegisterService(&parts->workers);
  builder.RegisterService(&parts->sessions);
  builder.RegisterService(&parts->admin);
  builder.RegisterService(&parts->health);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::NUM_CQS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MAX_POLLERS, 1);
  parts->queue = builder.AddCompletionQueue();
  parts->server = builder.BuildAndStart();
  for (size_t i = 0; i < addresses.size(); ++i) {
    if (parts->server == nullptr || (!addresses[i].is_unix() && ports[i] == 0)) {
      return absl::FailedPreconditionError(
          absl::StrCat("--listen: cannot listen on ", addresses[i].ToString()));
    }
    if (!addresses[i].is_unix()) parts->addresses[i].port = static_cast<uint16_t>(ports[i]);
  }
  loop->set_queue(parts->queue.get());
  ServeQueues(loop, &parts->queues);
  ServeTasks(loop, &parts->tasks);
  ServeWorkers(loop, &parts->workers);
  ServeSessions(loop, &parts->sessions);
  parts->backups = std::make_unique<BackupThread>(loop, loop->store(), admin.backup_directory);
  ServeAdmin(loop, &parts->admin, parts->backups.get(), admin);
  ServeHealth(loop, &parts->health);
  return std::unique_ptr<GrpcServer>(new GrpcServer(std::move(parts)));
}

void GrpcServer::Stop() {
  parts_->stopper = std::thread([parts = parts_.get()] {
    parts->server->Shutdown(std::chrono::system_clock::now() + kShutdownPatience);
    parts->loop->Post([parts] {
      parts->backups->Close();
      parts->queue->Shutdown();
    });
  });
}

}  // namespace joinq::rpc
