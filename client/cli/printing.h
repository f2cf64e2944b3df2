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
Json ToJson(const WorkerInfo& worker);

// Left-aligned columns under a header line.
void PrintTable(const std::vector<std::vector<std::string>>& rows);

}  // namespace joinq::cli
