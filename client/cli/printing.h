// How payloads, results and tables are printed.
#pragma once

#include <joinq/client.h>

#include <string>
#include <vector>

namespace joinq::cli {

using Json = nlohmann::ordered_json;

// Adds `key`: the value of a msgpack payload, text if it is UTF-8, else `key`_base64.
void AddPayload(Json* json, const std::string& key, const std::string& payload,
                const std::string& content_type);
// The payload's bytes, msgpack as JSON text, and a line break unless it ends with one.
std::string PayloadLine(const std::string& payload, const std::string& content_type);
// One line; invalid UTF-8 inside is replaced.
std::string Dump(const Json& json);
void Print(const std::string& text);
void PrintLine(const Json& json);

Json ToJson(const QueueInfo& queue);
Json ToJson(const Task& task);
Json ToJson(const Outcome& outcome);
Json ToJson(const std::optional<ProcessInfo>& process);
Json ToJson(const WorkerInfo& worker);
Json ToJson(const TaskInfo& task, bool with_payload);
Json ToJson(uint64_t task_id, const Why& why);
Json ToJson(const BrokerInfo& broker);
// An array of them.
Json ToJson(const std::vector<TaskInfo>& tasks, bool with_payload);

// The members of an object as `key: value` lines, those that are empty left out; a key
// that ends in _unix_ms without that, as an instant.
void PrintFields(const Json& json);
// The start of a text for a column: one line, at most `max` bytes, "-" if empty.
std::string Cut(const std::string& text, size_t max);
// Left-aligned columns under a header line.
void PrintTable(const std::vector<std::vector<std::string>>& rows);

}  // namespace joinq::cli
