// joinq.v1.AdminService: backups, and the broker in figures.
#include "absl/strings/str_cat.h"
#include "server/rpc/services.h"
#include "server/rpc/unary.h"

namespace joinq::rpc {
namespace {

constexpr size_t kPathBytesMax = 4096;

absl::Status CheckPath(const std::string& path) {
  if (path.empty() || path[0] != '/') return InvalidField("directory", "must be an absolute path");
  if (path.size() > kPathBytesMax)
    return InvalidField("directory", absl::StrCat("is longer than ", kPathBytesMax, " bytes"));
  if (path.find('\0') != std::string::npos) return InvalidField("directory", "has a NUL in it");
  return absl::OkStatus();
}

void Describe(CoreLoop* loop, const AdminParts& parts, v1::BrokerInfo* info) {
  const core::Broker& broker = loop->broker();
  info->set_version(parts.version);
  info->set_epoch(broker.epoch());
  info->set_durability(std::string(loop->durability()));
  info->set_tasks(broker.task_count());
  info->set_queues(broker.queue_count());
  info->set_memory_bytes(broker.memory_used());
  info->set_journal_bytes(broker.journal_bytes());
  info->set_resident_bytes(broker.resident_bytes());
  info->set_payload_bytes(broker.payload_bytes());
  info->set_records_set_aside(loop->records_set_aside());
  if (parts.disk == nullptr) return;
  const storage::DiskWatch::State disk = parts.disk->state();
  info->set_disk(storage::NameOf(disk.level));
  info->set_disk_free_bytes(disk.free_bytes);
}

}  // namespace

void ServeAdmin(CoreLoop* loop, v1::AdminService::AsyncService* service, BackupThread* backups,
                const AdminParts& parts) {
  ServeUnary<v1::BackupRequest, v1::BackupResponse>(
      loop,
      [=](auto* context, auto* request, auto* writer, void* tag) {
        service->RequestBackup(context, request, writer, loop->queue(), loop->queue(), tag);
      },
      [=](core::CallerId caller, const v1::BackupRequest& request,
          v1::BackupResponse* response) -> std::optional<absl::Status> {
        if (absl::Status bad = CheckPath(request.directory()); !bad.ok()) return bad;
        if (absl::Status bad = backups->Start(caller, request.directory()); !bad.ok()) return bad;
        // The commit under way may come too late for it.
        const uint64_t position = loop->broker().journal_position();
        response->set_journal_entry(loop->committing() && position > 0 ? position - 1 : position);
        return std::nullopt;
      },
      [](core::Reply& reply, v1::BackupResponse* response) { response->set_bytes(reply.count); });
  ServeUnary<v1::GetBrokerRequest, v1::BrokerInfo>(
      loop,
      [=](auto* context, auto* request, auto* writer, void* tag) {
        service->RequestGetBroker(context, request, writer, loop->queue(), loop->queue(), tag);
      },
      [=](core::CallerId, const v1::GetBrokerRequest&,
          v1::BrokerInfo* response) -> std::optional<absl::Status> {
        Describe(loop, parts, response);
        return absl::OkStatus();
      },
      [](core::Reply&, v1::BrokerInfo*) {});
}

}  // namespace joinq::rpc
