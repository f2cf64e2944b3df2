// Handlers that are coroutines on the child's Asio loop: while one waits, the child runs
// others, as many at once as `joinq-worker --concurrency-per-child` says.
//
//   #include "joinq/async_worker.h"
//   JOINQ_ASYNC_TASK(nap, [](int ms) -> boost::asio::awaitable<std::string> {
//     boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor);
//     timer.expires_after(std::chrono::milliseconds(ms));
//     co_await timer.async_wait(boost::asio::use_awaitable);
//     co_return "slept";
//   });
//
// All of a child's coroutines share one thread: what blocks or computes for long holds up the
// others, as does a handler of the plain kind, which runs to its end at once. Timers and
// sockets are best made with the coroutine's own executor, as above. What a handler
// co_spawns must end with it.
//
// A task that is cancelled or past its soft time limit has its wait ended by Asio's
// cancellation (terminal): co_await throws boost::system::system_error with
// operation_aborted, and every further one does until reset_cancellation_state. The hard
// time limit ends the child; the others that ran there are run again, at no cost. If one
// task's code has held up the child for half the time limit of another that is past it, that
// one is ended for it, and fails.
// Needs Boost 1.81 or later (headers only).
#pragma once

#include <boost/asio/awaitable.hpp>

#include "joinq/worker.h"

namespace joinq {

// The general form. The context and the payload are valid until the coroutine ends.
using AsyncHandler =
    std::function<boost::asio::awaitable<HandlerResult>(const TaskContext&, std::string_view payload)>;

// As RegisterHandler.
void RegisterAsyncHandler(std::string_view name, AsyncHandler handler);

namespace worker_internal {

template <typename F, typename R, typename... Args>
AsyncHandler TypedAsync(F function) {
  return [function = std::move(function)](const TaskContext& task,
                                          std::string_view payload) -> boost::asio::awaitable<HandlerResult> {
    // They live as long as the handler runs, whatever it takes them as.
    auto args = DecodeArgs<Args...>(task, payload);
    const bool msgpack = task.content_type == kMsgpackType;
    auto call = [&](auto&... each) { return Invoke<F, Args...>(function, task, each...); };
    if constexpr (std::is_void_v<R>) {
      co_await std::apply(call, args);
      co_return EncodeNothing(msgpack);
    } else {
      co_return EncodeValue<R>(msgpack, co_await std::apply(call, args));
    }
  };
}

template <typename F, typename Signature>
struct DeduceAsync;
template <typename F, typename R, typename... Args>
struct DeduceAsync<F, boost::asio::awaitable<R>(Args...)> {
  static AsyncHandler Make(F function) {
    return TypedAsync<F, R, std::decay_t<Args>...>(std::move(function));
  }
};
template <typename F, typename R, typename... Args>
struct DeduceAsync<F, boost::asio::awaitable<R>(const TaskContext&, Args...)> {
  static AsyncHandler Make(F function) {
    return TypedAsync<F, R, std::decay_t<Args>...>(std::move(function));
  }
};

template <typename F>
AsyncHandler MakeAsyncHandler(F function) {
  if constexpr (std::is_pointer_v<F>) {
    return DeduceAsync<F, std::remove_pointer_t<F>>::Make(function);
  } else {
    return DeduceAsync<F, typename MemberSignature<decltype(&F::operator())>::type>::Make(
        std::move(function));
  }
}

}  // namespace worker_internal

// Registers a coroutine: a function that returns awaitable<R>, or a lambda that is neither
// generic nor mutable. It takes and returns what RegisterTask's callables do.
template <typename F>
bool RegisterAsyncTask(std::string_view name, F function) {
  RegisterAsyncHandler(name, worker_internal::MakeAsyncHandler<std::decay_t<F>>(std::move(function)));
  return true;
}

}  // namespace joinq

#define JOINQ_ASYNC_TASK(name, ...) JOINQ_ASYNC_TASK_AS(#name, __VA_ARGS__)
#define JOINQ_ASYNC_TASK_AS(name, ...)                                   \
  [[maybe_unused]] static const bool JOINQ_TASK_VARIABLE_(__COUNTER__) = \
      ::joinq::RegisterAsyncTask(name, __VA_ARGS__)
