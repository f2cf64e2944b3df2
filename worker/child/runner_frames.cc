#include "worker/child/runner_frames.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace joinq {
namespace {

using nlohmann::json;

constexpr size_t kShownBytes = 40;

void AppendLength(size_t length, std::string& out) {
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(length >> shift & 0xff);
}

size_t ReadLength(std::string_view in) {
  size_t length = 0;
  for (int i = 0; i < 4; ++i) length = length << 8 | static_cast<unsigned char>(in[i]);
  return length;
}

absl::Status Wrong(std::string_view type, std::string_view field, std::string_view wanted) {
  return absl::InvalidArgumentError(
      absl::StrCat("\"", std::string(field), "\" of a ", std::string(type), " is ", std::string(wanted)));
}

// Reads fields of one message; keeps the first error.
class Fields {
 public:
  Fields(const json& object, std::string_view type) : object_(object), type_(type) {}

  void Text(const char* field, std::string& value, bool required) {
    const json* found = Find(field, required);
    if (found == nullptr) return;
    if (!found->is_string()) return Note(Wrong(type_, field, "not a string"));
    value = found->get_ref<const std::string&>();
  }
  void Flag(const char* field, bool& value) {
    const json* found = Find(field, false);
    if (found == nullptr) return;
    if (!found->is_boolean()) return Note(Wrong(type_, field, "neither true nor false"));
    value = found->get<bool>();
  }
  const json* Find(const char* field, bool required) {
    const auto found = object_.find(field);
    if (found != object_.end()) return &*found;
    if (required) Note(Wrong(type_, field, "missing"));
    return nullptr;
  }
  void Note(absl::Status status) { status_.Update(std::move(status)); }
  const absl::Status& status() const { return status_; }

 private:
  const json& object_;
  const std::string_view type_;
  absl::Status status_;
};

absl::StatusOr<RunnerMessage> ReadHello(const json& object) {
  Fields fields(object, "hello");
  RunnerHello hello;
  if (const json* protocol = fields.Find("protocol", true)) {
    if (!protocol->is_number_integer()) return Wrong("hello", "protocol", "not a whole number");
    hello.protocol = protocol->get<int64_t>();
  }
  // What the rest of another version means is not known here.
  if (fields.status().ok() && hello.protocol != kRunnerProtocol) return hello;
  if (const json* handlers = fields.Find("handlers", true)) {
    if (!handlers->is_array()) return Wrong("hello", "handlers", "not an array of strings");
    for (const auto& name : *handlers) {
      if (!name.is_string()) return Wrong("hello", "handlers", "not an array of strings");
      hello.handlers.push_back(name.get<std::string>());
    }
  }
  fields.Flag("signal", hello.signal);
  if (!fields.status().ok()) return fields.status();
  return hello;
}

absl::StatusOr<RunnerMessage> ReadResult(const json& object) {
  Fields fields(object, "result");
  RunnerResult result;
  std::string status, kind = "handler_error";
  fields.Text("id", result.id, true);
  fields.Text("status", status, true);
  if (!fields.status().ok()) return fields.status();
  result.done = status == "done";
  if (!result.done && status != "failed") return Wrong("result", "status", "neither \"done\" nor \"failed\"");
  if (result.done) {
    fields.Text("content_type", result.content_type, false);
  } else {
    fields.Text("message", result.message, true);
    fields.Text("detail", result.detail, false);
    fields.Text("kind", kind, false);
    fields.Flag("final", result.final);
  }
  if (!fields.status().ok()) return fields.status();
  if (kind == "bad_arguments") {
    result.kind = RunnerResult::Kind::kBadArguments;
  } else if (kind == "time_limit") {
    result.kind = RunnerResult::Kind::kTimeLimit;
  } else if (kind != "handler_error") {
    return Wrong("result", "kind", "none of \"handler_error\", \"bad_arguments\", \"time_limit\"");
  }
  return result;
}

}  // namespace

void AppendRunnerFrame(const json& header, std::string_view payload, std::string& out) {
  const std::string text = header.dump(-1, ' ', false, json::error_handler_t::replace);
  AppendLength(text.size(), out);
  AppendLength(payload.size(), out);
  out += text;
  out += payload;
}

Parse TakeRunnerFrame(std::string_view& in, RunnerFrame& frame) {
  if (in.size() < 4) return Parse::kIncomplete;
  const size_t header = ReadLength(in);
  if (header > kRunnerHeaderBytesMax) return Parse::kMalformed;
  if (in.size() < kRunnerLengthsBytes) return Parse::kIncomplete;
  const size_t payload = ReadLength(in.substr(4));
  const size_t length = kRunnerLengthsBytes + header + payload;
  if (length > kRunnerFrameBytesMax) return Parse::kMalformed;
  if (in.size() < length) return Parse::kIncomplete;
  frame.header = in.substr(kRunnerLengthsBytes, header);
  frame.payload = in.substr(kRunnerLengthsBytes + header, payload);
  in.remove_prefix(length);
  return Parse::kFrame;
}

std::string DescribeMalformed(std::string_view in) {
  const size_t header = ReadLength(in);
  const std::string begins = absl::CHexEscape(std::string(in.substr(0, kShownBytes)));
  if (header > kRunnerHeaderBytesMax) {
    return absl::StrCat("a frame claims a header of ", header, " bytes, at most ", kRunnerHeaderBytesMax,
                        " are allowed; it begins with \"", begins, "\"");
  }
  return absl::StrCat("a frame claims ", kRunnerLengthsBytes + header + ReadLength(in.substr(4)),
                      " bytes, at most ", kRunnerFrameBytesMax, " are allowed; it begins with \"", begins,
                      "\"");
}

absl::StatusOr<RunnerMessage> ReadRunnerMessage(std::string_view header) {
  const json object = json::parse(header.begin(), header.end(), nullptr, false);
  if (!object.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the header of a frame is no JSON object; it begins with \"",
                     absl::CHexEscape(std::string(header.substr(0, kShownBytes))), "\""));
  }
  std::string type;
  Fields fields(object, "message");
  fields.Text("type", type, true);
  if (!fields.status().ok()) return fields.status();
  if (type == "hello") return ReadHello(object);
  if (type == "result") return ReadResult(object);
  if (type == "progress") {
    RunnerProgress progress;
    fields.Text("text", progress.text, false);
    if (!fields.status().ok()) return fields.status();
    return progress;
  }
  if (type == "log") {
    RunnerLog log{"info", ""};
    Fields log_fields(object, "log");
    log_fields.Text("level", log.level, false);
    log_fields.Text("text", log.text, true);
    if (!log_fields.status().ok()) return log_fields.status();
    return log;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("no message has the type \"", absl::CHexEscape(type.substr(0, kShownBytes)), "\""));
}

}  // namespace joinq
