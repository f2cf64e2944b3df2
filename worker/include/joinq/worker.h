// Handlers: the functions a worker's children run, one task at a time.
//
//   JOINQ_TASK(add, [](int a, int b) { return a + b; });
//
// registers a handler under a name while the program starts, or while a module
// (`joinq-worker --module FILE.so`) is loaded. In a program of your own:
//
//   int main(int argc, char** argv) { return joinq::WorkerMain(argc, argv); }
//
// How the payload becomes arguments depends on the task's content type:
//   "msgpack"  the MessagePack array of the arguments; the result is one
//              MessagePack value (nil for void), content type "msgpack".
//   ""         raw bytes. A handler with one parameter of type joinq::Bytes,
//              std::string or std::string_view gets them as they are; any other
//              gets the elements of the JSON array they must then be. A string
//              or Bytes result is sent raw, any other as JSON text, void as
//              nothing; content type "".
// Any type with nlohmann's to_json/from_json can be an argument or a result.
// A first parameter `const joinq::TaskContext&` is filled in, not decoded.
//
// An exception fails the attempt with its what(); DecodeError says that the
// arguments were bad (final, never retried); HandlerError can say more. A
// handler runs in a process of its own kind, forked from a single-threaded one:
// it may crash, leak or start threads without harm to the worker or the others.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "joinq/codec.h"

namespace joinq {

// Thrown by TaskContext::check; one that a handler lets out fails the attempt as past its time.
class SoftTimeLimitPassed : public std::runtime_error {
 public:
  SoftTimeLimitPassed() : std::runtime_error("the soft time limit passed") {}
};
// Thrown by TaskContext::check: nobody wants the result any more.
class TaskCancelled : public std::runtime_error {
 public:
  TaskCancelled() : std::runtime_error("the task was cancelled") {}
};

// Of a task put by a handler; 0 and "" mean the broker's default (see TaskOptions in task.proto).
struct FollowUpOptions {
  std::string content_type = {};  // "msgpack" for what PackArgs made
  std::chrono::milliseconds delay{0};
  std::chrono::milliseconds ttl{0};
  std::chrono::milliseconds result_ttl{0};
  std::chrono::milliseconds retry_delay{0};
  uint32_t max_attempts = 0;
  uint32_t max_crashes = 0;
  int32_t priority = 0;
  std::string unique_key = {};
  std::vector<std::pair<std::string, std::string>> headers = {};
};

// What a child offers the handler it runs, behind TaskContext. Thread-safe.
class TaskControl {
 public:
  virtual ~TaskControl() = default;
  virtual bool cancelled() const = 0;
  virtual bool soft_time_limit_passed() const = 0;
  virtual void Progress(std::string_view text) = 0;
  virtual void Put(std::string_view queue, std::string_view handler, std::string_view payload,
                   const FollowUpOptions& options) = 0;
};

struct HeaderView {
  std::string_view name;
  std::string_view value;
};

// The task a handler runs. Views are valid during the call, and so are its
// methods, from any thread.
//
// When the task is cancelled or past its soft time limit, the child gets
// SIGUSR1, which by itself does nothing but interrupt blocking system calls
// (EINTR), and the flag here is set. The hard time limit, or a grace after the
// cancel, ends the child: SIGTERM to its process group, then SIGKILL.
struct TaskContext {
  uint64_t task_id = 0;
  // (epoch, sequence) only grows from one delivery of a task to the next: a fencing token.
  uint64_t epoch = 0;
  uint64_t sequence = 0;
  uint32_t attempt = 1;  // 1 for the first delivery
  std::string_view queue;
  std::string_view handler;
  std::string_view content_type;
  std::span<const HeaderView> headers;
  // When the hard time limit ends the child; max() if there is none.
  std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max();
  TaskControl* control = nullptr;  // none outside a worker

