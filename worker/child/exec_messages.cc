#include "worker/child/exec_messages.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace joinq {
namespace {

using nlohmann::json;

constexpr size_t kShownBytes = 40;

// Reads fields of a message; keeps the first error.
class Fields {
 public:
  Fields(const json& object, std::string type) : object_(object), type_(std::move(type)) {}

  void Text(const char* field, std::string& value, bool required = false) {
    const json* found = Find(field, required);
    if (found == nullptr) return;
    if (!found->is_string()) return Note(field, "not a string");
    value = found->get_ref<const std::string&>();
  }
  template <typename Number>
  void Whole(const char* field, Number& value) {
    const json* found = Find(field, false);
    if (found == nullptr) return;
    if (!found->is_number_integer() || *found < std::numeric_limits<Number>::min() ||
        *found > std::numeric_limits<Number>::max()) {
      return Note(field, absl::StrCat("not a whole number from ", std::numeric_limits<Number>::min(), " to ",
                                      std::numeric_limits<Number>::max()));
    }
    value = found->get<Number>();
  }
  void Ms(const char* field, std::chrono::milliseconds& value) {
    uint32_t ms = 0;
    Whole(field, ms);
    value = std::chrono::milliseconds(ms);
  }
  const json* Find(const char* field, bool required) {
    const auto found = object_.find(field);
    if (found != object_.end()) return &*found;
    if (required) Note(field, "missing");
    return nullptr;
  }
  void Note(const char* field, const std::string& what) {
    status_.Update(absl::InvalidArgumentError(absl::StrCat("\"", field, "\" of a ", type_, " is ", what)));
  }
  const absl::Status& status() const { return status_; }

 private:
  const json& object_;
  const std::string type_;
  absl::Status status_;
};

void ReadPayload(Fields& fields, std::string& payload) {
  const json* const text = fields.Find("payload", false);
  std::string base64;
  fields.Text("payload_base64", base64);
  if (text != nullptr && !base64.empty()) return fields.Note("payload", "there, and \"payload_base64\" too");
  if (!base64.empty()) {
    if (!absl::Base64Unescape(base64, &payload)) fields.Note("payload_base64", "not base64");
  } else if (text != nullptr) {
    payload = text->is_string() ? text->get<std::string>() : text->dump();
  }
}

void ReadHeaders(Fields& fields, FollowUpOptions& options) {
  const json* const headers = fields.Find("headers", false);
  if (headers == nullptr) return;
  constexpr char kWrong[] = "not an array of [name, value]";
  if (!headers->is_array()) return fields.Note("headers", kWrong);
  for (const json& each : *headers) {
    if (!each.is_array() || each.size() != 2 || !each[0].is_string() || !each[1].is_string())
      return fields.Note("headers", kWrong);
    options.headers.emplace_back(each[0].get<std::string>(), each[1].get<std::string>());
  }
}

absl::StatusOr<ExecMessage> ReadPut(const json& object) {
  Fields fields(object, "put");
  ExecPut put;
  FollowUpOptions& options = put.options;
  fields.Text("queue", put.queue, /*required=*/true);
  fields.Text("handler", put.handler);
  ReadPayload(fields, put.payload);
  fields.Text("content_type", options.content_type);
  fields.Ms("delay_ms", options.delay);
  fields.Ms("ttl_ms", options.ttl);
  fields.Ms("result_ttl_ms", options.result_ttl);
  fields.Ms("retry_delay_ms", options.retry_delay);
  fields.Whole("max_attempts", options.max_attempts);
  fields.Whole("max_crashes", options.max_crashes);
  fields.Whole("priority", options.priority);
  fields.Text("unique_key", options.unique_key);
  ReadHeaders(fields, options);
  if (!fields.status().ok()) return fields.status();
  return put;
}

}  // namespace

absl::StatusOr<ExecMessage> ReadExecMessage(std::string_view line) {
  const json object = json::parse(line.begin(), line.end(), nullptr, false);
  if (!object.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat("is no JSON object; it begins with \"",
                                                   absl::CHexEscape(std::string(line.substr(0, kShownBytes))),
                                                   "\""));
  }
  std::string type;
  Fields fields(object, "message");
  fields.Text("type", type, /*required=*/true);
  if (!fields.status().ok()) return fields.status();
  if (type == "put") return ReadPut(object);
  if (type == "progress") {
    ExecProgress progress;
    Fields progress_fields(object, "progress");
    progress_fields.Text("text", progress.text, /*required=*/true);
    if (!progress_fields.status().ok()) return progress_fields.status();
    return progress;
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "has the type \"", absl::CHexEscape(type.substr(0, kShownBytes)), "\", which no message has"));
}

}  // namespace joinq
