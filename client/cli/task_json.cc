// JSON of tasks, of the reasons why they wait, and of the broker.
#include "client/cli/printing.h"
#include "client/cli/times.h"

namespace joinq::cli {
namespace {

Json TimeOrNull(const std::optional<TimePoint>& time) {
  return time ? Json(UnixMs(*time)) : Json();
}

Json ToJson(const TaskAttempt& attempt) {
  return {{"delivery", attempt.delivery},
          {"ended_unix_ms", UnixMs(attempt.ended)},
          {"kind", to_string(attempt.kind)},
          {"message", attempt.message},
          {"holder", attempt.holder}};
}

}  // namespace

Json ToJson(const TaskInfo& task, bool with_payload) {
  Json json{{"id", task.id},
            {"queue", task.queue},
            {"handler", task.handler},
            {"state", to_string(task.state)},
            {"outcome", task.ending ? Json(to_string(*task.ending)) : Json()},
            {"when_unix_ms", TimeOrNull(task.when)},
            {"expires_unix_ms", TimeOrNull(task.expires)},
            {"holder", task.holder},
            {"lease", task.lease.task_id != 0 ? Json(task.lease.to_string()) : Json()},
            {"progress", task.progress},
            {"deliveries", task.deliveries},
            {"attempts", task.attempts},
            {"crashes", task.crashes},
            {"max_attempts", task.options.max_attempts},
            {"max_crashes", task.options.max_crashes},
            {"retry_delay_ms", task.options.retry_delay.count()},
            {"result_ttl_ms", task.options.result_ttl.count()},
            {"ttl_ms", task.options.ttl.count()},
            {"deadline_ms", task.options.deadline.count()},
            {"time_limit_ms", task.options.time_limit.count()},
            {"soft_time_limit_ms", task.options.soft_time_limit.count()},
            {"fresh_process", task.options.fresh_process},
            {"daemon", task.options.daemon},
            {"process", ToJson(task.process)},
            {"priority", task.options.priority},
            {"unique_key", task.options.unique_key},
            {"content_type", task.content_type},
            {"payload_bytes", task.payload_bytes}};
  if (with_payload) AddPayload(&json, "payload", task.payload, task.content_type);
  json["headers"] = Json::object();
  for (const auto& [name, value] : task.headers) json["headers"][name] = value;
  json["error"] = Json();
  if (task.error) {
    json["error"] = {
        {"kind", to_string(*task.error)}, {"message", task.error_message}, {"detail", task.error_detail}};
  }
  json["history"] = Json::array();
  for (const TaskAttempt& attempt : task.history) json["history"].push_back(ToJson(attempt));
  return json;
}

Json ToJson(const std::vector<TaskInfo>& tasks, bool with_payload) {
  Json all = Json::array();
  for (const TaskInfo& task : tasks) all.push_back(ToJson(task, with_payload));
  return all;
}

Json ToJson(uint64_t task_id, const Why& why) {
  return {{"id", task_id},
          {"reason", to_string(why.reason)},
          {"until_unix_ms", TimeOrNull(why.until)},
          {"before", why.before ? Json(*why.before) : Json()},
          {"text", why.text}};
}

Json ToJson(const BrokerInfo& broker) {
  return {{"version", broker.version},
          {"epoch", broker.epoch},
          {"durability", broker.durability},
          {"tasks", broker.tasks},
          {"queues", broker.queues},
          {"memory_bytes", broker.memory_bytes},
          {"resident_bytes", broker.resident_bytes},
          {"payload_bytes", broker.payload_bytes},
          {"journal_bytes", broker.journal_bytes},
          {"records_set_aside", broker.records_set_aside},
          {"disk", broker.disk},
          {"disk_free_bytes", broker.disk_free_bytes}};
}

}  // namespace joinq::cli