  bool cancelled() const { return control != nullptr && control->cancelled(); }
  bool soft_time_limit_passed() const { return control != nullptr && control->soft_time_limit_passed(); }
  // The value of the first header of that name, or "".
  std::string_view header(std::string_view name) const {
    for (const auto& each : headers) {
      if (each.name == name) return each.value;
    }
    return {};
  }
  // How far the task is, for people (`joinq task info`): up to 4 KiB. Cheap; the newest goes out
  // ten times a second at most.
  void progress(std::string_view text) const {
    if (control != nullptr) control->Progress(text);
  }
  // A line for the worker's log, tagged with the task (as anything written to stderr).
  void log(std::string_view text) const {
    std::string line(text);
    line += '\n';
    std::fwrite(line.data(), 1, line.size(), stderr);
  }
  // Puts a task when this one succeeds, in the same step: if it fails, nothing is put. All of
  // them together: up to 1000 tasks and 1 MiB; throws a final HandlerError beyond that and for a
  // bad name. A queue that does not exist or is closed fails this task for good. No handler name
  // means a plain message.
  void put(std::string_view to_queue, std::string_view to_handler, std::string_view payload,
           const FollowUpOptions& options = {}) const {
    if (control != nullptr) control->Put(to_queue, to_handler, payload, options);
  }
  // For long loops: throws if the task is cancelled or past its soft time limit.
  void check() const {
    if (cancelled()) throw TaskCancelled();
    if (soft_time_limit_passed()) throw SoftTimeLimitPassed();
  }
};

struct HandlerResult {
  std::string payload;
  std::string content_type;
};

// The general form of a handler: payload in, payload out.
using Handler = std::function<HandlerResult(const TaskContext&, std::string_view payload)>;

// Thrown by a handler to fail its attempt with a detail (shown below the
// message) or for good: `final` forbids retries.
class HandlerError : public std::runtime_error {
 public:
  explicit HandlerError(const std::string& message, std::string detail = {}, bool final = false)
      : std::runtime_error(message), detail_(std::move(detail)), final_(final) {}
  const std::string& detail() const { return detail_; }
  bool final() const { return final_; }

