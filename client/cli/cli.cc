#include "client/cli/cli.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cstdio>

#include "common/names.h"

namespace joinq::cli {

Client& Cli::client() {
  if (!client_) {
    ClientOptions options;
    options.unavailable_after = ToMillis("--connect-timeout", connect_timeout);
    options.name = "joinq";
    client_ = std::make_unique<Client>(url, options);
  }
  return *client_;
}

void Cli::OnRun(CLI::App* command, std::function<void()> run) {
  command->fallthrough();
  command->callback(std::move(run));
}

Millis ToMillis(const std::string& option, double seconds) {
  const auto ms = SecondsToMs(option, seconds);
  if (!ms.ok()) throw UsageError(std::string(ms.status().message()));
  return Millis(*ms);
}

Millis TimeoutOf(const CLI::Option* option, double seconds) {
  // A value from the config file shows as a default of the option.
  return option->count() > 0 || !option->get_default_str().empty() ? ToMillis(option->get_name(), seconds)
                                                                   : kForever;
}

CLI::Validator WholeNumber(uint64_t min, uint64_t max) {
  const auto check = [min, max](std::string& text) -> std::string {
    uint64_t value = 0;
    const char* end = text.data() + text.size();
    const auto [stopped, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc() || stopped != end || value < min || value > max)
      return fmt::format("must be a whole number from {} to {}, not \"{}\"", min, max, text);
    text = std::to_string(value);  // without leading zeros
    return {};
  };
  return CLI::Validator(check, "");
}

CLI::Validator Integer(int64_t min, int64_t max) {
  const auto check = [min, max](std::string& text) -> std::string {
    int64_t value = 0;
    const char* end = text.data() + text.size();
    const auto [stopped, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc() || stopped != end || value < min || value > max)
      return fmt::format("must be a whole number from {} to {}, not \"{}\"", min, max, text);
    text = std::to_string(value);
    return {};
  };
  return CLI::Validator(check, "");
}

CLI::Validator OneOf(std::vector<std::string> words) {
  const auto check = [words = std::move(words)](std::string& text) -> std::string {
    if (std::find(words.begin(), words.end(), text) != words.end()) return {};
    std::string allowed;
    for (size_t i = 0; i < words.size(); ++i) {
      allowed += (i == 0 ? "" : i + 1 < words.size() ? ", " : " or ") + words[i];
    }
    return fmt::format("must be {}, not \"{}\"", allowed, text);
  };
  return CLI::Validator(check, "");
}

CLI::App* Example(CLI::App* command, const std::string& example) {
  command->footer("Example: " + example);
  return command;
}

void PrintError(const std::string& what) {
  std::string line = "joinq: " + what;
  while (!line.empty() && line.back() == '\n') line.pop_back();
  std::replace_if(
      line.begin(), line.end(), [](char c) { return c == '\n' || c == '\r'; }, ' ');
  fmt::print(stderr, "{}\n", line);
}

int StatusOf(const std::exception& error) {
  const auto is = [&]<typename... E>(std::type_identity<E>...) {
    return (... || (dynamic_cast<const E*>(&error) != nullptr));
  };
  if (is(std::type_identity<UsageError>{}, std::type_identity<InvalidArgument>{})) return kUsage;
  if (is(std::type_identity<Unavailable>{})) return kUnreachable;
  if (is(std::type_identity<NotAllowed>{})) return kNotAllowed;
  if (is(std::type_identity<Timeout>{}, std::type_identity<Empty>{}, std::type_identity<Full>{}))
    return kTimedOut;
  return kFailed;
}

int Guard(const std::function<int()>& work) {
  try {
    return work();
  } catch (const CLI::Error&) {
    throw;
  } catch (const TaskFailed& error) {
    PrintError(error.what());
    std::string detail = error.detail();
    if (!detail.empty() && detail.back() != '\n') detail += '\n';
    std::fwrite(detail.data(), 1, detail.size(), stderr);
    return kFailed;
  } catch (const std::exception& error) {
    PrintError(error.what());
    return StatusOf(error);
  }
}

}  // namespace joinq::cli
