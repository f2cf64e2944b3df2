#include "client/cli/printing.h"

#include <algorithm>
#include <cstdio>

#include "absl/strings/escaping.h"
#include "client/cli/times.h"

namespace joinq::cli {
namespace {

// The text if it is UTF-8.
bool IsUtf8(const std::string& text) {
  try {
    nlohmann::json(text).dump();
    return true;
  } catch (const nlohmann::json::exception&) {
    return false;
  }
}

std::optional<Json> Unpacked(const std::string& payload, const std::string& content_type) {
  if (content_type != kMsgpackType) return std::nullopt;
  Json value = Json::from_msgpack(payload, true, false);
  if (value.is_discarded()) return std::nullopt;
  return value;
}

}  // namespace

void AddPayload(Json* json, const std::string& key, const std::string& payload,
                const std::string& content_type) {
  if (auto value = Unpacked(payload, content_type)) {
    (*json)[key] = *value;
  } else if (IsUtf8(payload)) {
    (*json)[key] = payload;
  } else {
    (*json)[key + "_base64"] = absl::Base64Escape(payload);
  }
}

std::string PayloadLine(const std::string& payload, const std::string& content_type) {
  if (auto value = Unpacked(payload, content_type)) return Dump(*value) + "\n";
  return !payload.empty() && payload.back() == '\n' ? payload : payload + "\n";
}

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void Print(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size())
    throw Error("output: could not be written");
}

void PrintLine(const Json& json) {
  Print(Dump(json) + "\n");
}

Json ToJson(const QueueInfo& queue) {
  const QueueStats& stats = queue.stats;
  return {{"name", queue.name},
          {"size", stats.size},
          {"ready", stats.ready},
          {"delayed", stats.delayed},
          {"leased", stats.leased},
          {"unfinished", stats.unfinished},
          {"maxsize", queue.options.maxsize},
          {"closed", queue.closed},
          {"put_total", stats.put_total},
          {"done_total", stats.done_total},
          {"dead", stats.dead},
          {"oldest_ready_ms", stats.oldest_ready.count()},
          {"cancelled_total", stats.cancelled_total},
          {"redelivered_total", stats.redelivered_total},
          {"parked_puts", stats.parked_puts},
          {"parked_gets", stats.parked_gets},
          {"parked_joins", stats.parked_joins},
          {"bytes", stats.bytes},
          {"consumers", stats.consumers},
          {"lease_ms", queue.options.lease.count()},
          {"durability", queue.durability},
          {"paused", queue.paused},
          {"order", to_string(queue.options.order)},
          {"max_bytes", queue.options.max_bytes},
          {"ageing_ms", queue.options.ageing.count()},
          {"dead_max", queue.options.dead_max ? Json(*queue.options.dead_max) : Json()},
          {"dead_kept", stats.dead_kept},
          {"expired_total", stats.expired_total},
          {"retried_total", stats.retried_total},
          {"waiting_bytes", stats.waiting_bytes}};
}

Json ToJson(const Task& task) {
  Json json{{"id", task.id()}, {"queue", task.queue()}};
  if (task.lease().task_id != 0) json["lease"] = task.lease().to_string();
  AddPayload(&json, "payload", task.payload(), task.content_type());
  json["attempt"] = task.attempt();
  json["handler"] = task.handler();
  json["content_type"] = task.content_type();
  json["headers"] = Json::object();
  for (const auto& [name, value] : task.headers()) json["headers"][name] = value;
  if (task.lease().task_id != 0) json["lease_ms"] = task.lease_time().count();
  return json;
}

Json ToJson(const std::optional<ProcessInfo>& process) {
  if (!process) return Json();
  Json json{{"host", process->host}, {"pid", process->pid}, {"ended", process->ended}};
  json["exit_code"] = process->ended ? Json(process->exit_code) : Json();
  return json;
}

Json ToJson(const Outcome& outcome) {
  Json json{{"id", outcome.task_id}, {"outcome", outcome.succeeded ? "succeeded" : "failed"}};
  if (outcome.succeeded) {
    AddPayload(&json, "result", outcome.payload, outcome.content_type);
    json["content_type"] = outcome.content_type;
  } else {
    json["error"] = {
        {"kind", to_string(outcome.kind)}, {"message", outcome.message}, {"detail", outcome.detail}};
  }
  json["attempts"] = outcome.attempts;
  if (outcome.process) json["process"] = ToJson(outcome.process);
  if (!outcome.queue.empty()) json["queue"] = outcome.queue;
  if (!outcome.handler.empty()) json["handler"] = outcome.handler;
  return json;
}

Json ToJson(const WorkerInfo& worker) {
  return {{"id", worker.id},
          {"name", worker.name},
          {"host", worker.host},
          {"pid", worker.pid},
          {"state", worker.state},
          {"trouble", worker.trouble},
          {"concurrency", worker.concurrency},
          {"concurrency_min", worker.concurrency_min},
          {"children", worker.children},
          {"processes", worker.processes},
          {"busy", worker.busy},
          {"buffered", worker.buffered},
          {"leases", worker.leases},
          {"queues", worker.queues},
          {"handlers", worker.handlers},
          {"done_total", worker.done_total},
          {"failed_total", worker.failed_total},
          {"child_deaths_total", worker.child_deaths_total},
          {"silent_ms", worker.silent.count()},
          {"connected_ms", worker.connected.count()}};
}

void PrintFields(const Json& json) {
  constexpr std::string_view kTime = "_unix_ms";
  std::vector<std::vector<std::string>> rows;
  for (const auto& [key, value] : json.items()) {
    if (value.is_null() || (value.is_string() && value.get_ref<const std::string&>().empty()) ||
        (value.is_structured() && value.empty())) {
      continue;
    }
    if (key.ends_with(kTime)) {
      rows.push_back({key.substr(0, key.size() - kTime.size()) + ":", TimeText(TimePoint(Millis(value)))});
    } else {
      rows.push_back({key + ":", value.is_string() ? value.get<std::string>() : Dump(value)});
    }
  }
  PrintTable(rows);
}

std::string Cut(const std::string& text, size_t max) {
  if (text.empty()) return "-";
  std::string line = Dump(Json(text.substr(0, max)));  // escapes what is not text
  line = line.substr(1, line.size() - 2);
  return text.size() > max ? line + "..." : line;
}

void PrintTable(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      line += row[i];
      if (i + 1 < row.size()) line.append(widths[i] - row[i].size() + 2, ' ');
    }
    Print(line + "\n");
  }
}

}  // namespace joinq::cli