 private:
  std::string detail_;
  bool final_;
};

// Adds a handler. A bad name or one that is taken is reported when the worker
// starts, which then refuses to run. Not thread-safe; call it during start-up only.
void RegisterHandler(std::string_view name, Handler handler);

// Adds a function that every child runs once, before its first task, in the order of
// registration: to open what must not be shared with other children (connections,
// random seeds, threads). What all children can share (tables, models) is better
// loaded when the program or module is: they get it by copy-on-write. One that throws
// fails the child's start. Not thread-safe; call it during start-up only.
void RegisterChildInit(std::function<void()> initialize);

// The whole worker program: see `joinq-worker --help`. Call it first in main,
// before any thread exists. Returns the exit status.
int WorkerMain(int argc, char** argv);

namespace worker_internal {

template <typename T>
inline constexpr bool kIsText = std::is_same_v<T, std::string> || std::is_same_v<T, std::string_view>;
template <typename T>
inline constexpr bool kIsRaw = kIsText<T> || std::is_same_v<T, Bytes>;
// What an argument is decoded to before the call.
template <typename T>
using Stored = std::conditional_t<std::is_same_v<T, std::string_view>, std::string, T>;

template <typename... Args>
std::tuple<Args...> ArgsFromJson(std::string_view text) {
  auto array = nlohmann::json::array();
  if (!text.empty()) array = nlohmann::json::parse(text.begin(), text.end(), nullptr, false);
  if (array.is_discarded() || !array.is_array()) {
    throw DecodeError("the raw payload is not a JSON array of " + std::to_string(sizeof...(Args)) +
                      " argument(s)");
  }
  if (array.size() != sizeof...(Args)) {
    throw DecodeError("takes " + std::to_string(sizeof...(Args)) + " argument(s), got " +
                      std::to_string(array.size()));
  }
  return codec_internal::ArgsFrom<std::tuple<Args...>>(array, std::index_sequence_for<Args...>{});
}

// The arguments of a call, as they came: by MessagePack, as a JSON array, or as one raw payload.
template <typename... Args>
std::tuple<Stored<Args>...> DecodeArgs(const TaskContext& task, std::string_view payload) {
  if (task.content_type == kMsgpackType) return UnpackArgs<Stored<Args>...>(payload);
  if (!task.content_type.empty()) {
    throw DecodeError("content type \"" + std::string(task.content_type) + "\" is not known to this handler");
  }
  if constexpr (sizeof...(Args) == 1 && (kIsRaw<Args> && ...)) {
    return {Stored<Args>{std::string(payload)}...};
  } else {
    return ArgsFromJson<Stored<Args>...>(payload);
  }
}

// What a handler returned, as a payload of the kind that came in.
inline HandlerResult EncodeNothing(bool msgpack) {
  return msgpack ? HandlerResult{PackVoid(), kMsgpackType} : HandlerResult{};
}
template <typename R>
HandlerResult EncodeValue(bool msgpack, R value) {
  if (msgpack) {
    if constexpr (std::is_same_v<R, std::string_view>) {
      return {PackResult(std::string(value)), kMsgpackType};
    } else {
      return {PackResult(value), kMsgpackType};
    }
  }
  if constexpr (kIsText<R>) {
    return {std::string(std::move(value)), ""};
  } else if constexpr (std::is_same_v<R, Bytes>) {
    return {std::move(value.data), ""};
  } else {
    return {nlohmann::json(value).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), ""};
  }
}
template <typename Call>
HandlerResult ResultOf(bool msgpack, Call&& call) {
  using R = std::decay_t<decltype(call())>;
  if constexpr (std::is_void_v<R>) {
    call();
    return EncodeNothing(msgpack);
  } else {
    return EncodeValue<R>(msgpack, call());
  }
}

// Only when the arguments are known is it known whether the context is asked for as well.
template <typename F, typename... Args>
decltype(auto) Invoke(const F& function, const TaskContext& task, auto&&... args) {
  if constexpr (std::is_invocable_v<const F&, const TaskContext&, Args...>) {
    return function(task, std::forward<decltype(args)>(args)...);
  } else {
    return function(std::forward<decltype(args)>(args)...);
  }
}

template <typename F, typename... Args>
Handler Typed(F function) {
  return
      [function = std::move(function)](const TaskContext& task, std::string_view payload) -> HandlerResult {
        const bool msgpack = task.content_type == kMsgpackType;
        if constexpr (std::is_same_v<std::tuple<Args...>, std::tuple<std::string_view>>) {
          if (task.content_type.empty()) {  // not copied
            return ResultOf(false,
                            [&]() -> decltype(auto) { return Invoke<F, Args...>(function, task, payload); });
          }
        }
        auto args = DecodeArgs<Args...>(task, payload);
        return ResultOf(msgpack, [&]() -> decltype(auto) {
          return std::apply(
              [&](auto&&... each) -> decltype(auto) {
                return Invoke<F, Args...>(function, task, std::forward<decltype(each)>(each)...);
              },
              std::move(args));
        });
      };
}

template <typename F, typename Signature>
struct Deduce;
template <typename F, typename R, typename... Args>
struct Deduce<F, R(Args...)> {
  static Handler Make(F function) { return Typed<F, std::decay_t<Args>...>(std::move(function)); }
};
template <typename F, typename R, typename... Args>
struct Deduce<F, R(const TaskContext&, Args...)> {
  static Handler Make(F function) { return Typed<F, std::decay_t<Args>...>(std::move(function)); }
};

template <typename M>
struct MemberSignature;
template <typename C, typename R, typename... Args>
struct MemberSignature<R (C::*)(Args...) const> {
  using type = R(Args...);
};
template <typename C, typename R, typename... Args>
struct MemberSignature<R (C::*)(Args...) const noexcept> {
  using type = R(Args...);
};

template <typename F>
Handler MakeHandler(F function) {
  if constexpr (std::is_pointer_v<F>) {
    return Deduce<F, std::remove_pointer_t<F>>::Make(function);
  } else {
    return Deduce<F, typename MemberSignature<decltype(&F::operator())>::type>::Make(std::move(function));
  }
}

}  // namespace worker_internal

// Registers a callable: a function, or a lambda that is neither generic nor mutable.
template <typename F>
bool RegisterTask(std::string_view name, F function) {
  RegisterHandler(name, worker_internal::MakeHandler<std::decay_t<F>>(std::move(function)));
  return true;
}

}  // namespace joinq

#define JOINQ_TASK_JOIN_(a, b) a##b
#define JOINQ_TASK_VARIABLE_(line) JOINQ_TASK_JOIN_(joinq_task_registered_, line)
// JOINQ_TASK(add, [](int a, int b) { return a + b; });
#define JOINQ_TASK(name, ...) JOINQ_TASK_AS(#name, __VA_ARGS__)
// The same for names that are no identifiers: JOINQ_TASK_AS("image.resize", ...).
#define JOINQ_TASK_AS(name, ...)                                         \
  [[maybe_unused]] static const bool JOINQ_TASK_VARIABLE_(__COUNTER__) = \
      ::joinq::RegisterTask(name, __VA_ARGS__)
// JOINQ_CHILD_INIT([] { database = Connect(); }); see RegisterChildInit.
#define JOINQ_CHILD_INIT(...)                                            \
  [[maybe_unused]] static const bool JOINQ_TASK_VARIABLE_(__COUNTER__) = \
      (::joinq::RegisterChildInit(__VA_ARGS__), true)
