// The services, each served on the core loop's completion queue until it shuts
// down. Call them once the server has started, on the thread that will run the loop.
#pragma once

#include "common/names.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "joinq/v1/admin.grpc.pb.h"
#include "joinq/v1/queue.grpc.pb.h"
#include "joinq/v1/session.grpc.pb.h"
#include "joinq/v1/task.grpc.pb.h"
#include "joinq/v1/worker.grpc.pb.h"
#include "server/rpc/backup_thread.h"
#include "server/rpc/core_loop.h"
#include "server/storage/disk_space.h"

namespace joinq::rpc {

void ServeQueues(CoreLoop* loop, v1::QueueService::AsyncService* service);
void ServeTasks(CoreLoop* loop, v1::TaskService::AsyncService* service);
void ServeWorkers(CoreLoop* loop, v1::WorkerService::AsyncService* service);
void ServeSessions(CoreLoop* loop, v1::SessionService::AsyncService* service);

// What the operator's service tells of besides the core.
struct AdminParts {
  std::string version;
  const storage::DiskWatch* disk = nullptr;  // none: nothing is on a disk
  std::string backup_directory;              // where backups may go; empty: nowhere
};
// `backups` and what `parts` points at outlive the calls.
void ServeAdmin(CoreLoop* loop, v1::AdminService::AsyncService* service, BackupThread* backups,
                const AdminParts& parts);

// SERVING until the loop stops, for the whole server ("") and each service's name.
void ServeHealth(CoreLoop* loop, grpc::health::v1::Health::AsyncService* service);

}  // namespace joinq::rpc
