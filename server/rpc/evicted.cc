#include "server/rpc/evicted.h"

#include "server/rpc/convert.h"
#include "server/storage/record_codec.h"

namespace joinq::rpc {

std::optional<absl::Status> FillEvicted(CoreLoop* loop, core::CallerId caller,
                                        std::vector<v1::TaskInfo*> tasks) {
  if (tasks.empty()) return absl::OkStatus();
  std::vector<std::string> keys;
  for (const v1::TaskInfo* task : tasks) keys.push_back(storage::RowKey(core::TaskId{task->task_id()}));
  const bool taken = loop->ReadRows(
      std::move(keys), [loop, caller, tasks = std::move(tasks)](const storage::LoadedRows& rows) {
        if (!loop->targets().Has(caller)) return;  // and with it the response
        for (size_t i = 0; i < tasks.size(); ++i) {
          if (!rows.values[i].has_value()) continue;
          if (auto row = storage::DecodePayload(*rows.values[i]); row.ok())
            FillPayload(row->headers, row->payload, tasks[i]);
        }
        core::Reply reply;
        reply.to = caller;
        loop->broker().effects().replies.push_back(std::move(reply));
      });
  if (taken) return std::nullopt;
  return absl::ResourceExhaustedError("too many payloads are being read from disk; try again");
}

}  // namespace joinq::rpc
