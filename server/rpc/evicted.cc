#include "server/rpc/evicted.h"

#include "absl/strings/str_cat.h"
#include "server/rpc/convert.h"
#include "server/storage/record_codec.h"

namespace joinq::rpc {

namespace {

absl::Status FillOne(const core::Broker& broker, const absl::StatusOr<std::string>& row, v1::TaskInfo* task) {
  const auto payload = row.ok() ? storage::DecodePayload(*row) : row.status();
  if (payload.ok()) {
    FillPayload(payload->headers, payload->payload, task);
    return absl::OkStatus();
  }
  const auto now = broker.GetTask(core::TaskId{task->task_id()});
  if (!now.ok()) return absl::OkStatus();  // it has ended
  if (!now->evicted) {
    if (static_cast<v1::TaskState>(now->state) != v1::TASK_STATE_ENDED)
      FillPayload(now->payload.headers(), now->payload.view(), task);
    return absl::OkStatus();
  }
  const std::string what = absl::StrCat("the payload of task ", task->task_id());
  if (!row.ok() && storage::MayComeBack(row.status()))
    return absl::UnavailableError(
        absl::StrCat(what, " cannot be read from the broker's disk now: ", row.status().message()));
  return absl::DataLossError(
      absl::StrCat(what, " is lost: its record on the broker's disk is missing or damaged"));
}

}  // namespace

std::optional<absl::Status> FillEvicted(CoreLoop* loop, core::CallerId caller,
                                        std::vector<v1::TaskInfo*> tasks) {
  if (tasks.empty()) return absl::OkStatus();
  std::vector<std::string> keys;
  for (const v1::TaskInfo* task : tasks) keys.push_back(storage::RowKey(core::TaskId{task->task_id()}));
  const bool taken = loop->ReadRows(
      std::move(keys), [loop, caller, tasks = std::move(tasks)](const storage::LoadedRows& rows) {
        if (!loop->targets().Has(caller)) return;  // and with it the response
        core::Reply reply;
        reply.to = caller;
        for (size_t i = 0; i < tasks.size() && reply.status.ok(); ++i)
          reply.status = FillOne(loop->broker(), rows.values[i], tasks[i]);
        loop->broker().effects().replies.push_back(std::move(reply));
      });
  if (taken) return std::nullopt;
  return absl::ResourceExhaustedError("too many payloads are being read from disk; try again");
}

}  // namespace joinq::rpc
